package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFailingDeploysLeaveNothing pushes again and again what does not build,
// to an app that is live and to one that never was.
func TestFailingDeploysLeaveNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server and pushes to it")
	}
	t.Parallel()
	f := newFaulty(t, faultBinary(t))
	for range 3 {
		f.commit("Before")
		f.again()
	}
	live := f.git("rev-parse", "HEAD")
	f.must(os.WriteFile(filepath.Join(f.repo, "postinstall"), []byte("#!/bin/sh\necho junk > \"$HOME/junk\"; echo junk > junk; echo junk > \"$TMPDIR/junk\"\nexit 1\n"), 0o755))
	pushes := 12
	if os.Getenv("SLIPWAY_SOAK") != "" {
		pushes = 100
	}
	measure := func() (files int, bytes int64) {
		f.quiet()
		return diskUsage(t, f.dir, func(rel string) bool {
			// There is at most one spare tree, which may just be made; it is counted below.
			return strings.HasPrefix(rel, "slipway.db") || strings.HasPrefix(rel, "logs") || strings.Contains(rel, "/.spare")
		})
	}
	files, bytes := measure()
	for i := range pushes {
		f.must(os.WriteFile(filepath.Join(f.repo, "data"), fmt.Appendf(nil, "%d", i), 0o644))
		f.git("add", ".")
		f.commit("Broken")
		f.app = "shop"
		if i%4 == 3 {
			f.app = "never-live"
		}
		if ok, out := f.push(); ok || !strings.Contains(out, "postinstall exited 1") {
			f.Fatalf("push %d:\n%s", i, out)
		}
	}
	if n, b := measure(); n != files || b != bytes {
		t.Errorf("%d failing pushes made %d files (%d bytes) of %d (%d)", pushes, n, b, files, bytes)
	}
	spares, err := filepath.Glob(filepath.Join(f.dir, "apps", "dev", ".spare", "*"))
	if err != nil || len(spares) > 1 {
		t.Errorf("spare trees: %v, %v", spares, err)
	}
	logs, err := filepath.Glob(filepath.Join(f.dir, "logs", "shop", "dev", "*.log"))
	if err != nil || len(logs) > 53 {
		t.Errorf("%d build logs are kept, %v", len(logs), err)
	}
	f.app = "shop"
	f.check(live)
}
