package socket

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listen serves handle in a directory of its own until the test ends.
func listen(t *testing.T, handle func(context.Context, *Session) int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- Serve(t.Context(), l, handle) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return dir
}

func dial(t *testing.T, dir string) *net.UnixConn {
	t.Helper()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestCall: the greeting, three streams and the status arrive as they were sent.
func TestCall(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	for _, c := range []struct {
		name   string
		in     []byte
		status int
	}{
		{"nothing", nil, 0}, {"a line", []byte("hello\n"), 3}, {"any bytes", []byte{0, 0xff, '\n', 0x1b}, 255}, {"many frames", long, 1},
	} {
		var greeted Hello
		dir := listen(t, func(_ context.Context, s *Session) int {
			greeted = s.Hello
			if _, err := io.Copy(s.Out, s.In); err != nil {
				t.Error(err)
			}
			fmt.Fprint(s.Err, "done")
			return c.status
		})
		hello := Hello{Hook: "pre-receive", Token: "t\x00\"", Env: map[string]string{"GIT_DIR": "a\nb"}, Command: []string{"vars", "set", "é"}, Term: "xterm", Rows: 24, Columns: 80}
		var out, errs bytes.Buffer
		status, err := Call(dial(t, dir), hello, bytes.NewReader(c.in), &out, &errs, nil)
		if err != nil || status != c.status || !bytes.Equal(out.Bytes(), c.in) || errs.String() != "done" {
			t.Errorf("%s: %d, %v, %d bytes, %q", c.name, status, err, out.Len(), errs.String())
		}
		if diff := cmp.Diff(hello, greeted); diff != "" {
			t.Error(diff)
		}
	}
}

// TestSizes: the terminal's newest size arrives.
func TestSizes(t *testing.T) {
	dir := listen(t, func(_ context.Context, s *Session) int {
		for size := range s.Sizes {
			fmt.Fprint(s.Out, size)
			if size[0] == 50 {
				return 0
			}
		}
		return 1
	})
	sizes := make(chan [2]int)
	go func() {
		defer close(sizes)
		sizes <- [2]int{24, 80}
		sizes <- [2]int{50, 132}
	}()
	in, stay := io.Pipe()
	defer stay.Close()
	var out bytes.Buffer
	status, err := Call(dial(t, dir), Hello{}, in, &out, io.Discard, sizes)
	if err != nil || status != 0 || !strings.HasSuffix(out.String(), "[50 132]") {
		t.Errorf("%d, %v, %s", status, err, out.String())
	}
}

// TestGone: a client that goes ends its handler's context, even one whose input
// nobody reads.
func TestGone(t *testing.T) {
	for _, input := range []string{"", "not read"} {
		begun, over := make(chan struct{}), make(chan error, 1)
		dir := listen(t, func(ctx context.Context, s *Session) int {
			close(begun)
			<-ctx.Done()
			over <- context.Cause(ctx)
			return 0
		})
		c := dial(t, dir)
		if err := errors.Join(writeFrame(c, frameHello, []byte("{}")), writeFrame(c, frameInput, []byte(input))); err != nil {
			t.Fatal(err)
		}
		<-begun
		c.Close()
		if err := <-over; !errors.Is(err, errGone) {
			t.Error(err)
		}
	}
}

// TestCutInput: input that the client has not ended is no end of input.
func TestCutInput(t *testing.T) {
	got := make(chan error, 1)
	dir := listen(t, func(_ context.Context, s *Session) int {
		_, err := io.ReadAll(s.In)
		got <- err
		return 0
	})
	c := dial(t, dir)
	if err := errors.Join(writeFrame(c, frameHello, []byte("{}")), writeFrame(c, frameInput, []byte("half"))); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-got; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// TestUnreadInput: a handler that reads nothing ends all the same.
func TestUnreadInput(t *testing.T) {
	dir := listen(t, func(context.Context, *Session) int { return 7 })
	status, err := Call(dial(t, dir), Hello{}, endless{}, io.Discard, io.Discard, nil)
	if err != nil || status != 7 {
		t.Errorf("%d, %v", status, err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestHostileClients: whatever a client sends, the server serves the next.
func TestHostileClients(t *testing.T) {
	dir := listen(t, func(_ context.Context, s *Session) int {
		if _, err := io.Copy(io.Discard, s.In); err != nil {
			return 1
		}
		return 0
	})
	frame := func(kind byte, size uint32, b string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{kind}, size), b...)
	}
	hello := frame(frameHello, 2, "{}")
	for name, b := range map[string][]byte{
		"nothing":                 nil,
		"half a head":             {frameHello, 0},
		"half a greeting":         frame(frameHello, 100, "{"),
		"no JSON":                 frame(frameHello, 3, "abc"),
		"other JSON":              frame(frameHello, 2, "[]"),
		"no greeting":             frame(frameInput, 1, "x"),
		"a greeting of 4 GiB":     frame(frameHello, 1<<32-1, "{}"),
		"HTTP":                    []byte("GET / HTTP/1.1\r\n\r\n"),
		"a frame of 4 GiB":        append(bytes.Clone(hello), frame(frameInput, 1<<32-1, "")...),
		"an unknown frame":        append(bytes.Clone(hello), frame('?', 1, "x")...),
		"the server's own frames": append(bytes.Clone(hello), frame(frameExit, 1, "\x00")...),
		"a size that is none":     append(bytes.Clone(hello), frame(frameSize, 1, "\x00")...),
		"a second greeting":       append(bytes.Clone(hello), hello...),
		"input after its end":     bytes.Join([][]byte{hello, frame(frameInput, 0, ""), frame(frameInput, 1, "x"), frame(frameInput, 0, "")}, nil),
	} {
		c := dial(t, dir)
		if _, err := c.Write(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
		if status, err := Call(dial(t, dir), Hello{}, strings.NewReader("x"), io.Discard, io.Discard, nil); err != nil || status != 0 {
			t.Fatalf("after %s: %d, %v", name, status, err)
		}
	}
}

// TestServerGone: a client fails closed, whatever the server says.
func TestServerGone(t *testing.T) {
	for name, says := range map[string][]byte{
		"nothing":        nil,
		"output alone":   {frameOutput, 0, 0, 0, 1, 'x'},
		"half a status":  {frameExit, 0, 0, 0, 1},
		"no status":      {frameExit, 0, 0, 0, 0},
		"a long status":  {frameExit, 0, 0, 0, 2, 0, 0},
		"a frame of GiB": {frameOutput, 0xff, 0xff, 0xff, 0xff},
	} {
		client, server := net.Pipe()
		go func() {
			_, _ = io.CopyN(io.Discard, server, 7) // the greeting
			_, _ = server.Write(says)
			server.Close()
		}()
		if status, err := Call(client, Hello{}, strings.NewReader(""), io.Discard, io.Discard, nil); err == nil {
			t.Errorf("%s: %d", name, status)
		}
	}
	if _, err := Dial(t.TempDir()); err == nil {
		t.Error("there is no socket")
	}
}

// TestListen: the socket is its owner's alone, takes the place of one that was
// left, and may lie deeper than a socket's address can say.
func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	left, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	left.Close()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- Serve(t.Context(), l, func(context.Context, *Session) int { return 5 }) }()
	if status, err := Call(dial(t, dir), Hello{}, strings.NewReader(""), io.Discard, io.Discard, nil); status != 5 || err != nil {
		t.Errorf("%d, %v", status, err)
	}
	info, err := os.Stat(filepath.Join(dir, Name))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	l.Close()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestStranger: another account is not served, even where the file's mode let
// it through.
func TestStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	dir := listen(t, func(context.Context, *Session) int { t.Error("a stranger is served"); return 0 })
	path := filepath.Join(dir, Name)
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	var client sync.WaitGroup
	client.Go(func() {
		runtime.LockOSThread() // and never let go: the thread ends with its account
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 1000, ^uintptr(0)); e != 0 {
			t.Error(e)
			return
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Error(err)
			return
		}
		if status, err := Call(c, Hello{}, strings.NewReader(""), io.Discard, io.Discard, nil); err == nil {
			t.Errorf("status %d", status)
		}
	})
	client.Wait()
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{frameHello, 0, 0, 0, 2, '{', '}'})
	f.Add([]byte{frameInput, 0, 0, 0, 0})
	f.Add([]byte{frameExit, 0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		kind, payload, err := readFrame(in)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, kind, payload); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), b[:len(b)-in.Len()]) {
			t.Fatalf("%q was read as %q", b, again.Bytes())
		}
	})
}
