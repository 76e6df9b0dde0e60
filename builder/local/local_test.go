package local

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway/builder"
	"slipway/builder/host"
	"slipway/config"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == host.SandboxCommand {
		os.Exit(host.SandboxMain())
	}
	os.Exit(m.Run())
}

// A release from its tree to its end, through the interface alone.
func TestReleaseGoesLiveAndAway(t *testing.T) {
	root := filepath.Join(t.TempDir(), "apps")
	target, err := New(Options{
		Root: root, Env: &config.Environment{},
		UID: func(context.Context, config.AppEnv) (int, error) { return 61236, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	ae, err := config.ParseAppEnv("shop/dev")
	if err != nil {
		t.Fatal(err)
	}
	ctx, ref := t.Context(), builder.Ref{AppEnv: ae, Number: 1}
	dir, err := target.Place(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "postinstall"), []byte("#!/bin/sh\necho built > made\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := builder.Stage{Ref: ref, Build: 1, App: &config.AppFile{}}
	s.App.Build.Timeout, s.App.Build.Network = time.Minute, true
	s.App.Deploy.Release, s.App.Deploy.Restart = "echo once", "echo again"
	s.App.Deploy.Health = config.Health{Command: "test -e made && echo well", Timeout: time.Minute}
	var out bytes.Buffer
	steps := []struct {
		name string
		do   func() error
	}{
		{"stage", func() error { return target.Stage(ctx, s, &out) }},
		{"release", func() error { return target.RunOnce(ctx, s, &out) }},
		{"health", func() error { return target.Health(ctx, s, &out) }},
		{"record", func() error { return target.Record(ctx, ref, []byte("{}\n")) }},
		{"activate", func() error { return target.Activate(ctx, builder.Switch{AppEnv: ae, Generation: 1, To: 1}) }},
		{"restart", func() error { return target.Restart(ctx, s, &out) }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v\n%s", step.name, err, out.String())
		}
	}
	if out.String() != "once\nwell\nagain\n" {
		t.Errorf("output: %q", out.String())
	}
	if text, err := os.ReadFile(filepath.Join(root, "shop/current/made")); err != nil || string(text) != "built\n" {
		t.Errorf("current: %q %v", text, err)
	}
	out.Reset()
	exit, err := target.Run(ctx, s, []string{"cat", "made"}, builder.Stdio{Out: &out, Err: &out}, nil)
	if exit != 0 || err != nil || out.String() != "built\n" {
		t.Errorf("run: %d %v %q", exit, err, out.String())
	}
	if err := target.Destroy(ctx, ae); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("left: %v %v", entries, err)
	}
}
