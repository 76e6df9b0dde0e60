package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == SandboxCommand:
		os.Exit(SandboxMain())
	case len(os.Args) > 1 && os.Args[1] == serverCommand:
		os.Exit(serverMain())
	}
	os.Exit(m.Run())
}

const (
	testUID  = 61234 // of shop/dev, where the tests run as root
	otherUID = 61235
)

func appEnv(t testing.TB, s string) config.AppEnv {
	t.Helper()
	ae, err := config.ParseAppEnv(s)
	if err != nil {
		t.Fatal(err)
	}
	return ae
}

// rig is a DIR with a root below it, as a server has them.
type rig struct {
	*Host
	t   *testing.T
	dir string
	ae  config.AppEnv
}

func newRig(t *testing.T) *rig {
	dir := t.TempDir() // below a directory that only we may pass
	return &rig{t: t, dir: dir, ae: appEnv(t, "shop/dev"), Host: New(Options{
		Root: filepath.Join(dir, "apps", "dev"), Hidden: []string{dir},
		UID: func(_ context.Context, ae config.AppEnv) (int, error) {
			if ae.App().String() == "other" {
				return otherUID, nil
			}
			return testUID, nil
		},
	})}
}

func (r *rig) ref(n int) builder.Ref { return builder.Ref{AppEnv: r.ae, Number: n} }

// stage is a release of files, ready to be staged.
func (r *rig) stage(n int, files map[string]string) builder.Stage {
	r.t.Helper()
	dir, err := r.Make(r.ref(n))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	s := builder.Stage{
		Ref: r.ref(n), Build: n, Commit: store.OID(strings.Repeat("a", 40)), App: &config.AppFile{},
		Vars:     map[string]config.Secret{"SECRET_KEY": config.NewSecret("s3cret & <more>")},
		Services: []config.ServiceSpec{{Name: "db", Type: "sqlite"}},
	}
	s.App.Build.Timeout = time.Minute
	s.App.Build.Network = true
	s.App.Deploy.Health.Timeout = time.Minute
	return s
}

func (r *rig) mustStage(s builder.Stage) string {
	r.t.Helper()
	var out bytes.Buffer
	if err := r.Stage(r.t.Context(), s, &out); err != nil {
		r.t.Fatalf("stage: %v\n%s", err, out.String())
	}
	return out.String()
}

func (r *rig) build(script string) (string, error) {
	r.t.Helper()
	return r.buildAs(1, script)
}

// buildAs builds a release of that number.
func (r *rig) buildAs(n int, script string) (string, error) {
	r.t.Helper()
	s := r.stage(n, map[string]string{"postinstall": "#!/bin/sh\n" + script})
	var out bytes.Buffer
	err := r.Stage(r.t.Context(), s, &out)
	return out.String(), err
}

func (r *rig) switchTo(gen int64, from, to int) error {
	return r.Activate(context.WithoutCancel(r.t.Context()), builder.Switch{AppEnv: r.ae, Generation: gen, From: from, To: to})
}

