package submodule

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"slipway/config"
	"slipway/store"
)

// TestMain lets git start the test binary as it starts slipway.
func TestMain(m *testing.M) {
	if os.Getenv(EnvSocket) != "" {
		if len(os.Args) > 1 && os.Args[1] == CredentialCommand {
			os.Exit(CredentialMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
		}
		os.Exit(ProxyMain(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// runGit runs git as a person would, with fixed dates.
func runGit(t testing.TB, dir, in string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(in)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_AUTHOR_DATE=1700000000 +0000",
		"GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_COMMITTER_DATE=1700000000 +0000",
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSuffix(string(out), "\n")
}

// repo is a bare repository that is made with plumbing, so that it can hold
// what git's porcelain would not write.
type repo struct {
	t     testing.TB
	dir   string
	last  *string           // commit of main
	blobs map[string]string // by content
}

func newRepo(t testing.TB, dir string) repo {
	t.Helper()
	runGit(t, "/", "", "init", "-q", "--bare", "-b", "main", dir)
	return repo{t, dir, new(string), map[string]string{}}
}

// entries of a commit: path -> content, or "gitlink OID", or "link TARGET".
type files map[string]string

func gitlinkTo(id store.OID) string { return "gitlink " + string(id) }

// commit makes a commit of main.
func (r repo) commit(f files) store.OID {
	r.t.Helper()
	tree := r.tree(f)
	args := []string{"commit-tree", "-m", "commit", tree}
	if *r.last != "" {
		args = append(args, "-p", *r.last)
	}
	id := runGit(r.t, r.dir, "", args...)
	runGit(r.t, r.dir, "", "update-ref", "refs/heads/main", id)
	*r.last = id
	return store.OID(id)
}

func (r repo) blob(content string) string {
	if r.blobs[content] == "" {
		r.blobs[content] = runGit(r.t, r.dir, content, "hash-object", "-w", "--stdin")
	}
	return r.blobs[content]
}

func (r repo) tree(f files) string {
	r.t.Helper()
	var lines strings.Builder
	below := map[string]files{}
	for path, content := range f {
		if dir, rest, ok := strings.Cut(path, "/"); ok {
			if below[dir] == nil {
				below[dir] = files{}
			}
			below[dir][rest] = content
			continue
		}
		if id, ok := strings.CutPrefix(content, "gitlink "); ok {
			fmt.Fprintf(&lines, "160000 commit %s\t%s\x00", id, path)
		} else if to, ok := strings.CutPrefix(content, "link "); ok {
			fmt.Fprintf(&lines, "120000 blob %s\t%s\x00", r.blob(to), path)
		} else {
			fmt.Fprintf(&lines, "100644 blob %s\t%s\x00", r.blob(content), path)
		}
	}
	for dir, sub := range below {
		fmt.Fprintf(&lines, "040000 tree %s\t%s\x00", r.tree(sub), dir)
	}
	return runGit(r.t, r.dir, lines.String(), "mktree", "-z", "--missing")
}

// module is one section of .gitmodules.
func module(path, url string) string {
	return fmt.Sprintf("[submodule %q]\n\tpath = %s\n\turl = %s\n", path, path, url)
}

// world is a resolver with a source, and an app to resolve.
type world struct {
	t    testing.TB
	dir  string
	cfg  atomic.Pointer[config.Server]
	r    *Resolver
	ae   config.AppEnv
	app  repo
	opts Options
}

func newWorld(t testing.TB, sources ...config.Source) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), ae: must[config.AppEnv](t)(config.ParseAppEnv("shop/dev"))}
	all := must[config.Glob](t)(config.ParseGlob("*/*"))
	for i := range sources {
		if sources[i].Apps == nil {
			sources[i].Apps = []config.Glob{all}
		}
		if sources[i].Username == "" {
			sources[i].Username = "git"
		}
		if sources[i].Written == "" {
			sources[i].Written = sources[i].URL.String() + "/"
		}
	}
	w.cfg.Store(&config.Server{Dir: w.dir, Limits: config.DefaultLimits(), Sources: sources})
	w.opts = Options{
		Dir: filepath.Join(w.dir, "cache"), Temp: filepath.Join(w.dir, "tmp"), Config: w.cfg.Load,
		Executable: must[string](t)(os.Executable()), Log: zerolog.Nop(), Now: time.Now,
		Backoff: func(int) time.Duration { return time.Millisecond },
	}
	w.app = newRepo(t, filepath.Join(w.dir, "app.git"))
	w.open()
	t.Cleanup(func() { check(t, w.r.Close()) })
	return w
}

// open starts the resolver, as a server does when it starts.
func (w *world) open() {
	w.t.Helper()
	if w.r != nil {
		check(w.t, w.r.Close())
	}
	w.r = must[*Resolver](w.t)(New(w.opts))
}

// limits changes the limits in force.
func (w *world) limits(change func(*config.Limits)) {
	cfg := *w.cfg.Load()
	change(&cfg.Limits)
	w.cfg.Store(&cfg)
}

func (w *world) request(commit store.OID) Request {
	return Request{AppEnv: w.ae, Repo: Repo{Dir: w.app.dir}, Commit: commit}
}

// resolve must succeed; the result is closed.
func (w *world) resolve(q Request) Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	res, err := w.r.Resolve(ctx, q)
	if err != nil {
		w.t.Fatalf("resolve: %v (hint: %s)", err, config.Hint(err))
	}
	res.Close()
	return res
}

// refused must fail.
func (w *world) refused(q Request) (Result, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	res, err := w.r.Resolve(ctx, q)
	if err == nil {
		res.Close()
		w.t.Fatalf("resolved: %+v", res.Plan)
	}
	return res, err
}

// states is the plan as "path state" lines.
func states(res Result) string {
	var b strings.Builder
	for _, r := range res.Reports {
		fmt.Fprintf(&b, "%s %s\n", r.Path, r.State)
	}
	return b.String()
}

func wantStates(t testing.TB, res Result, want string) {
	t.Helper()
	if got := states(res); got != want {
		t.Errorf("states:\n%swant:\n%s", got, want)
	}
}

func wantText(t testing.TB, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error is %v, want it to have %q", err, text)
	}
}

func parseURL(t testing.TB, s string) config.SourceURL {
	t.Helper()
	return must[config.SourceURL](t)(config.ParseSourceURL(s))
}
