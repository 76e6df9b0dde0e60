package receiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"slipway/builder"
	"slipway/store"
)

// B1 to B4: who does not come to a proved key is out when his time is, however
// he spends it, and at once when he does not even speak SSH.
func TestHandshake(t *testing.T) {
	const limit = 700 * time.Millisecond
	d := openDoor(t, options{limits: Limits{Handshake: limit, Connections: 256}})
	connect := func() net.Conn {
		nc, err := net.Dial("tcp", d.Addr().String())
		must(t, err)
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	onTime := func(t *testing.T, took time.Duration) {
		t.Helper()
		if took < limit-100*time.Millisecond || took > limit+5*time.Second {
			t.Errorf("closed after %s", took)
		}
	}
	t.Run("B1 silence", func(t *testing.T) { onTime(t, ends(t, connect())) })
	t.Run("B2 drops", func(t *testing.T) {
		nc := connect()
		var all sync.WaitGroup
		all.Add(1)
		go func() {
			defer all.Done()
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for _, b := range []byte("SSH-2.0-" + strings.Repeat("x", 200)) {
				if _, err := nc.Write([]byte{b}); err != nil {
					return
				}
				<-tick.C
			}
		}()
		onTime(t, ends(t, nc))
		nc.Close()
		all.Wait()
	})
	t.Run("B3 HTTP", func(t *testing.T) {
		nc := connect()
		fmt.Fprint(nc, "GET / HTTP/1.1\r\n")
		if took := ends(t, nc); took > limit/2 {
			t.Errorf("closed after %s", took)
		}
	})
	t.Run("B4 half a key exchange", func(t *testing.T) {
		nc := connect()
		fmt.Fprint(nc, "SSH-2.0-half\r\n")
		onTime(t, ends(t, nc))
	})
	t.Run("B4 10 MB", func(t *testing.T) {
		nc := connect()
		fmt.Fprint(nc, "SSH-2.0-big\r\n")
		junk := make([]byte, 64<<10)
		for n := 0; n < 160; n++ {
			if _, err := nc.Write(junk); err != nil {
				return
			}
		}
		t.Error("all of it was taken")
	})
	t.Run("strict key exchange", func(t *testing.T) {
		nc := connect()
		fmt.Fprint(nc, "SSH-2.0-x\r\n")
		must(t, nc.SetReadDeadline(time.Now().Add(patience)))
		var got bytes.Buffer
		for !strings.Contains(got.String(), "kex-strict-s-v00@openssh.com") {
			if _, err := io.CopyN(&got, nc, 1); err != nil {
				t.Fatalf("not offered: %v", err)
			}
		}
		contains(t, "the version", got.String(), "SSH-2.0-OpenSSH_Slipway\r\n")
	})
	// A session outlives the handshake's time.
	c := d.client()
	onTime(t, ends(t, connect()))
	if r := execOn(t, c, "x"); r.status != 0 {
		t.Errorf("%+v", r)
	}
}

// T1, L1: silent connections do not keep a good client out.
func TestSilentCrowd(t *testing.T) {
	d := openDoor(t, options{limits: Limits{Handshake: patience, Connections: 40}})
	for range 500 {
		nc, err := net.Dial("tcp", d.Addr().String())
		must(t, err)
		defer nc.Close()
	}
	began := time.Now()
	if r := finish(t, d.ssh(anyone)); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("let in after %s", took)
	}
	if n := len(d.gate.all()); n > 40 {
		t.Errorf("%d connections are in", n)
	}
}

// Many good clients from one address at once all get in.
func TestGoodCrowd(t *testing.T) {
	d := openDoor(t, options{})
	failed := make(chan error, 60)
	for range cap(failed) {
		go func() {
			c, err := d.dial()
			if err == nil {
				err = c.Close()
			}
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := wait(t, "a client", failed); err != nil {
			t.Error(err)
		}
	}
}

// strangers makes connections that the gate can look at.
type stranger struct {
	net.Conn
	ip string
}

func (s stranger) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(s.ip), 1))
}
func (stranger) SetDeadline(time.Time) error { return nil }
func (stranger) Close() error                { return nil }
func (stranger) Read([]byte) (int, error)    { return 0, io.EOF }
func (stranger) Write(p []byte) (int, error) { return len(p), nil }

