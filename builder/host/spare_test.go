package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/config"
)

// makeSpare lays a file out as the spare tree of the rig's app.
func (r *rig) makeSpare(note string) (dir string) {
	r.t.Helper()
	dir, err := r.MakeSpare(r.t.Context(), r.ae)
	if err == nil && dir != "" {
		err = os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644)
	}
	if err == nil && note != "" {
		err = r.KeepSpare(r.t.Context(), r.ae, func() ([]byte, error) { return []byte(note), nil })
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return dir
}

func TestSpareBecomesRelease(t *testing.T) {
	r := newRig(t)
	if _, note, err := r.PlaceSpare(t.Context(), r.ref(1)); note != nil || err != nil {
		t.Fatalf("without one: %q %v", note, err)
	}
	if r.makeSpare("n") == "" {
		t.Fatal("none may be kept here")
	}
	if again := r.makeSpare(""); again != "" {
		t.Errorf("a second one would be made at %s", again)
	}
	dir, note, err := r.PlaceSpare(t.Context(), r.ref(1))
	if err != nil || string(note) != "n" || read(t, filepath.Join(dir, "f")) != "x" {
		t.Fatalf("placed %s: %q %v", dir, note, err)
	}
	if dir != filepath.Join(r.o.Root, "shop/releases/1") {
		t.Errorf("placed at %s", dir)
	}
	if _, note, err := r.PlaceSpare(t.Context(), r.ref(2)); note != nil || err != nil {
		t.Errorf("it is there twice: %q %v", note, err)
	}
}

// TestSpareIsOutOfReach has a build look for the spare tree.
func TestSpareIsOutOfReach(t *testing.T) {
	r := newRig(t)
	dir := r.makeSpare("n")
	out, err := r.build("#!/bin/sh\ncat '" + dir + "/f' && echo seen\necho y >'" + dir + "/f' && echo written\nexit 0\n")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "seen") || read(t, filepath.Join(dir, "f")) != "x" {
		t.Errorf("a build has got at the spare tree:\n%s", out)
	}
	if os.Geteuid() == 0 {
		var st unix.Stat_t
		above := filepath.Dir(filepath.Dir(dir))
		if err := unix.Stat(above, &st); err != nil || st.Mode&0o077 != 0 || st.Uid != 0 {
			t.Errorf("%s is open to uid %d, mode %o, %v", above, st.Uid, st.Mode, err)
		}
	}
}

// TestSpareSweep leaves what is whole, and of an app that is there.
func TestSpareSweep(t *testing.T) {
	shop := []config.AppEnv{appEnv(t, "shop/dev")}
	for name, tt := range map[string]struct {
		do   func(r *rig, dir string) error
		left bool
	}{
		"whole":      {func(*rig, string) error { return nil }, true},
		"unfinished": {func(_ *rig, dir string) error { return os.Remove(filepath.Join(dir, "../note")) }, false},
		"taken":      {func(_ *rig, dir string) error { return os.RemoveAll(dir) }, false},
		"old": {func(_ *rig, dir string) error {
			then := time.Now().Add(-spareAge - time.Hour)
			return os.Chtimes(filepath.Join(dir, "../note"), then, then)
		}, false},
		"no app's": {func(r *rig, dir string) error {
			above := filepath.Dir(filepath.Dir(dir))
			return os.Rename(filepath.Join(above, "shop"), filepath.Join(above, "lost"))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			dir := r.makeSpare("n")
			if err := errors.Join(tt.do(r, dir), r.Sweep(t.Context(), r.ae.Env(), shop)); err != nil {
				t.Fatal(err)
			}
			left, err := os.ReadDir(filepath.Join(r.o.Root, spares))
			if err != nil || (len(left) == 1) != tt.left {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
	r := newRig(t)
	r.makeSpare("n")
	if some, err := r.DropSpares(t.Context()); !some || err != nil {
		t.Errorf("dropped %v %v", some, err)
	}
	if some, err := r.DropSpares(t.Context()); some || err != nil {
		t.Errorf("dropped again: %v %v", some, err)
	}
	dir := r.makeSpare("n")
	if err := r.Destroy(t.Context(), r.ae); err != nil || !gone(dir) {
		t.Errorf("after the app: %v", err)
	}
}
