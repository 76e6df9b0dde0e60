package local

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"slipway/builder/host"
	"slipway/builder/targettest"
	"slipway/config"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == host.SandboxCommand {
		os.Exit(host.SandboxMain())
	}
	os.Exit(m.Run())
}

func TestTarget(t *testing.T) {
	targettest.Run(t, func(t *testing.T) targettest.Place {
		root := filepath.Join(t.TempDir(), "apps")
		target, err := New(Options{
			Root: root, Env: &config.Environment{},
			UID: func(context.Context, config.AppEnv) (int, error) { return 61236, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return targettest.Place{Target: target, Roots: []string{root}}
	})
}
