package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"slipway/builder"
	"slipway/builder/content"
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

// hostile is a host of which somebody else has taken hold: answer serves one
// call, whose request it gets.
func hostile(t *testing.T, answer func(st *stream, q request)) Remote {
	t.Helper()
	ours, theirs := net.Pipe()
	over := make(chan struct{})
	go func() {
		defer close(over)
		if _, err := fmt.Fprintf(theirs, "motd\n%s %d abc\n", Greeting, Protocol); err != nil {
			return
		}
		mux, err := yamux.Server(theirs, settings())
		if err != nil {
			return
		}
		defer mux.Close()
		for {
			conn, err := mux.Accept()
			if err != nil {
				return
			}
			st := &stream{conn: conn}
			k, text, err := st.receive()
			if err != nil || k != kindRequest {
				continue // a body
			}
			var q request
			if json.Unmarshal(text, &q) == nil {
				answer(st, q)
			}
		}
	}()
	c, err := Connect(ours, ours)
	check(t, err)
	t.Cleanup(func() { _ = c.Close(); <-over }) // it may have ended
	return Remote{Client: c, Name: "app1", At: Place{Root: "/srv/apps"}}
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

// A host can make its own deploy fail, with a text, and no more.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	tree := &targettest.Tree{Files: map[string]string{"a": "1", "b": "2"}}
	place := func(ctx context.Context, m Remote) error {
		_, err := m.Place(ctx, builder.Ref{AppEnv: ae, Number: 1}, tree)
		return err
	}
	wants := func(b ...byte) func(*stream, request) {
		return func(st *stream, _ request) {
			_ = st.send(kindAnswer, b)
			_ = st.send(kindEnd, nil)
			for k, _, err := st.receive(); k != kindCancel && err == nil; k, _, err = st.receive() {
			}
			_ = st.sendJSON(kindResult, result{Error: &failure{Kind: config.Failed, Text: "not what I wanted"}})
		}
	}
	raw := func(head ...byte) func(*stream, request) {
		return func(st *stream, _ request) { _, _ = st.conn.Write(head); st.conn.Close() }
	}
	for name, c := range map[string]struct {
		answer func(*stream, request)
		do     func(context.Context, Remote) error
		text   string
	}{
		"wants what is not there": {wants(2*5, 0), place, "asks for what is not in the tree"},
		"wants before the first":  {wants(1, 0), place, "asks for what is not in the tree"},
		"wants one twice":         {wants(0, 0, 0, 0), place, "asks for what is not in the tree"},
		"wants from behind":       {wants(0, 9), place, "asks for what is not in the tree"},
		"wants far away":          {wants(0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0), place, "asks for what is not in the tree"},
		"wants half":              {wants(0), place, "cannot be read"},
		"says too much": {func(st *stream, _ request) {
			for range maxAnswer/maxFrame + 1 {
				_ = st.send(kindAnswer, make([]byte, maxFrame))
			}
		}, place, "says too much"},
		"answers twice": {func(st *stream, _ request) {
			for range 3 {
				_ = st.send(kindEnd, nil)
			}
		}, place, "answers twice"},
		"never answers":   {func(st *stream, _ request) { _ = st.sendJSON(kindResult, result{}) }, place, ""},
		"no such base":    {func(st *stream, _ request) { _ = st.sendJSON(kindResult, result{NoBase: true}) }, place, "does not take a whole list"},
		"a huge message":  {raw(byte(kindOutput), 0xff, 0xff, 0xff, 0xff), place, "sends a message of 4294967295 bytes"},
		"half a message":  {raw(byte(kindResult), 0, 0), place, "cut"},
		"no JSON":         {func(st *stream, _ request) { _ = st.send(kindResult, []byte("{")) }, place, "sends a result that cannot be read"},
		"nothing is live": {func(st *stream, _ request) { _ = st.sendJSON(kindResult, result{}) }, func(ctx context.Context, m Remote) error { _, err := m.Status(ctx, ae); return err }, "says nothing of what is live"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.do(within(t), hostile(t, c.answer))
			if c.text == "" && err == nil {
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("it says %v, not %q", err, c.text)
			}
		})
	}
}

// What a host says of itself counts for that host alone.
func TestHostileResults(t *testing.T) {
	t.Parallel()
	m := hostile(t, func(st *stream, q request) {
		r := result{Exit: 1 << 20, Removed: []int{1, 2, 7, -3, 7}}
		if q.Method == discard {
			r = result{Error: &failure{Kind: 77, Text: "no"}}
		}
		_ = st.sendJSON(kindResult, r)
	})
	removed, err := m.Prune(within(t), ae, []int{2, 7})
	if err != nil || fmt.Sprint(removed) != "[1]" {
		t.Errorf("it removed %v, %v: what is to be kept is not its to remove", removed, err)
	}
	exit, err := m.Run(within(t), builder.Stage{Ref: builder.Ref{AppEnv: ae, Number: 1}}, []string{"true"}, builder.Stdio{}, nil)
	if err == nil || exit != 0 {
		t.Errorf("the exit status is %d, %v", exit, err)
	}
	if err := m.Discard(within(t), builder.Ref{AppEnv: ae, Number: 1}); config.KindOf(err) != config.Failed {
		t.Errorf("the exit status would be %d", config.KindOf(err))
	}
}

