package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"slipway/builder"
	"slipway/store"
)

// held is a command that runs until its context ends, and reports why.
func held(started chan<- struct{}, ended chan<- error) func(context.Context, store.Caller, []string, Stdio, *builder.Terminal) int {
	return func(ctx context.Context, _ store.Caller, argv []string, io Stdio, _ *builder.Terminal) int {
		if len(argv) == 0 || argv[0] != "hold" {
			return 0
		}
		fmt.Fprintln(io.Out, "holding")
		started <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return 1
	}
}

func TestCommandsAndGreeting(t *testing.T) {
	d := openDoor(t, options{})
	for _, c := range []struct {
		name string
		args []string
		out  string
	}{
		{"greeting", nil, "ana []\n"},
		{"greeting with a terminal", []string{"-tt"}, "ana []\r\n"},
		{"words", []string{"releases", "shop/prod"}, `ana ["releases" "shop/prod"]` + "\n"},
		{"quotes", []string{`vars set shop/prod 'KEY=a  b' "X=it's" Y=\$Z`}, `ana ["vars" "set" "shop/prod" "KEY=a  b" "X=it's" "Y=$Z"]` + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Options come before the host, the command after it.
			var args []string
			if len(c.args) > 0 && strings.HasPrefix(c.args[0], "-") {
				args, c.args = c.args[:1], c.args[1:]
			}
			r := finish(t, d.ssh(append(append(args, anyone), c.args...)...))
			if r.out != c.out || r.status != 0 {
				t.Errorf("got %q, status %d, %s; want %q", r.out, r.status, r.err, c.out)
			}
		})
	}
}

// Trap 4: whatever a handler does, the status is the one it returned.
func TestExitStatus(t *testing.T) {
	d := openDoor(t, options{command: func(_ context.Context, _ store.Caller, argv []string, io Stdio, _ *builder.Terminal) int {
		fmt.Fprint(io.Out, strings.Repeat("x", 300<<10))
		switch argv[0] {
		case "panic":
			panic("secret-in-panic")
		case "goexit":
			runtime.Goexit()
		case "big":
			return 4096
		}
		var n int
		fmt.Sscan(argv[0], &n)
		return n
	}})
	for command, want := range map[string]int{"0": 0, "1": 1, "3": 3, "255": 255, "big": 1, "goexit": 1} {
		r := finish(t, d.ssh(anyone, command))
		if r.status != want || len(r.out) != 300<<10 {
			t.Errorf("%s: status %d, %d bytes, %s; want status %d", command, r.status, len(r.out), r.err, want)
		}
	}
	// Trap 5: a panic ends that session alone.
	r := finish(t, d.ssh(anyone, "panic"))
	if r.status != 1 || len(r.out) != 300<<10 {
		t.Errorf("panic: status %d, %d bytes", r.status, len(r.out))
	}
	contains(t, "what the user sees", r.err, "error: internal error, id ")
	contains(t, "what the user sees", r.err, "\nhint: ")
	if strings.Contains(r.err, "secret-in-panic") || strings.Contains(r.err, ".go:") {
		t.Errorf("the user sees the panic: %s", r.err)
	}
	id := strings.Fields(strings.SplitN(r.err, "id ", 2)[1])[0]
	contains(t, "the log", d.log.String(), id)
	contains(t, "the log", d.log.String(), "session_test.go")
	if r := finish(t, d.ssh(anyone, "7")); r.status != 7 {
		t.Errorf("after a panic: status %d", r.status)
	}
}

// Trap 1: the session ends with its channel, though a client's ControlMaster
// keeps the connection.
func TestControlMaster(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	d := openDoor(t, options{command: held(started, ended)})
	socket := filepath.Join(d.dir, "cm")
	master := d.ssh("-M", "-N", "-S", socket, "-o", "ControlPersist=no", anyone)
	must(t, master.Start())
	defer func() {
		_ = master.Process.Kill()
		_ = master.Wait()
	}()
	for ready := false; !ready; {
		if master.ProcessState != nil {
			t.Fatal("the master has ended")
		}
		ready = d.ssh("-S", socket, "-O", "check", anyone).Run() == nil
	}
	client := d.ssh("-S", socket, anyone, "hold")
	out, err := client.StdoutPipe()
	must(t, err)
	must(t, client.Start())
	wait(t, "the command", started)
	if line := make([]byte, 8); func() error { _, err := io.ReadFull(out, line); return err }() != nil {
		t.Fatal("no output")
	}
	must(t, client.Process.Signal(interrupt))
	if why := wait(t, "the cancel", ended); !errors.Is(why, errGone) && !errors.Is(why, errInterrupted) {
		t.Errorf("cause: %v", why)
	}
	if err := client.Wait(); err == nil {
		t.Error("the interrupted client ended with 0")
	}
	// The connection lives on and serves the next.
	if r := finish(t, d.ssh("-S", socket, anyone, "next")); r.status != 0 {
		t.Errorf("the next session: %d, %s", r.status, r.err)
	}
	if n := strings.Count(d.log.String(), `"message":"session"`); n != 2 {
		t.Errorf("%d sessions were logged", n)
	}
}

