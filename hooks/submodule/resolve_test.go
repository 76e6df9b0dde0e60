package submodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway/config"
	"slipway/store"
)

func TestNestedRelativeAndTwice(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	crypto := src.repo("corp/crypto.git")
	c1 := crypto.commit(files{"c": "1"})
	c2 := crypto.commit(files{"c": "2"})
	auth := src.repo("corp/auth.git")
	a := auth.commit(files{".gitmodules": module("deps/crypto", "../crypto.git"), "deps/crypto": gitlinkTo(c1), "a": "a"})
	w := newWorld(t, src.source("/corp/", "ed25519"))
	id := w.app.commit(files{
		".gitmodules": module("vendor/auth", src.url("/corp/auth.git")) + module("vendor/a b", src.url("/corp/crypto.git")) +
			module("vendor/\u00e9", "../crypto.git"),
		"vendor/auth": gitlinkTo(a), "vendor/a b": gitlinkTo(c2), "vendor/\u00e9": gitlinkTo(c1),
	})
	q := w.request(id)
	q.Upstream = parseURL(t, src.url("/corp/shop.git"))
	res := w.resolve(q)
	wantStates(t, res, "vendor/a b fetched\nvendor/auth fetched\nvendor/auth/deps/crypto fetched\nvendor/\u00e9 fetched\n")
	if n := src.connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if len(res.Repos) != 4 || len(res.Plan.Modules) != 4 {
		t.Fatalf("%d repositories, %d modules", len(res.Repos), len(res.Plan.Modules))
	}
	for _, l := range res.Repos {
		runGit(t, l.Dir, "", "ls-tree", "-r", string(l.Commit))
	}
	for _, r := range res.Reports {
		if r.Bytes <= 0 {
			t.Errorf("%s fetched %d bytes", r.Path, r.Bytes)
		}
	}
	// The source is gone: what is pinned is cached.
	src.stop()
	w.open()
	wantStates(t, w.resolve(q), "vendor/a b cached\nvendor/auth cached\nvendor/auth/deps/crypto cached\nvendor/\u00e9 cached\n")
	// Its rule is asked all the same.
	cfg := *w.cfg.Load()
	cfg.Sources = nil
	w.cfg.Store(&cfg)
	_, err := w.refused(q)
	wantText(t, err, "no source of shop/dev covers its URL")
}

func TestTwentyModulesOneHandshake(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	src.most.Store(3) // fewer sessions than we would like
	f, modules := files{}, ""
	for i := range 20 {
		r := src.repo(fmt.Sprintf("m%d.git", i))
		path := fmt.Sprintf("vendor/m%02d", i)
		f[path] = gitlinkTo(r.commit(files{"f": path}))
		modules += module(path, src.url(fmt.Sprintf("/m%d.git", i)))
	}
	f[".gitmodules"] = modules
	w := newWorld(t, src.source("/", "ecdsa"))
	res := w.resolve(w.request(w.app.commit(f)))
	if len(res.Plan.Modules) != 20 {
		t.Fatalf("%d modules", len(res.Plan.Modules))
	}
	if n := src.accepted.Load(); n != 1 {
		t.Errorf("%d connections for 20 submodules", n)
	}
}

func TestTwoKeysOnOneHost(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	a := src.repo("team/a.git").commit(files{"a": "a"})
	b := src.repo("team/b.git").commit(files{"b": "b"})
	f := files{
		".gitmodules": module("a", src.url("/team/a.git")) + module("b", src.url("/team/b.git")),
		"a":           gitlinkTo(a), "b": gitlinkTo(b),
	}
	w := newWorld(t, src.source("/team/a.git", "rsa"), src.source("/team/b.git", "ed25519"))
	w.resolve(w.request(w.app.commit(f)))
	if n := src.connections.Load(); n != 2 {
		t.Errorf("%d connections, want one for each key", n)
	}
	// The other way round each key lacks the repository.
	sources := slices.Clone(w.cfg.Load().Sources)
	sources[0].Identity, sources[1].Identity = sources[1].Identity, sources[0].Identity
	w2 := newWorld(t, sources...)
	res, err := w2.refused(w2.request(w2.app.commit(f)))
	wantText(t, err, "team/a.git is missing, or no access")
	wantStates(t, res, "a refused\nb refused\n")
	if said := strings.Join(res.Reports[0].Said, "|"); !strings.Contains(said, "ERROR: no access") {
		t.Errorf("the source's own words are not there: %q", said)
	}
	if !strings.Contains(config.Hint(err), "credential") {
		t.Errorf("hint %q", config.Hint(err))
	}
}