func (r *rig) live() int {
	r.t.Helper()
	st, err := r.Status(r.t.Context(), r.ae)
	if err != nil {
		r.t.Fatal(err)
	}
	return st[0].Live
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func TestBuildHasExactlyItsEnvironment(t *testing.T) {
	r := newRig(t)
	s := r.stage(7, map[string]string{"postinstall": "#!/usr/bin/env -S cat /proc/self/environ\n"})
	got := strings.Split(strings.TrimSuffix(r.mustStage(s), "\x00"), "\x00")
	got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "#!") || s == "" })
	app := filepath.Join(r.o.Root, "shop")
	want := []string{
		"DATABASE_URL=sqlite:///" + app + "/shared/db.sqlite3",
		"DOTCLOUD_DB_SQL_HOST=localhost", "DOTCLOUD_DB_SQL_LOGIN=", "DOTCLOUD_DB_SQL_PASSWORD=", "DOTCLOUD_DB_SQL_PORT=",
		"DOTCLOUD_DB_SQL_URL=sqlite:///" + app + "/shared/db.sqlite3",
		"DOTCLOUD_ENVIRONMENT=dev", "DOTCLOUD_PROJECT=shop",
		"HOME=" + app + "/releases/7.home", "LANG=C.UTF-8", "PATH=" + searchPath,
		"SECRET_KEY=s3cret & <more>",
		"SLIPWAY_APP=shop", "SLIPWAY_COMMIT=" + strings.Repeat("a", 40), "SLIPWAY_ENV=dev", "SLIPWAY_HOST=0", "SLIPWAY_RELEASE=7",
		"TMPDIR=" + app + "/tmp/7",
	}
	slices.Sort(got)
	if i := slices.IndexFunc(got, func(s string) bool { return strings.Contains(s, "#!/usr") }); i >= 0 {
		got = slices.Delete(got, i, i+1)
	}
	if !slices.Equal(got, want) {
		t.Errorf("environment:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	var lines []string
	for _, v := range want {
		name, value, _ := strings.Cut(v, "=")
		lines = append(lines, fmt.Sprintf("  %q: %q", name, value))
	}
	file := filepath.Join(app, "releases", "7.home", "environment.json")
	if got, want := read(t, file), "{\n"+strings.Join(lines, ",\n")+"\n}\n"; got != want {
		t.Errorf("environment.json:\n%swant:\n%s", got, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("environment.json: %v %v, want mode 0600", info, err)
	}
}

func TestReleaseOfNewVarsLinksToItsBuild(t *testing.T) {
	r := newRig(t)
	s := r.stage(1, map[string]string{"postinstall": "#!/bin/sh\necho built > made; echo x > \"$HOME/profile\"; echo c > \"$HOME/.cache/c\"\n"})
	s.App.Deploy.Release = `echo "$SLIPWAY_RELEASE $SECRET_KEY"; cat made "$HOME/profile" "$HOME/.cache/c"; echo y > "$HOME/.cache/d" && echo z > z`
	r.mustStage(s)
	s.Number, s.Vars = 2, map[string]config.Secret{"SECRET_KEY": config.NewSecret("other")}
	r.mustStage(s)
	if to, err := os.Readlink(filepath.Join(r.o.Root, "shop/releases/2")); err != nil || to != "1" {
		t.Errorf("releases/2 -> %q %v, want 1", to, err)
	}
	var out bytes.Buffer
	if err := r.RunOnce(t.Context(), s, &out); err != nil || out.String() != "2 other\nbuilt\nx\nc\n" {
		t.Errorf("release: %v\n%s", err, out.String())
	}
	if err := r.switchTo(1, 0, 2); err != nil {
		t.Fatal(err)
	}
	removed, err := r.Prune(t.Context(), r.ae, nil)
	if err != nil || len(removed) != 0 {
		t.Errorf("prune removed %v %v, but 2 is live and runs the build of 1", removed, err)
	}
}

func TestActivate(t *testing.T) {
	r := newRig(t)
	for n := range 3 {
		r.mustStage(r.stage(n+1, nil))
	}
	for _, step := range []struct {
		gen      int64
		from, to int
		live     int
		fails    string
	}{
		{5, 0, 1, 1, ""},
		{5, 0, 1, 1, ""}, // again
		{4, 1, 2, 1, "overtaken"},
		{6, 1, 2, 2, ""},
		{7, 1, 3, 2, "moved by hand"},
		{8, 2, 9, 2, "not there"},
		{8, 2, 3, 3, ""},
		{9, 3, 0, 0, ""},
		{9, 3, 0, 0, ""},
		{8, 0, 1, 0, "overtaken"},
	} {
		err := r.switchTo(step.gen, step.from, step.to)
		if (err == nil) != (step.fails == "") || err != nil && !strings.Contains(err.Error(), step.fails) {
			t.Errorf("%+v: %v", step, err)
		}
		if live := r.live(); live != step.live {
			t.Errorf("%+v: %d is live", step, live)
		}
	}
	other := appEnv(t, "never/dev")
	err := r.Activate(t.Context(), builder.Switch{AppEnv: other, Generation: 1, From: 1})
	if err != nil || !gone(filepath.Join(r.o.Root, "never")) {
		t.Errorf("switching off what never was: %v", err)
	}
}

func TestSharedFilesOutliveReleases(t *testing.T) {
	r := newRig(t)
	files := map[string]string{"media/logo": "first", "var/keep": "x"}
	first := r.stage(1, files)
	first.App.Deploy.Shared = []string{"media", "var/data.db", "deep/er/up"}
	first.App.Build.Postinstall = "echo 1 >> media/log; echo 1 >> var/data.db; echo 1 >> deep/er/up/x"
	r.mustStage(first)
	if err := r.switchTo(1, 0, 1); err != nil {
		t.Fatal(err)
	}
	second := r.stage(2, map[string]string{"media/logo": "second"})
	second.App = first.App
	r.mustStage(second)
	shared := filepath.Join(r.o.Root, "shop/shared")
	for path, want := range map[string]string{"media/logo": "first", "media/log": "1\n1\n", "var/data.db": "1\n1\n", "deep/er/up/x": "1\n1\n"} {
		if got := read(t, filepath.Join(shared, path)); got != want {
			t.Errorf("shared/%s is %q, want %q", path, got, want)
		}
	}
	if to, err := os.Readlink(filepath.Join(r.o.Root, "shop/releases/2/deep/er/up")); err != nil || to != "../../../../shared/deep/er/up" {
		t.Errorf("link to shared: %q %v", to, err)
	}
	if err := r.Discard(t.Context(), r.ref(2)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(shared, "media/logo")); got != "first" {
		t.Errorf("discarding a later release took what was shared: %q", got)
	}
}

func TestSharedLinkDoesNotLeadOut(t *testing.T) {
	r := newRig(t)
	outside := filepath.Join(r.dir, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	s := r.stage(1, nil)
	if err := os.Symlink(outside, filepath.Join(r.o.Root, "shop/releases/1/up")); err != nil {
		t.Fatal(err)
	}
	s.App.Deploy.Shared = []string{"up/media"}
	if err := r.Stage(t.Context(), s, io.Discard); err == nil || !strings.Contains(err.Error(), "up is no directory") {
		t.Errorf("a shared path through a link: %v", err)
	}
	// What the app has put into shared is as hostile.
	s.App.Deploy.Shared = []string{"in/media"}
	if err := os.Symlink(outside, filepath.Join(r.o.Root, "shop/shared/in")); err != nil {
		t.Fatal(err)
	}
	if err := r.Stage(t.Context(), s, io.Discard); err == nil {
		t.Error("a link in shared was followed")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("something was made outside: %v %v", entries, err)
	}
}

func TestDiscardLeavesNothing(t *testing.T) {
	r := newRig(t)
	s := r.stage(1, map[string]string{"media/x": "x"})
	s.App.Deploy.Shared = []string{"media"}
	s.App.Build.Postinstall = "mkdir -p a/b/c media/d && touch a/b/c/f && chmod 000 a/b/c a/b a \"$HOME/.cache\" media/d; echo out; false"
	err := r.Stage(t.Context(), s, io.Discard)
	var exit *builder.ExitError
	if !errors.As(err, &exit) || exit.Status != 1 || exit.Step != "postinstall" {
		t.Fatalf("stage: %v", err)
	}
	if err := r.Discard(t.Context(), r.ref(1)); err != nil {
		t.Fatal(err)
	}
	if err := r.Discard(t.Context(), r.ref(1)); err != nil {
		t.Errorf("again: %v", err)
	}
	if !gone(filepath.Join(r.o.Root, "shop")) {
		t.Error("an app that never was live has left its directory")
	}
}

func TestPruneAndSweep(t *testing.T) {
	r := newRig(t)
	for n := range 5 {
		r.mustStage(r.stage(n+1, nil))
		if err := r.Record(t.Context(), r.ref(n+1), []byte("{}\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.switchTo(1, 0, 3); err != nil {
		t.Fatal(err)
	}
	if err := r.Discard(t.Context(), r.ref(3)); err == nil {
		t.Error("the live release was discarded")
	}
	removed, err := r.Prune(t.Context(), r.ae, []int{5})
	if err != nil || !slices.Equal(removed, []int{1, 2, 4}) {
		t.Errorf("pruned %v %v", removed, err)
	}
	entries, err := os.ReadDir(filepath.Join(r.o.Root, "shop/releases"))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || strings.Join(names, " ") != "3 3.home 3.json 5 5.home 5.json" {
		t.Errorf("left: %v %v", names, err)
	}
	r.ae = appEnv(t, "lost/dev")
	r.mustStage(r.stage(1, nil))
	err = r.Sweep(t.Context(), r.ae.Env(), []config.AppEnv{appEnv(t, "shop/dev")})
	if err != nil || !gone(filepath.Join(r.o.Root, "lost/releases/1")) || gone(filepath.Join(r.o.Root, "shop/releases/3")) {
		t.Errorf("sweep: %v", err)
	}
	if err := r.Destroy(t.Context(), appEnv(t, "shop/dev")); err != nil || !gone(filepath.Join(r.o.Root, "shop")) {
		t.Errorf("destroy: %v", err)
	}
}

func TestCachesOutliveBuilds(t *testing.T) {
	r := newRig(t)
	var out bytes.Buffer
	for n := range 3 {
		s := r.stage(n+1, nil)
		s.App.Build.Cache = []string{".npm", ".cache/pip", "a/b"}
		s.App.Build.Postinstall = `for d in .npm .cache/pip a/b; do echo $SLIPWAY_RELEASE >> "$HOME/$d/log"; cat "$HOME/$d/log"; done`
		s.NoCache = n == 2
		out.Reset()
		if err := r.Stage(t.Context(), s, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		want := []string{"1\n1\n1\n", "1\n2\n1\n2\n1\n2\n", "3\n3\n3\n"}[n]
		if out.String() != want {
			t.Errorf("build %d: caches have %q, want %q", n+1, out.String(), want)
		}
	}
}

func TestFullFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	r := newRig(t)
	if err := os.MkdirAll(r.o.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", r.o.Root, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount: %v", err)
	}
	defer unix.Unmount(r.o.Root, 0)
	s := r.stage(1, nil)
	s.Vars["BIG"] = config.NewSecret(strings.Repeat("x", 100<<10))
	err := r.Stage(t.Context(), s, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "free") || !strings.Contains(config.Hint(err), "makes room") {
		t.Errorf("%v (hint: %s)", err, config.Hint(err))
	}
	if err := r.Discard(t.Context(), r.ref(1)); err != nil || !gone(filepath.Join(r.o.Root, "shop")) {
		t.Errorf("discard: %v", err)
	}
}
