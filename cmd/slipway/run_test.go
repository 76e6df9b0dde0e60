package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	gossh "golang.org/x/crypto/ssh"

	"slipway/builder"
	"slipway/builder/local"
	"slipway/config"
	"slipway/hooks"
	"slipway/hooks/submodule"
	"slipway/store"
	"slipway/store/git"
)

// office is an app with everything real below it, and a clock that a test
// sets.
type office struct {
	*app
	t       *testing.T
	clock   time.Time
	dropped []string
}

const officeTOML = `
[environments.dev]
target = "local"
[environments.staging]
target = "local"
[environments.prod]
target = "local"
protected = true
`

func newOffice(t *testing.T) *office {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dir")
	check(t, runInit(t.Context(), dir, &bytes.Buffer{}))
	check(t, os.WriteFile(filepath.Join(dir, config.ServerFile), []byte(officeTOML), 0o600))
	cfg, err := config.LoadServer(dir)
	check(t, err)
	o := &office{t: t, clock: time.Date(2026, 11, 25, 4, 5, 0, 0, time.UTC)}
	now := func() time.Time { return o.clock }
	s, err := store.Open(t.Context(), dir, now)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	inForce := func() *config.Server { return cfg }
	self, err := git.Executable()
	check(t, err)
	check(t, emptyDir(filepath.Join(dir, "tmp")))
	resolver, err := submodule.New(submodule.Options{
		Dir: filepath.Join(dir, "cache", "modules"), Temp: filepath.Join(dir, "tmp"),
		Config: inForce, Executable: self, Log: zerolog.Nop(), Now: now,
	})
	check(t, err)
	t.Cleanup(func() { check(t, resolver.Close()) })
	target := func(_ context.Context, e config.Env) (builder.Target, error) {
		return local.New(local.Options{
			Root: cfg.Environments[e].Root, Env: cfg.Environments[e], Limits: cfg.Limits, Hidden: []string{dir}, Log: zerolog.Nop(),
			UID: func(ctx context.Context, ae config.AppEnv) (int, error) {
				return s.UID(ctx, ae, cfg.Limits.UIDs[0], cfg.Limits.UIDs[1])
			},
		})
	}
	h := hooks.New(hooks.Options{
		Config: inForce, Store: s, Resolver: resolver, Target: target,
		Command: func(words string) string { return "ssh ship " + words }, Log: zerolog.Nop(), Now: now, Versions: "test",
	})
	o.app = &app{
		dir: dir, config: inForce, store: s, hooks: h, resolver: resolver, now: now, target: target,
		command: func(words string) string { return "ssh ship " + words },
		dropKey: func(f string) { o.dropped = append(o.dropped, f) },
	}
	return o
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// result is what a command line has come to.
type result struct {
	Status   int
	Out, Err string
}

func (o *office) do(c store.Caller, stdin string, argv ...string) result {
	o.t.Helper()
	var out, errs bytes.Buffer
	status := o.run(o.t.Context(), c, argv, builder.Stdio{In: strings.NewReader(stdin), Out: &out, Err: &errs}, nil)
	return result{status, out.String(), errs.String()}
}

// must is do for what has to go well.
func (o *office) must(c store.Caller, stdin string, argv ...string) string {
	o.t.Helper()
	r := o.do(c, stdin, argv...)
	if r.Status != 0 {
		o.t.Fatalf("%q: %+v", argv, r)
	}
	return r.Out
}

// same compares what is seen with what is to be seen.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

var onServer = store.Caller{Name: "local:root", Admin: true}

// publicKey makes the same key for a name in every run.
func publicKey(t *testing.T, name string) (line, fingerprint string) {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	key, err := gossh.NewPublicKey(ed25519.NewKeyFromSeed(seed).Public())
	check(t, err)
	line = strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key)))
	return line + " " + name + "@laptop\n", gossh.FingerprintSHA256(key)
}

// key adds a key and returns its holder.
func (o *office) key(name string, flags ...string) store.Caller {
	o.t.Helper()
	line, fingerprint := publicKey(o.t, name)
	o.must(onServer, line, append([]string{"key", "add", name}, flags...)...)
	k, err := o.store.KeyByName(o.t.Context(), name)
	check(o.t, err)
	return store.Caller{Name: name, Fingerprint: fingerprint, Addr: "192.0.2.7:50123", Admin: k.Admin, Allow: k.Allow}
}

