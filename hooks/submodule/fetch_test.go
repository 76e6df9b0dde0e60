package submodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
	"slipway/hooks/socket"
	"slipway/store"
)

// lone makes an app of one submodule, "lib".
func (w *world) lone(url string, id store.OID) Request {
	return w.request(w.app.commit(files{".gitmodules": module("lib", url), "lib": gitlinkTo(id)}))
}

// An old server gives out only what it advertises; the commit lies below.
func TestOldServer(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	src.protocol.Store(false) // version 0
	r := src.repo("lib.git")
	first := r.commit(files{"l": "1"})
	second := r.commit(files{"l": "2"})
	third := r.commit(files{"l": "3"})
	w := newWorld(t, src.source("/", "ed25519"))
	wantStates(t, w.resolve(w.lone(src.url("/lib.git"), third)), "lib fetched\n") // advertised: shallow
	wantStates(t, w.resolve(w.lone(src.url("/lib.git"), first)), "lib fetched\n") // beyond what is there
	wantStates(t, w.resolve(w.lone(src.url("/lib.git"), second)), "lib fetched\n")
	_, err := w.refused(w.lone(src.url("/lib.git"), store.OID(strings.Repeat("5", 40))))
	wantText(t, err, "pinned commit 5555555 is not on "+src.addr+"/lib.git: it was never pushed, or its branch was rewritten")
	if !strings.Contains(config.Hint(err), "git push --recurse-submodules=on-demand") {
		t.Errorf("hint %q", config.Hint(err))
	}
}

func TestCommitsThatAreNotThere(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	r := src.repo("lib.git")
	id := r.commit(files{"l": "1"})
	tag := runGit(t, r.dir, fmt.Sprintf("object %s\ntype commit\ntag v1\ntagger A <a@b> 1700000000 +0000\n\nv1\n", id), "mktag")
	runGit(t, r.dir, "", "update-ref", "refs/tags/v1", tag)
	src.repo("empty.git")
	sha := repo{t, filepath.Join(src.root, "sha256.git"), new(string), map[string]string{}}
	runGit(t, "/", "", "init", "-q", "--bare", "--object-format=sha256", "-b", "main", sha.dir)
	sha.commit(files{"s": "s"})
	w := newWorld(t, src.source("/", "ed25519"))
	missing := store.OID(strings.Repeat("5", 40))
	for _, c := range []struct {
		path string
		id   store.OID
		want string
	}{
		{"/lib.git", missing, "is not on"},
		{"/empty.git", missing, "is not on"},
		{"/nothing.git", missing, "nothing.git is missing, or no access"},
		{"/lib.git", store.OID(tag), "lib: the submodule is pinned to a tag"},
		{"/lib.git", store.OID(runGit(t, r.dir, "", "rev-parse", "main^{tree}")), "pinned to a tree"},
		{"/sha256.git", missing, "sha256.git is a SHA-256 repository, which is not supported"},
	} {
		res, err := w.refused(w.lone(src.url(c.path), c.id))
		wantText(t, err, c.want)
		if res.Reports[0].State != Refused {
			t.Errorf("%s: state %s", c.path, res.Reports[0].State)
		}
	}
	// None of that is taken for whole afterwards.
	for _, e := range must[[]CacheEntry](t)(w.r.Cache()) {
		if e.Commits != 0 {
			t.Errorf("%s has %d commits", e.URL, e.Commits)
		}
	}
}

// What a source serves is checked as a push is.
func TestHostileObjects(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	r := src.repo("lib.git")
	blob := r.blob("x")
	raw := func(name string) string {
		id := []byte{}
		for i := 0; i < len(blob); i += 2 {
			var b byte
			_, err := fmt.Sscanf(blob[i:i+2], "%02x", &b)
			check(t, err)
			id = append(id, b)
		}
		return "100644 " + name + "\x00" + string(id)
	}
	w := newWorld(t, src.source("/", "ed25519"))
	for _, name := range []string{".git", ".GIT", "git~1", ".."} {
		tree := runGit(t, r.dir, raw(name), "hash-object", "-w", "--stdin", "-t", "tree", "--literally")
		id := runGit(t, r.dir, "", "commit-tree", "-m", "bad", tree)
		runGit(t, r.dir, "", "update-ref", "refs/heads/bad", id)
		res, err := w.refused(w.lone(src.url("/lib.git"), store.OID(id)))
		wantText(t, err, "git does not take what")
		if res.Reports[0].State != Refused {
			t.Errorf("%s: %s", name, res.Reports[0].State)
		}
	}
}