func TestGate(t *testing.T) {
	g := newGate(time.Now)
	const most = 40 // so 20 of one network
	arrive := func(ip string, spoke bool) (*conn, bool) {
		c, err := newConn(stranger{ip: ip}, time.Minute)
		must(t, err)
		if spoke {
			c.read.Store(100)
		}
		return c, g.admit(c, most)
	}
	count := func(ip string) int { return len(g.startups[network(stranger{ip: ip}.RemoteAddr())]) }

	good, ok := arrive("192.0.2.1", true)
	if !ok {
		t.Fatal("an empty house is full")
	}
	var silent []*conn
	for range 100 {
		c, ok := arrive("192.0.2.9", false)
		if !ok {
			t.Fatal("a silent one keeps another out")
		}
		silent = append(silent, c)
	}
	if n := count("192.0.2.9"); n != perNetwork(most) {
		t.Errorf("%d of one address", n)
	}
	if !errors.Is(silent[0].why(), errCrowded) || !errors.Is(silent[99].why(), errGone) {
		t.Error("the newest and not the oldest was dropped")
	}
	for n := range 100 {
		if _, ok := arrive(fmt.Sprintf("2001:db8::%x", n+1), false); !ok {
			t.Fatal("a silent one keeps another out")
		}
	}
	if n := count("2001:db8::"); n > perNetwork(most) {
		t.Errorf("%d of one /64", n)
	}
	for n := range 100 {
		if _, ok := arrive(fmt.Sprintf("198.51.100.%d", n), false); !ok {
			t.Fatal("a silent one keeps another out")
		}
	}
	if len(g.conns) > most {
		t.Errorf("%d are in", len(g.conns))
	}
	if !errors.Is(good.why(), errGone) {
		t.Error("the busy one was dropped for silent ones")
	}

	// Nor is one from an address of its own that has not spoken yet, for
	// those of addresses that have many, however fast they come.
	for c := range g.conns {
		g.leave(c)
	}
	for n := range 2 * most {
		arrive(fmt.Sprintf("198.51.100.%d", n%10), true)
	}
	fresh, ok := arrive("192.0.2.1", false)
	if !ok {
		t.Fatal("a flood keeps out who comes from elsewhere")
	}
	for n := range 1000 {
		arrive(fmt.Sprintf("198.51.100.%d", n%10), n%3 > 0)
	}
	if !errors.Is(fresh.why(), errGone) {
		t.Error("one that has just come was dropped in a flood")
	}

	// Proved ones are never dropped; when all are, there is no room.
	for c := range g.conns {
		g.proved(c)
	}
	if _, ok := arrive("192.0.2.7", true); ok {
		t.Error("let in beyond the limit")
	}
	for c := range g.conns {
		g.leave(c)
	}
	if len(g.conns)+len(g.startups) != 0 {
		t.Errorf("left: %v %v", g.conns, g.startups)
	}
}

func TestPenalties(t *testing.T) {
	now := time.Date(2026, 11, 25, 4, 0, 0, 0, time.UTC)
	g := newGate(func() time.Time { return now })
	admit := func(ip string) bool {
		c, err := newConn(stranger{ip: ip}, time.Minute)
		must(t, err)
		defer g.leave(c)
		return g.admit(c, 100)
	}
	bad := stranger{ip: "127.0.0.1"}.RemoteAddr()
	for range freeFailures {
		g.failed(bad)
	}
	if !admit("127.0.0.1") {
		t.Error("the free failures are not free")
	}
	g.failed(bad)
	if admit("127.0.0.1") {
		t.Error("no penalty")
	}
	if !admit("127.0.0.2") {
		t.Error("another address pays")
	}
	now = now.Add(1100 * time.Millisecond)
	if !admit("127.0.0.1") {
		t.Error("the first penalty is longer than a second")
	}
	for range 1000 {
		g.failed(bad)
	}
	now = now.Add(maxPenalty - time.Millisecond)
	if admit("127.0.0.1") {
		t.Error("the penalty does not grow")
	}
	now = now.Add(2 * time.Millisecond)
	if !admit("127.0.0.1") {
		t.Error("the penalty has no bound")
	}
	for n := range 2 * maxPenalties {
		g.failed(stranger{ip: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()}.RemoteAddr())
	}
	if len(g.penalties) > maxPenalties {
		t.Errorf("%d networks are remembered", len(g.penalties))
	}
	now = now.Add(2 * time.Minute)
	g.failed(stranger{ip: "192.0.2.1"}.RemoteAddr())
	if len(g.penalties) != 1 {
		t.Errorf("%d networks are remembered", len(g.penalties))
	}
}