func TestInsteadOf(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	deep := src.repo("mirror/deep.git").commit(files{"d": "d"})
	lib := src.repo("mirror/lib.git").commit(files{".gitmodules": module("deep", "../deep.git"), "deep": gitlinkTo(deep)})
	abs := src.repo("mirror/abs.git").commit(files{".gitmodules": module("deep", "git@github.com:corp/deep.git"), "deep": gitlinkTo(deep)})
	s := src.source("/mirror/", "ed25519")
	s.InsteadOf = []string{"git@github.com:corp/", "https://github.com/corp/"}
	w := newWorld(t, s)
	id := w.app.commit(files{
		".gitmodules": module("lib", "git@github.com:corp/lib.git") + module("abs", "https://github.com/corp/abs.git"),
		"lib":         gitlinkTo(lib), "abs": gitlinkTo(abs),
	})
	res := w.resolve(w.request(id))
	wantStates(t, res, "abs fetched\nabs/deep fetched\nlib fetched\nlib/deep fetched\n")
	if url := res.Plan.Modules[3].URL.String(); url != src.url("/mirror/deep.git") {
		t.Errorf("lib/deep is %s", url)
	}
	// A relative URL that leaves what is mirrored leads to where it was written.
	out := src.repo("mirror/out.git").commit(files{".gitmodules": module("x", "../../other/x.git"), "x": gitlinkTo(deep)})
	id = w.app.commit(files{".gitmodules": module("out", "git@github.com:corp/out.git"), "out": gitlinkTo(out)})
	res, err := w.refused(w.request(id))
	wantText(t, err, "shop > out > x: no source")
	if d := res.Reports[1].Detail; len(d) == 0 || d[0] != "ssh://github.com/other/x.git (out/.gitmodules line 3)" {
		t.Errorf("detail %q", d)
	}
}

func TestLeftOut(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	w := newWorld(t, src.source("/", "ed25519"))
	q := w.request(w.app.commit(files{
		".gitmodules": module("lib", src.url("/lib.git")) + module("win", "https://nowhere.example/x.git") +
			module("none", "https://nowhere.example/y.git") + "\tupdate = none\n" + module("gone", src.url("/gone.git")),
		"lib": gitlinkTo(lib), "win": gitlinkTo(lib), "none": gitlinkTo(lib),
	}))
	q.Skip = []string{"win", "typo"}
	res := w.resolve(q)
	wantStates(t, res, "lib fetched\nnone skipped\nwin skipped\n")
	if got := strings.Join(res.Plan.Skipped, " "); got != "none win" {
		t.Errorf("skipped %q", got)
	}
	warnings := strings.Join(res.Warnings, "\n")
	for _, want := range []string{"gone is no submodule of this commit, ignored", "typo, to be skipped, is no submodule"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("warnings lack %q:\n%s", want, warnings)
		}
	}
}

func TestAllRefusalsAtOnce(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	bad := src.repo("bad.git").commit(files{".gitmodules": module("x", "https://evil.example/x.git"), "x": gitlinkTo(store.ZeroOID[:39] + "1")})
	w := newWorld(t, src.source("/", "ed25519"))
	id := w.app.commit(files{
		".gitmodules": module("a", "https://user:hunter2@git.corp/a.git") + module("b", src.url("/bad.git")) +
			module("c", src.url("/missing.git")) + module("d", "../rel.git"),
		"a": gitlinkTo(bad), "b": gitlinkTo(bad), "c": gitlinkTo(bad), "d": gitlinkTo(bad), "e": gitlinkTo(bad),
	})
	res, err := w.refused(w.request(id))
	wantStates(t, res, "a refused\nb fetched\nb/x refused\nc refused\nd refused\ne refused\n")
	wantText(t, err, "a: ")
	var all strings.Builder
	for _, r := range res.Reports {
		fmt.Fprintln(&all, r.Err, r.Detail, r.Raw, r.Said, config.Hint(r.Err))
	}
	for _, want := range []string{
		"password", "shop > b > x: no source of shop/dev covers its URL", "b/.gitmodules line 3", "missing.git is missing, or no access",
		"the URL ../rel.git is relative", "upstream", "gitlink without an entry in .gitmodules", "git rm --cached e",
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("nothing says %q in:\n%s", want, all.String())
		}
	}
	if strings.Contains(all.String(), "hunter2") {
		t.Errorf("a password is shown:\n%s", all.String())
	}
}

