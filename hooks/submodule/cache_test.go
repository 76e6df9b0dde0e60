package submodule

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
	"slipway/store"
)

func TestEviction(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	w := newWorld(t, src.source("/", "ed25519"))
	var ticks atomic.Int64
	w.opts.Now = func() time.Time { return time.Now().Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
	var kept []store.Module
	w.opts.Keep = func() ([]store.Module, error) { return kept, nil }
	w.open()
	var q [4]Request
	for i := range q {
		name := fmt.Sprintf("/m%d.git", i)
		q[i] = w.lone(src.url(name), src.repo(name).commit(files{"f": noise(byte(i), 200<<10)}))
	}
	held, err := w.r.Resolve(t.Context(), q[0])
	check(t, err)
	kept = []store.Module{{URL: parseURL(t, src.url("/m1.git"))}}
	w.resolve(q[1])
	w.resolve(q[2])
	w.limits(func(l *config.Limits) { l.CacheBytes = 100 << 10 })
	w.resolve(q[3]) // m2 goes: m0 is read, m1 is kept, m3 has just come
	urls := func() string {
		var all []string
		for _, e := range must[[]CacheEntry](t)(w.r.Cache()) {
			if e.Commits != 1 || e.Bytes < 200<<10 {
				t.Errorf("entry %+v", e)
			}
			all = append(all, strings.TrimPrefix(e.URL, src.url("/")))
		}
		return strings.Join(all, " ")
	}
	if got := urls(); got != "m0.git m1.git m3.git" {
		t.Errorf("cached: %s", got)
	}
	runGit(t, held.Repos[0].Dir, "", "ls-tree", string(held.Repos[0].Commit))
	held.Close()
	held.Close()
	if gone := must[[]CacheEntry](t)(w.r.Prune(0)); len(gone) != 2 || urls() != "m1.git" {
		t.Errorf("%d pruned, left: %s", len(gone), urls())
	}
	wantStates(t, w.resolve(q[0]), "lib fetched\n")
	if left := must[[]os.DirEntry](t)(os.ReadDir(w.opts.Dir)); len(left) != 2 {
		t.Errorf("the cache has %v", left)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	good, bad := src.repo("good.git").commit(files{"f": "g"}), src.repo("bad.git").commit(files{"f": noise(1, 10<<10)})
	w := newWorld(t, src.source("/", "ed25519"))
	w.resolve(w.lone(src.url("/good.git"), good))
	res := w.resolve(w.lone(src.url("/bad.git"), bad))
	packs := must[[]string](t)(filepath.Glob(filepath.Join(res.Repos[0].Dir, "objects", "pack", "*.pack")))
	check(t, os.Chmod(packs[0], 0o600))
	f := must[*os.File](t)(os.OpenFile(packs[0], os.O_WRONLY, 0))
	_, err := f.WriteAt([]byte("broken"), 5000)
	check(t, err)
	check(t, f.Close())
	n, broken, err := w.r.Verify(t.Context())
	check(t, err)
	if n != 1 || len(broken) != 1 || broken[0].URL != src.url("/bad.git") {
		t.Errorf("%d sound, %+v", n, broken)
	}
	wantStates(t, w.resolve(w.lone(src.url("/bad.git"), bad)), "lib fetched\n")
}

func TestNoCacheAndOffline(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	r := src.repo("lib.git")
	w := newWorld(t, src.source("/", "ed25519"))
	q := w.lone(src.url("/lib.git"), r.commit(files{"f": "1"}))
	q.Offline = true
	_, err := w.refused(q)
	wantText(t, err, "is not in the cache")
	q.Offline, q.NoCache = false, true
	wantStates(t, w.resolve(q), "lib fetched\n")
	q.NoCache = false
	wantStates(t, w.resolve(q), "lib cached\n") // what was fetched anew is the cached copy now
	q.NoCache = true
	before := src.sessions.Load()
	res, err := w.r.Resolve(t.Context(), q)
	check(t, err)
	wantStates(t, res, "lib fetched\n")
	if src.sessions.Load() == before || res.Reports[0].Bytes == 0 {
		t.Error("the cache was used")
	}
	res.Close()
	if left := must[[]os.DirEntry](t)(os.ReadDir(w.opts.Dir)); len(left) != 1 {
		t.Errorf("the cache has %v", left)
	}
}

// What a killed server leaves is swept, and nothing partial is taken for whole.
func TestKilledFetch(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"f": "1"})
	w := newWorld(t, src.source("/", "ed25519"))
	q := w.lone(src.url("/lib.git"), lib)
	url := parseURL(t, src.url("/lib.git"))
	dir := w.r.cacheDir("", url)
	check(t, w.r.create(t.Context(), dir, url))
	// The commit itself arrived, its tree did not; and everything that a
	// killed git and a killed server leave lies about.
	commit := runGit(t, filepath.Join(src.root, "lib.git"), "", "cat-file", "commit", string(lib))
	runGit(t, dir, commit+"\n", "hash-object", "-w", "-t", "commit", "--stdin")
	for _, name := range []string{
		"objects/pack/tmp_pack_abc", "objects/pack/pack-1.keep", "shallow.lock", "refs/keep/" + string(lib) + ".lock", "objects/tmp_objdir-incoming-1/x",
		"../fresh-AAAA-" + filepath.Base(dir) + "/x", "../new-123/HEAD", "../old-1/old/url", "../junk",
	} {
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		check(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	w.open()
	if left := must[[]os.DirEntry](t)(os.ReadDir(w.opts.Dir)); len(left) != 1 {
		t.Errorf("the cache has %v", left)
	}
	res := w.resolve(q)
	wantStates(t, res, "lib fetched\n")
	runGit(t, dir, "", "archive", "--output="+filepath.Join(t.TempDir(), "x.tar"), string(lib))
	for _, pattern := range []string{"objects/pack/tmp*", "*.lock", "objects/tmp*", "objects/pack/*.keep"} {
		if left, _ := filepath.Glob(filepath.Join(dir, pattern)); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// A repository that is not the one of its URL is never used.
func TestFalseRepository(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"f": "1"})
	w := newWorld(t, src.source("/", "ed25519"))
	q := w.lone(src.url("/lib.git"), lib)
	dir := w.resolve(q).Repos[0].Dir
	check(t, os.WriteFile(filepath.Join(dir, "url"), []byte("ssh://git@other/lib.git\n"), 0o600))
	wantStates(t, w.resolve(q), "lib fetched\n")
}

func TestRepack(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	r := src.repo("lib.git")
	w := newWorld(t, src.source("/", "ed25519"))
	ids := []store.OID{r.commit(files{"f": "1"}), r.commit(files{"f": "2"})}
	dir := w.resolve(w.lone(src.url("/lib.git"), ids[0])).Repos[0].Dir
	for i := range maxPacks {
		runGit(t, dir, runGit(t, dir, fmt.Sprint(i), "hash-object", "-w", "--stdin")+"\n", "pack-objects", "-q", "objects/pack/pack")
	}
	w.resolve(w.lone(src.url("/lib.git"), ids[1]))
	packs := must[[]string](t)(filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack")))
	if len(packs) > 2 {
		t.Errorf("%d packs", len(packs))
	}
	for _, id := range ids {
		runGit(t, dir, "", "ls-tree", "-r", string(id))
	}
	if n, bad, err := w.r.Verify(t.Context()); err != nil || n != 1 {
		t.Errorf("%d sound, %v, %v", n, bad, err)
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	limit := 1
	g := gate{limit: func() int { return limit }}
	check(t, g.enter(t.Context()))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if g.enter(gone) == nil {
		t.Error("entered a full gate")
	}
	in := make(chan error)
	for range 3 {
		go func() { in <- g.enter(t.Context()) }()
	}
	waitFor(t, func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(g.waiting) == 3 })
	g.mu.Lock()
	limit = 2
	g.mu.Unlock()
	g.leave()
	check(t, <-in)
	check(t, <-in)
	g.leave()
	check(t, <-in)
	if g.inside != 2 || len(g.waiting) != 0 {
		t.Errorf("%d inside, %d wait", g.inside, len(g.waiting))
	}
}

// A real sshd with a real forced command: what the small server of the other
// tests leaves out.
func TestRealSSHD(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t) // lends its repositories
	nested := src.repo("nested.git").commit(files{"n": "n"})
	lib := src.repo("lib.git").commit(files{".gitmodules": module("nested", "../nested.git"), "nested": gitlinkTo(nested), "l": noise(9, 1<<20)})
	sshd := sshdtest.Start(t, sshdtest.Options{Config: "AcceptEnv GIT_PROTOCOL"})
	s := src.source("/", "ed25519")
	s.URL = parseURL(t, "ssh://"+sshd.Host.String()+src.root)
	check(t, os.WriteFile(s.KnownHosts, []byte(sshd.Known()), 0o600))
	sshd.Allow(t, s.Identity, `restrict,command="git-shell -c \"$SSH_ORIGINAL_COMMAND\""`)
	w := newWorld(t, s)
	f, modules := files{}, ""
	for i := range 20 {
		path := fmt.Sprintf("m%02d", i)
		r := src.repo(path + ".git")
		f[path] = gitlinkTo(r.commit(files{"f": path}))
		modules += module(path, s.URL.String()+"/"+path+".git")
	}
	f[".gitmodules"] = modules + module("lib", s.URL.String()+"/lib.git")
	f["lib"] = gitlinkTo(lib)
	res := w.resolve(w.request(w.app.commit(f)))
	if len(res.Plan.Modules) != 22 {
		t.Errorf("%d modules", len(res.Plan.Modules))
	}
	text := string(must[[]byte](t)(os.ReadFile(sshd.Log)))
	if n := strings.Count(text, "Accepted publickey"); n != 1 {
		t.Errorf("%d logins:\n%s", n, text)
	}
}