// faulty is a proxy that does to each connection what its number asks for.
type faulty struct {
	addr   string
	count  atomic.Int32
	mu     sync.Mutex
	limits []int64 // bytes from the source on connection n, -1 is any
	stall  bool    // at the limit hang instead of cutting
	held   []net.Conn
}

func newFaulty(t *testing.T, to string, stall bool, limits ...int64) *faulty {
	t.Helper()
	f := &faulty{limits: limits, stall: stall}
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	f.addr = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(f.count.Add(1)) - 1
			up, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			f.mu.Lock()
			f.held = append(f.held, c, up)
			limit := int64(-1)
			if n < len(f.limits) {
				limit = f.limits[n]
			}
			stall := f.stall
			f.mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(up, c); up.Close() })
			wg.Go(func() {
				if limit < 0 {
					_, _ = io.Copy(c, up)
				} else {
					_, _ = io.CopyN(c, up, limit)
				}
				if limit < 0 || !stall {
					c.Close()
					up.Close()
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for _, c := range f.held {
			c.Close()
		}
		f.mu.Unlock()
		wg.Wait()
	})
	return f
}

// through makes a source that is reached by the proxy.
func (f *faulty) through(t *testing.T, src *sshSource) config.Source {
	s := src.source("/", "ed25519")
	s.URL = parseURL(t, "ssh://git@"+f.addr+"/")
	host, port, err := net.SplitHostPort(f.addr)
	check(t, err)
	check(t, os.WriteFile(s.KnownHosts, []byte(sshdtest.Known("", "["+host+"]:"+port, src.host.PublicKey())), 0o600))
	return s
}

