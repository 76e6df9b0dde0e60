package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"slipway/config"
)

func TestReleaseRoundTrip(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	url, err := config.ParseSourceURL("ssh://git@git.corp.local/web/ui.git")
	must(t, err)
	r := Release{
		AppEnv: ae, Commit: OID("8c3f1d0e5b7a6c4d2e1f0a9b8c7d6e5f4a3b2c1d"), Ref: "refs/heads/main",
		Title: "fix \"quotes\" & <tags>\u00e9", Reason: Redeploy, By: "ana", Created: at.Add(-time.Minute),
		Plan: Plan{
			Commit:  OID("8c3f1d0e5b7a6c4d2e1f0a9b8c7d6e5f4a3b2c1d"),
			Modules: []Module{{Path: "vendor/ui", URL: url, Commit: OID("1111111111111111111111111111111111111111")}},
			Skipped: []string{"vendor/sdk"},
		},
		Tree: TreeInfo{ID: "abc", Files: 3, Bytes: 1 << 40}, App: []byte(`{"Build":{}}`), Steps: map[string]float64{"plan": 0.25},
	}
	made, err := s.NewRelease(ctx, r, secrets("KEY", "value"))
	must(t, err)
	want := r
	want.Number, want.Build, want.State = 1, 1, Building
	same := func(what string, got *Release) {
		t.Helper()
		if got == nil {
			t.Fatalf("%s: there is no release", what)
		}
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(config.AppEnv{}, config.App{}, config.Env{}, config.SourceURL{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	same("NewRelease", &made)
	got, err := s.Release(ctx, ae, 1)
	must(t, err)
	same("Release", got)

	made.Tree.Files, made.Steps, made.Title = 4, map[string]float64{"build": 2}, "another"
	must(t, s.UpdateRelease(ctx, made))
	want.Tree.Files, want.Steps, want.Title = 4, made.Steps, made.Title
	got, err = s.Release(ctx, ae, 1)
	must(t, err)
	same("UpdateRelease", got)

	// What the caller holds is older than the end; storing it keeps the end.
	must(t, s.EndRelease(ctx, ae, 1, FailedState, "postinstall: exit status 1"))
	must(t, s.MarkPruned(ctx, ae, []int{1, 77}))
	must(t, s.UpdateRelease(ctx, made))
	want.State, want.Error, want.Ended, want.Pruned = FailedState, "postinstall: exit status 1", at, true
	got, err = s.Release(ctx, ae, 1)
	must(t, err)
	same("UpdateRelease after the end", got)
}

func TestReleasesNone(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	r, err := s.Release(ctx, ae, 1)
	live, err2 := s.LiveRelease(ctx, ae)
	all, err3 := s.Releases(ctx, ae)
	if must(t, errors.Join(err, err2, err3)); r != nil || live != nil || len(all) != 0 {
		t.Error("there are releases")
	}
	_, err = s.ReleaseVars(ctx, ae, 1)
	wantError(t, err, config.NotFound, "shop/dev has no release 1", "releases shop/dev")
	for _, err := range []error{
		s.UpdateRelease(ctx, Release{AppEnv: ae, Number: 1}), s.SetLive(ctx, ae, 1), s.EndRelease(ctx, ae, 1, FailedState, ""),
	} {
		wantError(t, err, config.NotFound, "shop/dev has no release 1", "")
	}
}

// Numbers start at 1 in each APP/ENV, have no gap when fifty deploys begin at
// once, and never come again.
func TestReleaseNumbers(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	envs := []config.AppEnv{appEnv(t, "shop/dev"), appEnv(t, "shop/prod"), appEnv(t, "blog/dev")}
	const each = 50
	numbers := make([][]int, len(envs))
	g, ctx := errgroup.WithContext(ctx)
	for i, ae := range envs {
		numbers[i] = make([]int, each)
		for j := range each {
			g.Go(func() error {
				r, err := s.NewRelease(ctx, Release{AppEnv: ae}, secrets("KEY", fmt.Sprint(ae, j)))
				numbers[i][j] = r.Number
				if err != nil {
					return err
				}
				vars, err := s.ReleaseVars(ctx, ae, r.Number)
				if err == nil && vars["KEY"].Reveal() != fmt.Sprint(ae, j) {
					err = fmt.Errorf("release %d of %s has the vars of another", r.Number, ae)
				}
				return err
			})
		}
	}
	must(t, g.Wait())
	for i, ae := range envs {
		slices.Sort(numbers[i])
		for j, n := range numbers[i] {
			if n != j+1 {
				t.Fatalf("%s: numbers %v", ae, numbers[i])
			}
		}
	}
	ctx = t.Context()
	all, err := s.AppEnvs(ctx)
	must(t, err)
	if got := fmt.Sprint(all); got != "[blog/dev shop/dev shop/prod]" {
		t.Errorf("AppEnvs: %s", got)
	}
	must(t, s.DestroyApp(ctx, envs[0].App()))
	r, err := s.NewRelease(ctx, Release{AppEnv: envs[0]}, nil)
	must(t, err)
	if r.Number != each+1 {
		t.Errorf("after the app was destroyed a release has number %d", r.Number)
	}
}

// Releases are ordered by number, though the clock goes back.
func TestReleasesOrder(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	for i := range 12 {
		_, err := s.NewRelease(ctx, Release{AppEnv: ae, Created: at.Add(-time.Duration(i) * time.Hour)}, nil)
		must(t, err)
	}
	all, err := s.Releases(ctx, ae)
	must(t, err)
	for i, r := range all {
		if r.Number != 12-i {
			t.Errorf("at %d: release %d", i, r.Number)
		}
	}
}

func TestSetLive(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	first := release(t, s, ae, nil)
	goLive(t, s, first)
	second := release(t, s, ae, nil)
	advance(t, s, second, Switching)
	states := func(want string) {
		t.Helper()
		all, err := s.Releases(ctx, ae)
		must(t, err)
		var got []string
		for _, r := range all {
			got = append(got, fmt.Sprintf("%d %s", r.Number, r.State))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("states %v, want %s", got, want)
		}
	}
	states("[2 building 1 live]")
	if err := s.SetLive(ctx, ae, 1); err == nil {
		t.Error("a release went live whose deploy is not the open one")
	}
	states("[2 building 1 live]")
	for range 2 { // recovery may repeat it
		must(t, s.SetLive(ctx, ae, 2))
		states("[2 live 1 retired]")
		open, err := s.OpenEntries(ctx)
		if err != nil || len(open) != 1 || open[0].Phase != Committed {
			t.Errorf("open entries %v, %v", open, err)
		}
	}
	live, err := s.LiveRelease(ctx, ae)
	must(t, err)
	if live.Number != 2 || !live.Ended.Equal(at) {
		t.Errorf("live: %d, ended %s", live.Number, live.Ended)
	}
	if err := s.EndRelease(ctx, ae, 2, Interrupted, "x"); err == nil {
		t.Error("a live release was interrupted")
	}
	if err := s.EndRelease(ctx, ae, 1, Retired, "x"); err == nil {
		t.Error("a release ended as retired")
	}
	advance(t, s, second, Done)
	if err := s.SetLive(ctx, ae, 1); err == nil {
		t.Error("a release went live without an entry in the journal")
	}
	states("[2 live 1 retired]")

	// A release that was written off, and is in the ref after all.
	third := release(t, s, ae, nil)
	advance(t, s, third, Switching, Reverting)
	must(t, s.EndRelease(ctx, ae, 3, FailedState, "the host is gone"))
	must(t, s.EndRelease(ctx, ae, 3, Interrupted, "the server stopped"))
	states("[3 failed 2 live 1 retired]")
	advance(t, s, third, Diverged)
	must(t, s.SetLive(ctx, ae, 3))
	states("[3 live 2 retired 1 retired]")
}

// Whatever bytes a secret has, it comes back the same, and none of them are in
// the files of the database.
func TestSecrets(t *testing.T) {
	const canary = "canary-6d1f"
	values := map[string]string{
		"PEM":     "-----BEGIN PRIVATE KEY-----\nMC4CAQ" + canary + "\n-----END PRIVATE KEY-----\n",
		"QUOTES":  `"'` + "`" + canary + `\"`,
		"DOLLAR":  "$HOME ${X} $(id) %s \\n" + canary,
		"LINES":   "\r\n" + canary + "\n\n",
		"JSON":    `{"a": "` + canary + `", "b": [1, 2]}`,
		"EMPTY":   "",
		"BYTES":   "\xff\xfe" + canary + "\x80\x00\xc3",
		"UNICODE": "\u00e9\u2028\U0001f6a2" + canary,
		"LONG":    canary + string(bytes.Repeat([]byte("x"), 128<<10)),
	}
	set := map[string]config.Secret{}
	for name, v := range values {
		set[name] = config.NewSecret(v)
	}
	ctx, dir, ae := t.Context(), t.TempDir(), appEnv(t, "shop/dev")
	s, err := Open(ctx, dir, clock)
	must(t, err)
	must(t, s.ChangeVars(ctx, ae, "ana", set, nil))
	goLive(t, s, release(t, s, ae, set))
	password, err := s.ServiceSecret(ctx, ae, "db")
	must(t, err)
	snapshot := filepath.Join(dir, "copy.db")
	must(t, s.Snapshot(ctx, snapshot))
	vars, err := s.Vars(ctx, ae)
	must(t, err)
	for _, v := range vars {
		if v.Value.Reveal() != values[v.Name] || v.Staged || v.By != "ana" || !v.Set.Equal(at) {
			t.Errorf("var %s comes back as another", v.Name)
		}
	}
	snap, err := s.ReleaseVars(ctx, ae, 1)
	must(t, err)
	if len(snap) != len(values) || len(vars) != len(values) {
		t.Errorf("%d vars, %d in the release, want %d", len(vars), len(snap), len(values))
	}
	for name, v := range snap {
		if v.Reveal() != values[name] {
			t.Errorf("%s comes back from the release as another", name)
		}
	}
	found := func() {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*.db*"))
		must(t, err)
		for _, path := range files {
			raw, err := os.ReadFile(path)
			must(t, err)
			for _, secret := range []string{canary, "Y2FuYXJ5LTZkMW", password.Reveal()} {
				if bytes.Contains(raw, []byte(secret)) {
					t.Errorf("%s holds %q", path, secret)
				}
			}
		}
	}
	found() // with the log beside it
	must(t, s.Close())
	found()
}