// A client without multiplexing that is interrupted, killed, or closes.
func TestClientGoesAway(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	d := openDoor(t, options{command: held(started, ended)})
	for name, end := range map[string]func(*exec.Cmd) error{
		"interrupt": func(c *exec.Cmd) error { return c.Process.Signal(interrupt) },
		"kill":      func(c *exec.Cmd) error { return c.Process.Kill() },
	} {
		client := d.ssh(anyone, "hold")
		must(t, client.Start())
		wait(t, "the command", started)
		must(t, end(client))
		if why := wait(t, name, ended); !errors.Is(why, errGone) {
			t.Errorf("%s: cause %v", name, why)
		}
		_ = client.Wait()
	}
	c := d.client()
	s, err := c.NewSession()
	must(t, err)
	must(t, s.Start("hold"))
	wait(t, "the command", started)
	must(t, s.Signal(gossh.SIGINT))
	if why := wait(t, "the signal", ended); !errors.Is(why, errInterrupted) {
		t.Errorf("signal: cause %v", why)
	}
}

// Ctrl-C in a terminal is a byte of the input, which nobody reads.
func TestTerminal(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	sizes := make(chan [2]int, 1)
	d := openDoor(t, options{command: func(ctx context.Context, c store.Caller, argv []string, stdio Stdio, tty *builder.Terminal) int {
		switch argv[0] {
		case "size":
			fmt.Fprintf(stdio.Out, "%s %dx%d\n", tty.Term, tty.Rows, tty.Columns)
			started <- struct{}{}
			for size := range tty.Resize {
				sizes <- size
			}
			return 0
		case "raw":
			in := RawIn(stdio.In)
			fmt.Fprintf(RawOut(stdio.Out), "raw\n")
			got := make([]byte, 3)
			_, err := io.ReadFull(in, got)
			fmt.Fprintf(stdio.Out, "%q %v\n", got, err)
			return 0
		case "line":
			all, err := io.ReadAll(stdio.In)
			fmt.Fprintf(stdio.Out, "%q %v\n", all, err)
			return 0
		}
		return held(started, ended)(ctx, c, argv, stdio, tty)
	}})

	client := d.ssh("-tt", anyone, "hold")
	in, err := client.StdinPipe()
	must(t, err)
	must(t, client.Start())
	wait(t, "the command", started)
	_, err = io.WriteString(in, "abc\x03")
	must(t, err)
	if why := wait(t, "Ctrl-C", ended); !errors.Is(why, errInterrupted) {
		t.Errorf("cause: %v", why)
	}
	_ = client.Wait()

	raw := d.ssh("-tt", anyone, "raw")
	in, err = raw.StdinPipe()
	must(t, err)
	out, err := raw.StdoutPipe()
	must(t, err)
	must(t, raw.Start())
	got := make([]byte, 4)
	_, err = io.ReadFull(out, got)
	must(t, err)
	_, err = io.WriteString(in, "a\x03\r")
	must(t, err)
	rest, err := io.ReadAll(out)
	must(t, err)
	if got := string(got) + string(rest); got != "raw\n\"a\\x03\\r\" <nil>\r\n" {
		t.Errorf("raw: %q", got)
	}
	must(t, raw.Wait())
	line := d.ssh("-tt", anyone, "line")
	line.Stdin = strings.NewReader("one\rtwo\x04three")
	if r := finish(t, line); r.out != "\"one\\ntwo\" <nil>\r\n" {
		t.Errorf("line: %q", r.out)
	}

	// Window changes never block, whoever takes them.
	s, err := d.client().NewSession()
	must(t, err)
	must(t, s.RequestPty("xterm", 24, 80, gossh.TerminalModes{}))
	must(t, s.Start("size"))
	wait(t, "the command", started)
	for n := range 200 {
		must(t, s.WindowChange(n+1, 100))
	}
	for size := [2]int{}; size != [2]int{200, 100}; {
		size = wait(t, "the last size", sizes)
	}
	must(t, s.Close())
}

// Trap 14: a command that ends at once is not held up by a standard input
// that the client keeps open.
func TestOpenInput(t *testing.T) {
	d := openDoor(t, options{})
	client := d.ssh(anyone, "quick")
	in, err := client.StdinPipe()
	must(t, err)
	defer in.Close()
	over := make(chan result, 1)
	go func() { over <- finish(t, client) }()
	if r := wait(t, "the end", over); r.status != 0 {
		t.Errorf("status %d, %s", r.status, r.err)
	}
}

// The rights are read anew for each session of an open connection.
func TestRightsOfTheMoment(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	var callers atomic.Value
	d := openDoor(t, options{command: func(ctx context.Context, c store.Caller, argv []string, io Stdio, tty *builder.Terminal) int {
		callers.Store(c)
		return held(started, ended)(ctx, c, argv, io, tty)
	}})
	c := d.client()
	execOn(t, c, "x")
	if who := callers.Load().(store.Caller); who.Name != "ana" || who.Admin || !strings.HasPrefix(who.Addr, "127.0.0.1:") ||
		who.Fingerprint != gossh.FingerprintSHA256(d.ana.PublicKey()) {
		t.Errorf("caller: %+v", who)
	}
	d.keys.put(d.ana.PublicKey(), store.Key{Name: "ana2", Admin: true})
	execOn(t, c, "x")
	if who := callers.Load().(store.Caller); who.Name != "ana2" || !who.Admin {
		t.Errorf("caller: %+v", who)
	}
	s, err := c.NewSession()
	must(t, err)
	must(t, s.Start("hold"))
	wait(t, "the command", started)

	d.keys.drop(d.ana.PublicKey())
	r := execOn(t, c, "x")
	if r.status != 3 {
		t.Errorf("removed key: status %d", r.status)
	}
	contains(t, "stderr", r.err, `error: the key "ana" was removed`)
	contains(t, "stderr", r.err, "hint: ")
	if r := execOn(t, c, "git-upload-pack 'shop/prod'"); r.status != 3 || !strings.Contains(r.out, "ERR the key") || r.err != "" {
		t.Errorf("git with a removed key: %+v", r)
	}
	d.DropKey("ana")
	if why := wait(t, "the cancel", ended); !errors.Is(why, errKeyRemoved) {
		t.Errorf("cause: %v", why)
	}
	_ = c.Wait()
	if _, err := d.dial(); err == nil {
		t.Error("a removed key gets in")
	}
}

// A client whose line is cut without a word is noticed by its silence.
func TestDeadClient(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	d := openDoor(t, options{command: held(started, ended), timing: func(t *timing) {
		t.tick, t.ask, t.dead = 20*time.Millisecond, 40*time.Millisecond, 500*time.Millisecond
	}})
	link := newLink(t, d.Addr().String())
	c, err := gossh.Dial("tcp", link.addr(), &gossh.ClientConfig{
		User: "x", Auth: []gossh.AuthMethod{gossh.PublicKeys(d.ana)}, HostKeyCallback: gossh.FixedHostKey(d.host),
	})
	must(t, err)
	defer c.Close()
	s, err := c.NewSession()
	must(t, err)
	must(t, s.Start("hold"))
	wait(t, "the command", started)
	// It is quiet, but lives: many keepalives are answered.
	for range 40 {
		if !link.passed(t) {
			t.Fatal("the link has ended")
		}
	}
	select {
	case why := <-ended:
		t.Fatalf("ended while it lived: %v", why)
	default:
	}
	link.cut()
	if why := wait(t, "the cancel", ended); !errors.Is(why, errDead) {
		t.Errorf("cause: %v", why)
	}
}

// A client that does not read what it asked for.
// A push that dribbles in is ended; the connection's other sessions are not.
func TestSlowPush(t *testing.T) {
	ended := make(chan error, 1)
	d := openDoor(t, options{
		git: func(ctx context.Context, _ GitRequest, io Stdio) int {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return 1
		},
		timing: func(t *timing) { t.tick, t.slow = 20*time.Millisecond, 100*time.Millisecond },
	})
	c := d.client()
	s, err := c.NewSession()
	must(t, err)
	defer s.Close()
	in, err := s.StdinPipe()
	must(t, err)
	must(t, s.Start("git-receive-pack 'shop/dev'"))
	tick := time.NewTicker(40 * time.Millisecond) // with some 50 bytes each: between trickle and slowest
	defer tick.Stop()
	for {
		select {
		case why := <-ended:
			if !errors.Is(why, errSlow) {
				t.Errorf("cause: %v", why)
			}
			if r := execOn(t, c, "another"); r.status != 0 {
				t.Errorf("the connection's other sessions: %+v", r)
			}
			return
		case <-tick.C:
			_, _ = in.Write([]byte("pack")) // it may have ended
		}
	}
}

func TestStalledClient(t *testing.T) {
	ended := make(chan error, 1)
	d := openDoor(t, options{
		command: func(ctx context.Context, _ store.Caller, argv []string, io Stdio, _ *builder.Terminal) int {
			if argv[0] == "flood" {
				for {
					if _, err := io.Out.Write(make([]byte, 32<<10)); err != nil {
						ended <- context.Cause(ctx)
						return 1
					}
				}
			}
			return 0
		},
		timing: func(t *timing) {
			t.tick, t.otherStall, t.stalledShut = 20*time.Millisecond, 200*time.Millisecond, patience
		},
	})
	c := d.client()
	ch, requests, err := c.OpenChannel("session", nil)
	must(t, err)
	go gossh.DiscardRequests(requests)
	if ok, err := ch.SendRequest("exec", true, gossh.Marshal(struct{ C string }{"flood"})); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if why := wait(t, "the cancel", ended); !errors.Is(why, errStalled) {
		t.Errorf("cause: %v", why)
	}
	if r := execOn(t, c, "another"); r.status != 0 {
		t.Errorf("the connection's other sessions: %+v", r)
	}
}