func TestCyclesDepthAndCount(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	a, b := src.repo("a.git"), src.repo("b.git")
	s := src.source("/", "ed25519")
	w := newWorld(t, s)
	// A real cycle needs a collision of hashes: the chain is cut where a
	// commit would come again, which is tried by its key.
	walk := &walk{r: w.r, cfg: w.cfg.Load(), q: w.request(""), skip: map[string]bool{}}
	l := level{path: "a/", chain: []string{"a"}, keys: []string{key(parseURL(t, src.url("/a.git")), "1")}}
	rep := Report{Module: store.Module{Path: "a/b", Commit: "1"}, Chain: []string{"a", "a/b"}}
	_, err := walk.check(l, []*entry{{name: "b", path: "b", url: src.url("/a.git")}}, &rep)
	wantText(t, err, "shop > a > b: the submodule contains itself")

	// A pins B pins an older A: that ends.
	a0 := a.commit(files{"x": "0"})
	b0 := b.commit(files{".gitmodules": module("a", "../a.git"), "a": gitlinkTo(a0)})
	a1 := a.commit(files{".gitmodules": module("b", "../b.git"), "b": gitlinkTo(b0)})
	app := files{".gitmodules": module("a", src.url("/a.git")), "a": gitlinkTo(a1)}
	id := w.app.commit(app)
	wantStates(t, w.resolve(w.request(id)), "a fetched\na/b fetched\na/b/a fetched\n")
	w.limits(func(l *config.Limits) { l.SubmoduleDepth = 2 })
	_, err = w.refused(w.request(id))
	wantText(t, err, "shop > a > b > a: submodules are nested deeper than 2")
	w.limits(func(l *config.Limits) { l.SubmoduleDepth, l.Submodules = 16, 2 })
	_, err = w.refused(w.request(id))
	wantText(t, err, "more than 2 submodules")

	f, modules := files{}, ""
	for i := range 300 {
		f[fmt.Sprintf("m/%d", i)] = gitlinkTo(a0)
		modules += module(fmt.Sprintf("m/%d", i), src.url("/a.git"))
	}
	f[".gitmodules"] = modules
	w.limits(func(l *config.Limits) { l.Submodules = 256 })
	_, err = w.refused(w.request(w.app.commit(f)))
	wantText(t, err, "more than 256 submodules")
}

// A tree of a few objects that unfolds to 10^10 gitlinks, or directories.
func TestTreeBombs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bomb := func(leaf string) store.OID {
		tree := runGit(t, w.app.dir, leaf, "mktree", "--missing")
		for range 10 {
			var lines strings.Builder
			for i := range 10 {
				fmt.Fprintf(&lines, "040000 tree %s\td%d\n", tree, i)
			}
			tree = runGit(t, w.app.dir, lines.String(), "mktree")
		}
		return store.OID(runGit(t, w.app.dir, "", "commit-tree", "-m", "bomb", tree))
	}
	_, err := w.refused(w.request(bomb("160000 commit " + strings.Repeat("1", 40) + "\tg\n")))
	wantText(t, err, "more than 256 submodules")
	blob := w.app.blob("x")
	w.resolve(w.request(bomb("100644 blob " + blob + "\tf\n"))) // no gitlink: the tree's own limits are another room's

	tree := runGit(t, w.app.dir, "", "mktree")
	for range 300 {
		tree = runGit(t, w.app.dir, "040000 tree "+tree+"\td\n", "mktree")
	}
	_, err = w.refused(w.request(store.OID(runGit(t, w.app.dir, "", "commit-tree", "-m", "deep", tree))))
	wantText(t, err, "deeper than 256 directories")

	big := w.app.commit(files{".gitmodules": strings.Repeat("# "+strings.Repeat("x", 1022)+"\n", 11*1024)})
	_, err = w.refused(w.request(big))
	wantText(t, err, ".gitmodules has")
}