// However much a host writes, little of it is kept. It is not parallel: it looks
// at the memory of all.
func TestFloodOfOutput(t *testing.T) {
	const frames = 2000
	m := hostile(t, func(st *stream, _ request) {
		for range frames {
			if st.send(kindOutput, make([]byte, chunk)) != nil {
				return
			}
		}
		_ = st.sendJSON(kindResult, result{})
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out := &countWriter{}
	check(t, m.Health(within(t), builder.Stage{Ref: builder.Ref{AppEnv: ae, Number: 1}}, out))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if out.n != frames*chunk {
		t.Errorf("%d bytes came", out.n)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d bytes are kept", grown)
	}
}

type countWriter struct{ n int }

func (c *countWriter) Write(b []byte) (int, error) { c.n += len(b); return len(b), nil }

// A body that lies about what it brings is refused, and what was right of it is
// kept.
func TestHostileBody(t *testing.T) {
	t.Parallel()
	m := connect(t)
	tree := &targettest.Tree{Files: map[string]string{"a": "1"}}
	l, err := tree.List()
	check(t, err)
	whole, err := content.Diff(nil, l)
	check(t, err)
	for name, c := range map[string]struct {
		id   string
		body []byte
		text string
	}{
		"nothing":      {formatID(l.ID()), nil, "read the list of files"},
		"huge":         {formatID(l.ID()), []byte{0xff, 0xff, 0xff, 0xff}, "a list of 4294967295 bytes"},
		"another list": {formatID([32]byte{1}), framed(whole), "not the one that was announced"},
		"no id":        {"zz", framed(whole), "not the id of a list"},
		"noise":        {formatID(l.ID()), framed([]byte(rand.Text())), "a difference of an unknown form"},
	} {
		q := m.request(place, ae, 1)
		q.Tree = &treeSpec{ID: c.id}
		r, err := m.Client.call(within(t), exchange{request: q, body: func(_ context.Context, w io.WriteCloser, _ <-chan []byte) {
			_, _ = w.Write(c.body) // it may not be read to its end
			w.Close()
		}})
		if err != nil || r.Error == nil || !strings.Contains(r.Error.Text, c.text) {
			t.Errorf("%s: %+v, %v", name, r.Error, err)
		}
	}
	if _, err := os.Stat(filepath.Join(m.At.Root, "shop/releases/1")); err == nil {
		t.Error("a release was made of it")
	}
}

func framed(list []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(list))), list...)
}

// FuzzWants reads what a host lacks.
func FuzzWants(f *testing.F) {
	tree := &targettest.Tree{Files: map[string]string{"a": "1", "b/c": "22", "b/d": "333"}}
	l, err := tree.List()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packWants([]content.Want{{Index: 0}, {Index: 2}, {Index: 1, Offset: 1}}))
	f.Add([]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Add([]byte{0, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		want, err := unpackWants(b, l)
		if err != nil {
			return
		}
		for _, w := range want {
			if f := l.Files()[w.Index]; w.Offset < 0 || w.Offset > f.Size {
				t.Errorf("%+v of %+v", w, f)
			}
		}
		again, err := unpackWants(packWants(want), l)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(want) {
			t.Errorf("%v, then %v, %v", want, again, err)
		}
	})
}

// bytesConn is a connection from which some bytes come.
type bytesConn struct {
	net.Conn
	in *bytes.Reader
}

func (b bytesConn) Read(p []byte) (int, error) { return b.in.Read(p) }

// FuzzAnswer reads what comes from a host in a call.
func FuzzAnswer(f *testing.F) {
	frame := func(k kind, text string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(len(text))), text...)
	}
	f.Add(frame(kindResult, `{"Error":{"Kind":1,"Text":"no","Exit":{"Step":"postinstall","Status":3}},"Clock":"2026-01-02T03:04:05Z"}`))
	f.Add(frame(kindResult, `{"Status":[{"Live":3,"Err":{}}]}`))
	f.Add(append(frame(kindAnswer, "\x00\x00"), frame(kindEnd, "")...))
	f.Add(append(frame(kindOutput, "x"), 'e', 1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := exchange{out: io.Discard}
		r, err := x.listen(&stream{conn: bytesConn{in: bytes.NewReader(b)}}, make(chan []byte, 1))
		if err != nil {
			return
		}
		if err := r.Error.unpack("app1"); err != nil && (config.KindOf(err) < config.Failed || config.KindOf(err) > config.NotFound) {
			t.Errorf("kind %d", config.KindOf(err))
		}
	})
}

// FuzzRequest has an agent read what comes from a server: nothing ends it.
func FuzzRequest(f *testing.F) {
	for _, q := range []request{
		{Method: status, Place: Place{Root: "/nonexistent/apps"}, AppEnv: "shop/prod"},
		{Method: stage, Place: Place{Root: "/nonexistent/apps"}, AppEnv: "shop/prod", Stage: &stageSpec{}},
		{Method: activate, Switch: &switchSpec{}},
	} {
		text, err := json.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := &call{server: &server{}}
		if json.Unmarshal(text, &c.request) != nil {
			return
		}
		c.request.Method = status // which changes nothing, wherever its root is
		_, _ = guarded(func() (result, error) { return c.run(t.Context()) })
		if c.request.Stage != nil {
			c.request.Stage.unpack(c.ref())
		}
		p := c.request.Place
		if c.host != nil && (!filepath.IsAbs(p.Root) || filepath.Clean(p.Root) != p.Root) {
			t.Errorf("a host at %q", p.Root)
		}
	})
}