func appEnv(t *testing.T, s string) config.AppEnv {
	t.Helper()
	ae, err := config.ParseAppEnv(s)
	check(t, err)
	return ae
}

func sourceURL(t *testing.T, s string) config.SourceURL {
	t.Helper()
	u, err := config.ParseSourceURL(s)
	check(t, err)
	return u
}

// Commits that releases of the tests are of.
const (
	commitOne   = store.OID("4f2a9c1f0d3b5a7c9e8d6f4b2a1c3e5d7f9b8a6c")
	commitTwo   = store.OID("8be0d52c6a4f1e3d5b7a9c8e6f4d2b1a3c5e7f90")
	commitThree = store.OID("51d7a0e9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3")
	moduleOne   = store.OID("c3f8d10aa1b2c3d4e5f60718293a4b5c6d7e8f90")
	moduleTwo   = store.OID("e91b7f3aa1b2c3d4e5f60718293a4b5c6d7e8f90")
)

const shopTOML = `
[vars]
DJANGO_SETTINGS_MODULE = "shop.settings"
DEBUG = "1"
[vars.dev]
DEBUG = "0"
`

// seed records releases as deploys do: the second of ae is live, the third has
// failed.
func (o *office) seed(name string) config.AppEnv {
	o.t.Helper()
	ctx, ae := o.t.Context(), appEnv(o.t, name)
	check(o.t, o.store.CreateApp(ctx, ae.App()))
	file, _, err := config.ParseAppFiles(config.AppSources{SlipwayTOML: []byte(shopTOML)})
	check(o.t, err)
	text, err := json.Marshal(file)
	check(o.t, err)
	auth := store.Module{Path: "vendor/auth", URL: sourceURL(o.t, "ssh://git@git.corp.local/team/auth.git"), Commit: moduleOne}
	ui := store.Module{Path: "vendor/ui", URL: sourceURL(o.t, "git@git.corp.local:web/ui.git"), Commit: moduleOne}
	newUI := ui
	newUI.Commit = moduleTwo
	for i, r := range []store.Release{
		{Commit: commitOne, Title: "Add gift cards", Plan: store.Plan{Commit: commitOne, Modules: []store.Module{auth, ui}}},
		{Commit: commitTwo, Title: "Round prices\x1b[2J", Plan: store.Plan{Commit: commitTwo, Modules: []store.Module{auth, newUI}}},
		{Commit: commitThree, Title: "Bump Django", Plan: store.Plan{Commit: commitThree}},
	} {
		r.AppEnv, r.Ref, r.Reason, r.By, r.Created, r.App = ae, "refs/heads/main", store.Push, "maria", o.clock, text
		r.Tree = store.TreeInfo{ID: strings.Repeat("ab", 32), Files: 1204 + i, Bytes: 19_188_941}
		r, err := o.store.NewRelease(ctx, r, map[string]config.Secret{"TOKEN": config.NewSecret("tops3cret"), "N": config.NewSecret(itoa(i))})
		check(o.t, err)
		r.Build, r.Steps = r.Number, map[string]float64{"plan": 0.3, "tree": 0.1, "build": 3.9, "switch": 0.1, "total": 4.5}
		check(o.t, o.store.Begin(ctx, store.Entry{AppEnv: ae, Release: r.Number, Phase: store.Queued, Ref: r.Ref, To: r.Number}))
		check(o.t, o.store.UpdateRelease(ctx, r))
		o.clock = o.clock.Add(5 * time.Second)
		if i == 2 {
			check(o.t, o.store.EndRelease(ctx, ae, r.Number, store.FailedState, "postinstall exited 1; release 2 (8be0d52) is still live"))
			check(o.t, o.store.Advance(ctx, store.Entry{AppEnv: ae, Release: r.Number, Phase: store.Ended}))
		} else {
			check(o.t, o.store.SetLive(ctx, ae, r.Number))
			check(o.t, o.store.Advance(ctx, store.Entry{AppEnv: ae, Release: r.Number, Phase: store.Done}))
		}
		o.clock = o.clock.Add(time.Hour - 5*time.Second)
	}
	check(o.t, o.store.ChangeVars(ctx, ae, "maria", map[string]config.Secret{
		"TOKEN": config.NewSecret("tops3cret"), "N": config.NewSecret("1"),
	}, nil))
	return ae
}