func TestUnreadableGitmodules(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{".gitmodules": "[submodule \"x\"]\n\tpath = x\n\turl = \"open\n"})
	w := newWorld(t, src.source("/", "ed25519"))
	_, err := w.refused(w.request(w.app.commit(files{".gitmodules": "[submodule \"a\"]\n\tpath = a\n\tbad line\n"})))
	wantText(t, err, ".gitmodules line 3 cannot be parsed")
	_, err = w.refused(w.request(w.app.commit(files{".gitmodules": module("lib", src.url("/lib.git")), "lib": gitlinkTo(lib)})))
	wantText(t, err, "lib: .gitmodules line 3 cannot be parsed")
	_, err = w.refused(w.request(w.app.commit(files{".gitmodules": "link /etc/passwd"})))
	wantText(t, err, ".gitmodules is not a plain file")
}

// A submodule becomes a directory and a submodule again, is renamed, changes
// its URL at the same commit, and goes.
func TestChangesBetweenPushes(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	one := src.repo("one.git")
	id := one.commit(files{"f": "f"})
	two := src.repo("two.git")
	runGit(t, two.dir, "", "fetch", "-q", one.dir, "main:main")
	w := newWorld(t, src.source("/", "ed25519"))
	with := func(path, url string) files {
		return files{".gitmodules": module(path, src.url(url)), path: gitlinkTo(id)}
	}
	wantStates(t, w.resolve(w.request(w.app.commit(with("lib", "/one.git")))), "lib fetched\n")
	wantStates(t, w.resolve(w.request(w.app.commit(files{"lib/f": "plain"}))), "")
	wantStates(t, w.resolve(w.request(w.app.commit(with("lib", "/one.git")))), "lib cached\n")
	wantStates(t, w.resolve(w.request(w.app.commit(with("vendor/lib", "/one.git")))), "vendor/lib cached\n")
	wantStates(t, w.resolve(w.request(w.app.commit(with("lib", "/two.git")))), "lib fetched\n")
	// A commit that another source's repository has is not taken from there.
	src.repo("three.git").commit(files{"other": "x"})
	_, err := w.refused(w.request(w.app.commit(with("lib", "/three.git"))))
	wantText(t, err, "is not on")
}

func TestEnvironmentMayNotUseSource(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	s := src.source("/", "ed25519")
	s.Apps = []config.Glob{must[config.Glob](t)(config.ParseGlob("other/*"))}
	w := newWorld(t, s)
	_, err := w.refused(w.request(w.app.commit(files{".gitmodules": module("lib", src.url("/lib.git")), "lib": gitlinkTo(lib)})))
	wantText(t, err, "no source of shop/dev covers its URL")
	if src.accepted.Load() != 0 {
		t.Error("the source was asked")
	}
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	w := newWorld(t, src.source("/", "ed25519"))
	id := w.app.commit(files{".gitmodules": module("lib", src.url("/lib.git")), "lib": gitlinkTo(lib)})
	inner := newRepo(t, filepath.Join(w.dir, "target.git"))
	q := w.request(id)
	q.Repo = Repo{Dir: inner.dir, Env: map[string]string{
		"GIT_OBJECT_DIRECTORY":             filepath.Join(w.app.dir, "objects"),
		"GIT_ALTERNATE_OBJECT_DIRECTORIES": filepath.Join(inner.dir, "objects"),
	}}
	wantStates(t, w.resolve(q), "lib fetched\n")
	// Nothing of the submodule is in the app's repositories.
	for _, dir := range []string{w.app.dir, inner.dir} {
		if found, _ := filepath.Glob(filepath.Join(dir, "objects", string(lib[:2]), string(lib[2:]))); len(found) > 0 {
			t.Errorf("%s has the submodule's commit", dir)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	reached, hang := make(chan struct{}, 1), make(chan struct{})
	block := func(string) (string, int) { reached <- struct{}{}; <-hang; return "", 0 }
	src.before.Store(&block)
	w := newWorld(t, src.source("/", "ed25519"))
	q := w.request(w.app.commit(files{".gitmodules": module("lib", src.url("/lib.git")), "lib": gitlinkTo(lib)}))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("cancelled by maria")
	over := make(chan error, 1)
	go func() { _, err := w.r.Resolve(ctx, q); over <- err }()
	<-reached
	cancel(why)
	if err := <-over; !errors.Is(err, why) {
		t.Errorf("error is %v", err)
	}
	close(hang)
	src.before.Store(nil)
	wantStates(t, w.resolve(q), "lib fetched\n")
	if entries := must[[]os.DirEntry](t)(os.ReadDir(w.opts.Dir)); len(entries) != 1 {
		t.Errorf("the cache has %v", entries)
	}
}