func TestShutdown(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	finishNow := make(chan struct{})
	open := func(command func(context.Context, store.Caller, []string, Stdio, *builder.Terminal) int) (*door, chan error) {
		d := openDoor(t, options{command: command})
		return d, make(chan error, 1)
	}
	t.Run("gentle", func(t *testing.T) {
		d, down := open(func(ctx context.Context, _ store.Caller, argv []string, io Stdio, _ *builder.Terminal) int {
			started <- struct{}{}
			<-finishNow
			fmt.Fprintln(io.Out, "done")
			if ctx.Err() != nil {
				return 9
			}
			return 5
		})
		client, over := d.ssh(anyone, "x"), make(chan result, 1)
		idle := d.client()
		go func() { over <- finish(t, client) }()
		wait(t, "the command", started)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		go func() { down <- d.Shutdown(ctx) }()
		<-d.stop
		d.beginStop() // which waits for the one that closes the listener
		if nc, err := net.Dial("tcp", d.Addr().String()); err == nil {
			nc.Close()
			t.Error("still accepting")
		}
		if _, err := idle.NewSession(); err == nil {
			t.Error("a session begins while the server stops")
		}
		close(finishNow)
		if r := wait(t, "the client's end", over); r.status != 5 || r.out != "done\n" {
			t.Errorf("%+v", r)
		}
		must(t, wait(t, "the shutdown", down))
	})
	t.Run("bounded", func(t *testing.T) {
		d, down := open(held(started, ended))
		client, over := d.ssh(anyone, "hold"), make(chan result, 1)
		go func() { over <- finish(t, client) }()
		wait(t, "the command", started)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { down <- d.Shutdown(ctx) }()
		<-d.stop
		cancel()
		if why := wait(t, "the cancel", ended); !errors.Is(why, errStopping) {
			t.Errorf("cause: %v", why)
		}
		must(t, wait(t, "the shutdown", down))
		if r := wait(t, "the client's end", over); r.status == 0 {
			t.Errorf("%+v", r)
		}
	})
}

// When Serve's context ends, everything does, with its cause.
func TestServeContext(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	d := openDoor(t, options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	o := d.o
	o.Listener, o.Command = l, held(started, ended)
	s, err := New(o)
	must(t, err)
	ctx, cancel := context.WithCancelCause(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	c, err := gossh.Dial("tcp", s.Addr().String(), &gossh.ClientConfig{
		User: "x", Auth: []gossh.AuthMethod{gossh.PublicKeys(d.ana)}, HostKeyCallback: gossh.FixedHostKey(d.host),
	})
	must(t, err)
	defer c.Close()
	session, err := c.NewSession()
	must(t, err)
	must(t, session.Start("hold"))
	wait(t, "the command", started)
	why := errors.New("enough")
	cancel(why)
	if got := wait(t, "the cancel", ended); !errors.Is(got, why) {
		t.Errorf("cause: %v", got)
	}
	if got := wait(t, "the end", served); !errors.Is(got, why) {
		t.Errorf("Serve: %v", got)
	}
}

// TestPace looks once a second at pushes that come in at different paces.
func TestPace(t *testing.T) {
	for name, c := range map[string]struct {
		bytes func(second int) int64
		slow  bool
	}{
		"dribble":                 {func(int) int64 { return 1000 }, true},
		"dribble with pauses":     {func(s int) int64 { return int64(s%2) * 2000 }, true},
		"slow line":               {func(int) int64 { return 5000 }, false},
		"compressing":             {func(s int) int64 { return int64(s%5/4) * 100 }, false},
		"compressing, then a few": {func(s int) int64 { return int64(s/590) * 3000 }, false},
		"fast":                    {func(int) int64 { return 10 << 20 }, false},
	} {
		now, read, slow := time.Unix(0, 0), int64(5000), false
		var p pace
		p.begin(now, read)
		for s := range 600 {
			now = now.Add(time.Second)
			read += c.bytes(s)
			slow = slow || p.slow(now, read, time.Minute)
		}
		if slow != c.slow {
			t.Errorf("%s: slow is %v", name, slow)
		}
	}
}
