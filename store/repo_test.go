package store

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"slipway/config"
	"slipway/store/git"
)

func TestLogs(t *testing.T) {
	s, ae := newStore(t), appEnv(t, "shop/dev")
	_, err := s.OpenLog(ae, 1)
	wantError(t, err, config.NotFound, "shop/dev has no log of release 1", "releases shop/dev")
	w, err := s.CreateLog(ae, 1)
	must(t, err)
	r, err := s.OpenLog(ae, 1) // it may be followed while it is written
	must(t, err)
	for _, text := range []string{"one\n", "two\n"} {
		_, err = io.WriteString(w, text)
		must(t, err)
		got, err := io.ReadAll(r)
		if err != nil || string(got) != text {
			t.Errorf("read %q, %v", got, err)
		}
	}
	must(t, w.Close())
	must(t, r.Close())
	path := filepath.Join(s.dir, "logs/shop/dev/1.log")
	if got := perm(t, path); got != 0o600 {
		t.Errorf("the log has mode %o", got)
	}
	if got := perm(t, filepath.Join(s.dir, "logs")); got != 0o700 {
		t.Errorf("logs has mode %o", got)
	}
	must(t, s.RemoveLogs(ae.App()))
	must(t, s.RemoveLogs(ae.App()))
	if _, err := os.Stat(filepath.Dir(filepath.Dir(path))); !missing(err) {
		t.Errorf("the logs are still there: %v", err)
	}
}

// runGit runs git as a user would, with a fixed date and no configuration of
// the machine's.
func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
		"GIT_AUTHOR_NAME=Ana", "GIT_AUTHOR_EMAIL=ana@corp", "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z",
		"GIT_COMMITTER_NAME=Ana", "GIT_COMMITTER_EMAIL=ana@corp", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestEnsureRepo(t *testing.T) {
	s, app := newStore(t), appEnv(t, "shop/dev").App()
	if ok, err := s.RepoExists(app); ok || err != nil {
		t.Errorf("RepoExists: %v, %v", ok, err)
	}
	g, ctx := errgroup.WithContext(t.Context())
	for range 8 {
		g.Go(func() error {
			path, err := s.EnsureRepo(ctx, app)
			if err == nil {
				err = git.Cmd{Dir: path, Args: []git.Opt{"rev-parse", "--is-bare-repository"}}.Run(ctx)
			}
			return err
		})
	}
	must(t, g.Wait())
	path := s.RepoPath(app)
	if got := perm(t, path); got != 0o700 {
		t.Errorf("the repository has mode %o", got)
	}
	if ok, err := s.RepoExists(app); !ok || err != nil {
		t.Errorf("RepoExists: %v, %v", ok, err)
	}
	for _, none := range []string{"hooks", "info", "description"} {
		if _, err := os.Stat(filepath.Join(path, none)); !missing(err) {
			t.Errorf("%s is there: %v", none, err)
		}
	}
	must(t, s.RemoveRepo(app))
	must(t, s.RemoveRepo(app))
	if ok, err := s.RepoExists(app); ok || err != nil {
		t.Errorf("RepoExists after removal: %v, %v", ok, err)
	}
	left, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Environments of an app are apart in its repository: each has refs and a HEAD
// of its own, which is what a clone of it checks out.
func TestNamespaces(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	dev, prod := appEnv(t, "shop/dev"), appEnv(t, "shop/prod")
	if at, err := s.Ref(ctx, dev, "refs/heads/main"); at != ZeroOID || err != nil {
		t.Errorf("Ref without a repository: %s, %v", at, err)
	}
	repo, err := s.EnsureRepo(ctx, dev.App())
	must(t, err)

	work := t.TempDir()
	runGit(t, work, "init", "-q", "-b", "trunk")
	runGit(t, work, "commit", "-q", "--allow-empty", "-m", "one")
	one := runGit(t, work, "rev-parse", "HEAD")
	runGit(t, work, "commit", "-q", "--allow-empty", "-m", "two")
	two := runGit(t, work, "rev-parse", "HEAD")
	remote := func(ae config.AppEnv) string {
		return "ext::git --namespace=" + ae.Env().String() + " %s " + repo
	}
	push := func(ae config.AppEnv, what string) {
		t.Helper()
		runGit(t, work, "-c", "protocol.ext.allow=always", "push", "-q", remote(ae), what)
	}
	push(dev, "trunk")
	push(dev, two+":refs/heads/other")
	push(prod, one+":refs/heads/live/main")
	must(t, s.SetHead(ctx, dev, "trunk"))
	must(t, s.SetHead(ctx, dev, "trunk"))
	must(t, s.SetHead(ctx, prod, "live/main"))

	for _, test := range []struct {
		ae   config.AppEnv
		ref  string
		want string
	}{
		{dev, "refs/heads/trunk", two},
		{dev, "refs/heads/other", two},
		{prod, "refs/heads/live/main", one},
		{dev, "refs/heads/main", string(ZeroOID)},
		{prod, "refs/heads/trunk", string(ZeroOID)},
		{prod, "refs/heads/live", string(ZeroOID)}, // a prefix is no ref
		{dev, "refs/heads/t*", string(ZeroOID)},    // nor is a pattern
		{dev, "refs/heads/[t]runk", string(ZeroOID)},
	} {
		if got, err := s.Ref(ctx, test.ae, test.ref); string(got) != test.want || err != nil {
			t.Errorf("Ref(%s, %s) = %s, %v; want %s", test.ae, test.ref, got, err, test.want)
		}
	}
	for ae, want := range map[config.AppEnv]string{dev: "trunk " + two, prod: "live/main " + one} {
		dir := filepath.Join(t.TempDir(), "clone")
		runGit(t, work, "-c", "protocol.ext.allow=always", "clone", "-q", remote(ae), dir)
		if got := runGit(t, dir, "symbolic-ref", "--short", "HEAD") + " " + runGit(t, dir, "rev-parse", "HEAD"); got != want {
			t.Errorf("a clone of %s is at %s, want %s", ae, got, want)
		}
	}

	// A ref that a power cut has emptied is no ref that is not there.
	must(t, os.WriteFile(filepath.Join(repo, "refs/namespaces/dev/refs/heads/trunk"), nil, 0o600))
	if got, err := s.Ref(ctx, dev, "refs/heads/trunk"); err == nil {
		t.Errorf("a broken ref reads as %s", got)
	}
	locks := 0
	must(t, filepath.WalkDir(repo, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".lock") {
			locks++
		}
		return err
	}))
	if locks > 0 {
		t.Errorf("%d locks are left", locks)
	}
}

func TestSetHeadRefuses(t *testing.T) {
	s, ae := newStore(t), appEnv(t, "shop/dev")
	_, err := s.EnsureRepo(t.Context(), ae.App())
	must(t, err)
	wantError(t, s.SetHead(t.Context(), ae, "a..b"), config.Failed, "set HEAD of shop/dev", "")
	if _, err := os.Lstat(filepath.Join(s.RepoPath(ae.App()), "refs/namespaces/dev/HEAD")); !missing(err) {
		t.Errorf("HEAD is there: %v", err)
	}
}