func noise(seed byte, n int) string {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

func TestCutConnections(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": noise(1, 1<<20)})

	// Cut in the handshake, in the pack; the third goes through.
	f := newFaulty(t, src.addr, false, 100, 300<<10)
	w := newWorld(t, f.through(t, src))
	q := w.lone("ssh://git@"+f.addr+"/lib.git", lib)
	wantStates(t, w.resolve(q), "lib fetched\n")
	if n := f.count.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}

	// Never through: three tries, and the failure is not kept.
	f = newFaulty(t, src.addr, false, 300<<10, 300<<10, 300<<10)
	w = newWorld(t, f.through(t, src))
	q = w.lone("ssh://git@"+f.addr+"/lib.git", lib)
	res, err := w.refused(q)
	wantText(t, err, "cannot reach source "+f.addr+": the connection was cut, 3 tries in ")
	if res.Reports[0].State != Failed || res.Reports[0].Tries != "try 3 of 3, "+f.addr {
		t.Errorf("report %+v", res.Reports[0])
	}
	if !strings.Contains(config.Hint(err), "push again") {
		t.Errorf("hint %q", config.Hint(err))
	}
	left, _ := filepath.Glob(filepath.Join(w.opts.Dir, "*", "objects", "pack", "tmp_*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	wantStates(t, w.resolve(q), "lib fetched\n")
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	w := newWorld(t, src.source("/", "ed25519"))
	q := w.lone(src.url("/lib.git"), lib)
	src.stop()
	_, err := w.refused(q)
	wantText(t, err, "cannot reach source "+src.addr+": connection refused, 3 tries in ")
	src.start(src.addr)
	wantStates(t, w.resolve(q), "lib fetched\n")
}

func TestStalledSource(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": noise(2, 1<<20)})
	f := newFaulty(t, src.addr, true, 300<<10)
	w := newWorld(t, f.through(t, src))
	w.r.stall = 2 * time.Second
	q := w.lone("ssh://git@"+f.addr+"/lib.git", lib)
	wantStates(t, w.resolve(q), "lib fetched\n") // by a second connection
	if n := f.count.Load(); n < 2 || n > 3 {     // on a slow machine the second may seem to stall too
		t.Errorf("%d connections", n)
	}

	// A source that never comes to an end is given up in time.
	w = newWorld(t, newFaulty(t, src.addr, true, 50).through(t, src))
	w.limits(func(l *config.Limits) { l.FetchTimeout = time.Second })
	q = w.lone(w.cfg.Load().Sources[0].URL.String()+"lib.git", lib)
	_, err := w.refused(q)
	wantText(t, err, "no end after 1s")
}

func TestTooMuch(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": noise(3, 4<<20)})
	f := newFaulty(t, src.addr, true, 3<<20) // stalls, so that it is seen while it grows
	w := newWorld(t, f.through(t, src))
	w.limits(func(l *config.Limits) { l.PushBytes = 1 << 20 })
	res, err := w.refused(w.lone("ssh://git@"+f.addr+"/lib.git", lib))
	wantText(t, err, "sends more than 1048576 bytes")
	if res.Reports[0].State != Refused {
		t.Errorf("state %s", res.Reports[0].State)
	}
}

// A server that says no is not asked again.
func TestRefusalsAreFinal(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	say := func(string) (string, int) {
		return "\x1b[31mFATAL: R any lib shop DENIED by fallthru\x1b[0m\nhint: \x07forged\n", 255
	}
	src.before.Store(&say)
	w := newWorld(t, src.source("/", "ed25519"))
	res, err := w.refused(w.lone(src.url("/lib.git"), lib))
	wantText(t, err, "lib: "+src.addr+"/lib.git is missing, or no access")
	if n := src.sessions.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if got := strings.Join(res.Reports[0].Said, "|"); got != "FATAL: R any lib shop DENIED by fallthru|hint: forged" {
		t.Errorf("said %q", got)
	}
}

// Two pushes that need one commit fetch it once; one that leaves does not end
// it for the other; an error is nobody's but theirs who waited.
func TestSingleFlight(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	reached, hang := make(chan struct{}, 10), make(chan struct{})
	block := func(string) (string, int) { reached <- struct{}{}; <-hang; return "", 0 }
	src.before.Store(&block)
	w := newWorld(t, src.source("/", "ed25519"))
	q := w.lone(src.url("/lib.git"), lib)
	first, leave := context.WithCancel(t.Context())
	over := make(chan error, 4)
	go func() { _, err := w.r.Resolve(first, q); over <- err }()
	<-reached
	for range 3 {
		go func() {
			res, err := w.r.Resolve(t.Context(), q)
			res.Close()
			over <- err
		}()
	}
	waitFor(t, func() bool {
		w.r.mu.Lock()
		defer w.r.mu.Unlock()
		for _, f := range w.r.flights {
			return f.waiting == 4
		}
		return false
	})
	leave()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that left got %v", err)
	}
	close(hang)
	for range 3 {
		check(t, <-over)
	}
	if n := src.sessions.Load(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// waitFor polls what gives no event, for a bounded time.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it does not come")
		}
	}
}

// A connection that has died unseen is made anew within one try.
func TestReconnect(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	r := src.repo("lib.git")
	one, two := r.commit(files{"l": "1"}), r.commit(files{"l": "2"})
	w := newWorld(t, src.source("/", "ed25519"))
	w.resolve(w.lone(src.url("/lib.git"), one))
	src.cut()
	wantStates(t, w.resolve(w.lone(src.url("/lib.git"), two)), "lib fetched\n")
	if n := src.accepted.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	w.r.Reload()
	wantStates(t, w.resolve(w.lone(src.url("/lib.git"), r.commit(files{"l": "3"}))), "lib fetched\n")
	if n := src.accepted.Load(); n != 3 {
		t.Errorf("%d connections after a reload", n)
	}
}

// No secret is in what a fetch starts, and a token serves one fetch.
func TestTokens(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	w := newWorld(t, src.source("/", "ed25519"))
	w.resolve(w.lone(src.url("/lib.git"), lib))
	var out, errs bytes.Buffer
	if n := len(w.r.fetches); n != 0 {
		t.Errorf("%d tokens are left", n)
	}
	conn := must[*net.UnixConn](t)(socket.Dial(w.r.socket))
	sizes := make(chan [2]int)
	close(sizes)
	hello := socket.Hello{Command: []string{"ssh"}, Token: "nosuch"}
	status, err := socket.Call(conn, hello, strings.NewReader(""), &out, &errs, sizes)
	if err != nil || status == 0 || out.Len() > 0 {
		t.Errorf("a false token is served: %d %v %q", status, err, out.String())
	}
}
