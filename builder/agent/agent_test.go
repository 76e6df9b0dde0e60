package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/builder"
	"slipway/builder/targettest"
	"slipway/config"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(Main(os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

var ae = func() config.AppEnv {
	ae, err := config.ParseAppEnv("shop/prod")
	if err != nil {
		panic(err)
	}
	return ae
}()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect has a real agent serve in this process, in a root of its own.
func connect(t *testing.T) Remote {
	t.Helper()
	ours, theirs := net.Pipe()
	over := make(chan error, 1)
	go func() { over <- Serve(t.Context(), theirs, theirs) }()
	c, err := Connect(ours, ours)
	check(t, err)
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), <-over); err != nil {
			t.Error(err)
		}
	})
	return Remote{Client: c, Name: "app1", At: Place{Root: filepath.Join(t.TempDir(), "apps"), UID: 61237}}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// An agent ends when it is told to, though the server is silent: its input has
// no end then.
func TestEnd(t *testing.T) {
	t.Parallel()
	in, write, err := os.Pipe()
	check(t, err)
	defer write.Close()
	cmd := exec.CommandContext(within(t), "/proc/self/exe", Command)
	cmd.Stdin = in
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	in.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, Greeting+" ") {
		t.Errorf("it greets by %q, %v", line, err)
	}
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends by %v", err)
	}
}

// A panic in a call ends that call alone.
func TestPanic(t *testing.T) {
	t.Parallel()
	_, err := guarded(func() (result, error) { panic("oh") })
	if err == nil || err.Error() != "the agent is broken: oh" {
		t.Error(err)
	}
}

// A fault of the agent's, or a request that makes no sense, ends that call and
// nothing else.
func TestBrokenCall(t *testing.T) {
	t.Parallel()
	m := connect(t)
	for what, q := range map[string]request{
		"unknown":   {Method: "dance", Place: m.At},
		"no root":   {Method: status},
		"relative":  {Method: status, Place: Place{Root: "apps"}},
		"unclean":   {Method: status, Place: Place{Root: "/srv/../etc"}},
		"all":       {Method: destroy, Place: Place{Root: "/"}, AppEnv: "etc/prod"},
		"traversal": {Method: destroy, Place: m.At, AppEnv: "../etc/prod"},
		"no app":    {Method: sweep, Place: m.At, Env: "prod", Known: []string{"../x"}},
		"no switch": {Method: activate, Place: m.At, AppEnv: "shop/prod"},
		"no stage":  {Method: stage, Place: m.At, AppEnv: "shop/prod", Ref: 1},
		"no tree":   {Method: run, Place: m.At, AppEnv: "shop/prod"},
	} {
		r, err := m.Client.call(within(t), exchange{request: q})
		if err != nil || r.Error == nil {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	if s, err := m.Status(within(t), ae); err != nil || s.Live != 0 {
		t.Errorf("after that: %+v, %v", s, err)
	}
}

// A tree of more files than the usual tree has goes over as well.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	m := connect(t)
	tree := &targettest.Tree{Files: map[string]string{}}
	for i := range 2_000 {
		tree.Files[fmt.Sprintf("dir%d/file%d", i%100, i)] = fmt.Sprint(i)
	}
	ref := builder.Ref{AppEnv: ae, Number: 1}
	sent, err := m.Place(within(t), ref, tree)
	if err != nil || sent.Contents != 2_000 {
		t.Fatalf("%+v, %v", sent, err)
	}
	text, err := os.ReadFile(filepath.Join(m.At.Root, "shop/releases/1/dir99/file1999"))
	if err != nil || string(text) != "1999" {
		t.Errorf("%q, %v", text, err)
	}
	check(t, m.Discard(within(t), ref))
}

// What greets is bounded, whatever it writes.
func TestGreeting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		other string
	}{
		"nothing":        {"", ""},
		"another":        {"SSH-2.0-OpenSSH_9.2\r\n", ""},
		"long line":      {strings.Repeat("x", 4*maxNoise), ""},
		"many lines":     {strings.Repeat("x\n", 4*maxNoise), ""},
		"binary":         {strings.Repeat("\x00\xff\n", maxNoise), ""},
		"newer":          {"welcome\n" + Greeting + " 2 abc\n", "2"},
		"missing":        {Greeting + " missing x86_64\n", "missing"},
		"number of sums": {Greeting + " 1\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := &endless{Reader: strings.NewReader(c.text)}
			_, err := Connect(in, nopWriteCloser{io.Discard})
			var other *OtherError
			switch {
			case c.other != "" && (!errors.As(err, &other) || other.Protocol != c.other):
				t.Errorf("it says %v", err)
			case c.other == "" && !errors.Is(err, ErrNoAgent):
				t.Errorf("it says %v", err)
			}
			if in.read > 2*maxNoise {
				t.Errorf("%d bytes were read", in.read)
			}
		})
	}
}

type endless struct {
	io.Reader
	read int
}

func (e *endless) Read(b []byte) (int, error) {
	n, err := e.Reader.Read(b)
	e.read += n
	return n, err
}

func (e *endless) Close() error { return nil }

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }
