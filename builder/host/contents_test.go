package host

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"slipway/builder/content"
	"slipway/builder/targettest"
)

// placeContents has a tree laid out as an agent does, and counts what it
// lacked.
func (r *rig) placeContents(n int, tree *targettest.Tree) (lacked int) {
	r.t.Helper()
	l, err := tree.List()
	if err != nil {
		r.t.Fatal(err)
	}
	err = r.PlaceContents(r.t.Context(), r.ref(n), l, func(ctx context.Context, store *content.Store, want []content.Want) error {
		lacked = len(want)
		in, out := io.Pipe()
		go func() {
			s, err := content.NewSender(out)
			which := make([]int, len(want))
			for k, w := range want {
				which[k] = w.Index
			}
			if err == nil {
				err = tree.Contents(ctx, which, func(i int, size int64, r io.Reader) error { return s.Send(l.Files()[i], 0, size, r) })
			}
			if err == nil {
				err = s.Close()
			}
			out.CloseWithError(err)
		}()
		_, err := store.Receive(ctx, in, l, want, 1<<30)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return lacked
}

func (r *rig) text(path string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.o.Root, "shop", path))
	if err != nil {
		r.t.Error(err)
	}
	return string(text)
}

func (r *rig) hasSpare() bool { return !gone(r.at(r.ae).spareList()) }

// The second tree costs what differs, and comes out of the spare one where that
// is as it was left.
func TestContentsAndSpare(t *testing.T) {
	r := newRig(t)
	first := &targettest.Tree{Files: map[string]string{"keep": "k", "gone/x": "g", "change": "1", "turn": "file"}}
	second := &targettest.Tree{Files: map[string]string{"keep": "k", "new/y": "n", "change": "2", "turn/in": "dir"}}
	if n := r.placeContents(1, first); n != 4 {
		t.Errorf("the first tree lacked %d contents", n)
	}
	if err := r.MakeContentsSpare(t.Context(), r.ref(1)); err != nil || !r.hasSpare() {
		t.Fatalf("no spare: %v", err)
	}
	before, err := os.Stat(filepath.Join(r.at(r.ae).spare(), "keep"))
	if err != nil {
		t.Fatal(err)
	}
	if n := r.placeContents(2, second); n != 3 {
		t.Errorf("the second tree lacked %d contents", n)
	}
	after, err := os.Stat(filepath.Join(r.o.Root, "shop/releases/2/keep"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the spare tree was not used: %v", err)
	}
	for path, want := range map[string]string{"keep": "k", "new/y": "n", "change": "2", "turn/in": "dir"} {
		if got := r.text("releases/2/" + path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	if !gone(filepath.Join(r.o.Root, "shop/releases/2/gone")) {
		t.Error("what the second tree has not is there")
	}
	if r.text("releases/1/change") != "1" {
		t.Error("the first release was changed")
	}
}

// A spare tree that somebody has touched is not used.
func TestSpareThatWasTouched(t *testing.T) {
	for name, touch := range map[string]func(dir string) error{
		"content": func(dir string) error { return os.WriteFile(filepath.Join(dir, "keep"), []byte("X"), 0o755) },
		"added":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "more"), nil, 0o644) },
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "keep")) },
		"link":    func(dir string) error { return os.Link(filepath.Join(dir, "keep"), filepath.Join(dir, "../linked")) },
		"mode":    func(dir string) error { return os.Chmod(filepath.Join(dir, "keep"), 0o4755) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tree := &targettest.Tree{Files: map[string]string{"keep": "k", "change": "1"}}
			r.placeContents(1, tree)
			if err := r.MakeContentsSpare(t.Context(), r.ref(1)); err != nil || !r.hasSpare() {
				t.Fatalf("no spare: %v", err)
			}
			if err := touch(r.at(r.ae).spare()); err != nil {
				t.Fatal(err)
			}
			r.placeContents(2, tree)
			entries, err := os.ReadDir(filepath.Join(r.o.Root, "shop/releases/2"))
			if err != nil || len(entries) != 2 || r.text("releases/2/keep") != "k" {
				t.Errorf("release 2: %v %v", entries, err)
			}
			info, err := os.Stat(filepath.Join(r.o.Root, "shop/releases/2/keep"))
			if err != nil || info.Mode() != 0o755 {
				t.Errorf("mode: %v %v", info.Mode(), err)
			}
			if !gone(r.at(r.ae).spare()) {
				t.Error("the spare tree is still there")
			}
		})
	}
}

// A release is taken back by whoever claimed it last.
func TestClaims(t *testing.T) {
	r := newRig(t)
	first, err := r.Claim(r.ref(1))
	if err != nil {
		t.Fatal(err)
	}
	r.placeContents(1, &targettest.Tree{Files: map[string]string{"f": "1"}})
	second, err := r.Claim(r.ref(1))
	if err != nil {
		t.Fatal(err)
	}
	release := filepath.Join(r.o.Root, "shop/releases/1")
	if err := r.Abandon(t.Context(), r.ref(1), first); err != nil || gone(release) {
		t.Errorf("an old claim: %v", err)
	}
	if err := r.Abandon(t.Context(), r.ref(1), second); err != nil || !gone(release) {
		t.Errorf("the claim that holds: %v", err)
	}
	if err := r.Abandon(t.Context(), r.ref(1), second); err != nil {
		t.Error(errors.Join(errors.New("once more"), err))
	}
}
