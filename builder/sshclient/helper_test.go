package sshclient

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	return string(text)
}

// login is an endpoint that a server takes.
func login(t testing.TB, s *sshdtest.Server) Endpoint {
	t.Helper()
	dir := t.TempDir()
	ep := Endpoint{
		Host: s.Host, Identity: filepath.Join(dir, "prod"), KnownHosts: filepath.Join(dir, "known_hosts"),
		What: "host", Whose: "environment prod",
	}
	sshdtest.WriteKey(t, ep.Identity, sshdtest.NewKey(t, "ed25519"))
	check(t, os.WriteFile(ep.KnownHosts, []byte(s.Known()), 0o600))
	s.Allow(t, ep.Identity, "")
	return ep
}

// pinned replaces what is pinned.
func (ep Endpoint) pinned(t testing.TB, text string) Endpoint {
	t.Helper()
	ep.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
	check(t, os.WriteFile(ep.KnownHosts, []byte(text), 0o600))
	return ep
}

// at is the same machine at another address.
func (ep Endpoint) at(t testing.TB, addr net.Addr, key ssh.PublicKey) Endpoint {
	t.Helper()
	to := addr.(*net.TCPAddr)
	ep.Host.Name, ep.Host.Port = to.IP.String(), to.Port
	return ep.pinned(t, sshdtest.Known("", hostName(ep.Host), key))
}

// works runs a command over a connection and closes it.
func works(t testing.TB, client *ssh.Client) {
	t.Helper()
	defer client.Close()
	s, err := client.NewSession()
	check(t, err)
	defer s.Close()
	out, err := s.Output("echo here")
	if err != nil || string(out) != "here\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// refused dials in vain, without harm to the error's promises.
func refused(t *testing.T, ep Endpoint, via *Endpoint, o Options) *Error {
	t.Helper()
	client, err := Dial(t.Context(), ep, via, o)
	if err == nil {
		client.Close()
		t.Fatal("a login succeeded")
	}
	var no *Error
	var c *config.Error
	if !errors.As(err, &no) || !errors.As(err, &c) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("%T %v", err, err)
	}
	return no
}

func want(t testing.TB, no *Error, kind config.Kind, text, hint string) {
	t.Helper()
	if no.Error() != text || config.Hint(no) != hint || config.KindOf(no) != kind {
		t.Errorf("%s: %q, hint %q, want %s: %q, hint %q", config.KindOf(no), no, config.Hint(no), kind, text, hint)
	}
}

// relay passes connections on to a server, and is cut or falls silent after
// some bytes of the server's.
type relay struct {
	net.Listener
	to     string
	limit  int64 // bytes of the server's on each connection; -1 is all
	cut    bool  // at the limit, else silence
	frozen atomic.Bool
	opened chan struct{} // one for each connection
	closed chan struct{} // one for each that the client has ended
	over   chan struct{}
	tasks  sync.WaitGroup
}

func newRelay(t testing.TB, to string, limit int64, cut bool) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	r := &relay{Listener: l, to: to, limit: limit, cut: cut, opened: make(chan struct{}, 100), closed: make(chan struct{}, 100), over: make(chan struct{})}
	r.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.tasks.Go(func() { r.pass(c) })
		}
	})
	t.Cleanup(func() { l.Close(); close(r.over); r.tasks.Wait() })
	return r
}

func (r *relay) pass(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer s.Close()
	r.opened <- struct{}{}
	gone := make(chan struct{}) // the client has ended it
	r.tasks.Go(func() {
		_, _ = io.Copy(s, c)
		close(gone)
		s.Close()
	})
	from := io.Reader(s)
	if r.limit >= 0 {
		from = io.LimitReader(s, r.limit)
	}
	_, _ = io.Copy(thawed{c, r}, from)
	if !r.cut {
		select {
		case <-gone:
			r.closed <- struct{}{}
		case <-r.over:
		}
	}
}

// thawed drops what comes while the relay is frozen.
type thawed struct {
	net.Conn
	r *relay
}

func (w thawed) Write(b []byte) (int, error) {
	if w.r.frozen.Load() {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

func within(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not within 20 s", what)
	}
}
