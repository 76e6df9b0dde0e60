package git_test

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"slipway/store/git"
)

func newRepository(t *testing.T) (dir string, hash func(content string) string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "repo.git")
	if err := (git.Cmd{Args: []git.Opt{"init", "-q", "--bare"}, Data: []string{dir}}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir, func(content string) string {
		out, err := git.Cmd{Dir: dir, Args: []git.Opt{"hash-object", "-w", "--stdin"}, Stdin: strings.NewReader(content)}.Output(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
}

func TestCat(t *testing.T) {
	t.Parallel()
	dir, hash := newRepository(t)
	long := strings.Repeat("line\n", 100_000)
	ids := map[string]string{hash(""): "", hash("x\n"): "x\n", hash(long): long}
	cat, err := git.OpenCat(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for id, want := range ids {
				o, b, err := cat.Read(id, 1<<20)
				if err != nil || string(b) != want || o.Type != "blob" || o.Size != int64(len(want)) {
					t.Errorf("%s: %+v, %d bytes, %v", id, o, len(b), err)
				}
			}
		})
	}
	readers.Wait()
	missing := strings.Repeat("1", 40)
	if _, err := cat.Info(missing); !errors.Is(err, git.ErrNoObject) {
		t.Errorf("missing: %v", err)
	}
	if _, _, err := cat.Read(missing, 10); !errors.Is(err, git.ErrNoObject) {
		t.Errorf("missing: %v", err)
	}
	var large *git.TooLargeError
	if _, _, err := cat.Read(hash(long), 10); !errors.As(err, &large) || large.Size != int64(len(long)) {
		t.Errorf("too large: %v", err)
	}
	for _, bad := range []string{"", "HEAD", "main", missing + "\n", missing + "^{tree}", missing[:7]} {
		if _, err := cat.Info(bad); err == nil || errors.Is(err, git.ErrNoObject) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, _, err := cat.Read(hash("x\n"), 10); err != nil { // still of use
		t.Error(err)
	}
	if err := cat.Close(); err != nil {
		t.Error(err)
	}
	if _, err := cat.Info(missing); err == nil || errors.Is(err, git.ErrNoObject) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCatEnds(t *testing.T) {
	t.Parallel()
	dir, hash := newRepository(t)
	id := hash("x")
	ctx, cancel := context.WithCancelCause(t.Context())
	cat, err := git.OpenCat(ctx, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cat.Info(id); err != nil {
		t.Fatal(err)
	}
	why := errors.New("cancelled by maria")
	cancel(why)
	if err := cat.Close(); !errors.Is(err, why) {
		t.Errorf("Close: %v", err)
	}
	none, err := git.OpenCat(t.Context(), filepath.Join(dir, "nothing"), nil)
	if err != nil {
		return // no such directory to start in
	}
	if _, err := none.Info(id); err == nil {
		t.Error("an object of no repository")
	}
	if err := none.Close(); err == nil {
		t.Error("Close says nothing")
	}
}

// What is in a quarantine is found by its variables, and replacements are not
// honoured.
func TestCatQuarantineAndReplace(t *testing.T) {
	t.Parallel()
	dir, hash := newRepository(t)
	inner, hashInner := newRepository(t)
	x, y, z := hash("x"), hash("y"), hashInner("z")
	if out, err := exec.Command("git", "-C", dir, "replace", x, y).CombinedOutput(); err != nil {
		t.Fatalf("git replace: %s", out)
	}
	cat, err := git.OpenCat(t.Context(), dir, map[string]string{
		"GIT_OBJECT_DIRECTORY": filepath.Join(inner, "objects"), "GIT_ALTERNATE_OBJECT_DIRECTORIES": filepath.Join(dir, "objects"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{x: "x", z: "z"} {
		if _, b, err := cat.Read(id, 10); err != nil || string(b) != want {
			t.Errorf("%s: %q %v", id, b, err)
		}
	}
	if err := cat.Close(); err != nil {
		t.Error(err)
	}
}
