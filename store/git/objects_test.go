package git_test

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway/store/git"
)

func newRepository(t *testing.T) (dir string, hash func(content string) git.Hash) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "repo.git")
	if err := (git.Cmd{Args: []git.Opt{"init", "-q", "--bare"}, Data: []string{dir}}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir, func(content string) git.Hash {
		out, err := git.Cmd{Dir: dir, Args: []git.Opt{"hash-object", "-w", "--stdin"}, Stdin: strings.NewReader(content)}.Output(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		id, err := git.ParseHash(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

// read gives one object whole.
func read(o *git.Objects, id git.Hash, limit int64) (ob git.Object, content string, err error) {
	err = o.Contents([]git.Hash{id}, limit, func(_ int, got git.Object, body []byte) error {
		ob, content = got, string(body)
		return nil
	})
	return ob, content, err
}

func TestObjects(t *testing.T) {
	t.Parallel()
	dir, hash := newRepository(t)
	long := strings.Repeat("line\n", 100_000)
	texts := []string{"", "x\n", long}
	var ids []git.Hash
	for _, text := range texts {
		ids = append(ids, hash(text))
	}
	o := git.OpenObjects(t.Context(), dir, nil)
	defer o.Close()

	var asked, streamed int
	check := func(i int, ob git.Object, body string) {
		if body != texts[i] || ob.Type != "blob" || ob.Size != int64(len(texts[i])) {
			t.Errorf("object %d: %+v, %d bytes", i, ob, len(body))
		}
	}
	err := o.Contents(ids, 1<<20, func(i int, ob git.Object, body []byte) error { asked++; check(i, ob, string(body)); return nil })
	if err != nil || asked != len(ids) {
		t.Errorf("Contents: %d objects, %v", asked, err)
	}
	err = o.Stream(ids, func(i int, ob git.Object, r io.Reader) error {
		streamed++
		if i == 1 {
			return nil // what is not read is skipped
		}
		body, err := io.ReadAll(r)
		check(i, ob, string(body))
		return err
	})
	if err != nil || streamed != len(ids) {
		t.Errorf("Stream: %d objects, %v", streamed, err)
	}
	err = o.Info(ids, func(i int, ob git.Object) error { check(i, ob, texts[i]); return nil })
	if err != nil {
		t.Errorf("Info: %v", err)
	}
	if err := o.Info(nil, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// Whatever a reading ended with, the next one is in step.
func TestObjectsAfterAnEnd(t *testing.T) {
	t.Parallel()
	dir, hash := newRepository(t)
	long := strings.Repeat("line\n", 100_000)
	id, x := hash(long), hash("x\n")
	o := git.OpenObjects(t.Context(), dir, nil)
	defer o.Close()
	inStep := func() {
		t.Helper()
		if _, text, err := read(o, x, 10); err != nil || text != "x\n" {
			t.Errorf("afterwards: %q, %v", text, err)
		}
	}

	missing := git.Hash{0x11}
	if _, _, err := read(o, missing, 10); !errors.Is(err, git.ErrNoObject) || !strings.Contains(err.Error(), missing.String()) {
		t.Errorf("missing: %v", err)
	}
	inStep()
	var large *git.TooLargeError
	if _, _, err := read(o, id, 10); !errors.As(err, &large) || large.Size != int64(len(long)) {
		t.Errorf("too large: %v", err)
	}
	inStep()
	stop := errors.New("stop")
	if err := o.Info([]git.Hash{id, x, id}, func(int, git.Object) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
	inStep()
	for _, limit := range []int64{0, 4, 1 << 20} {
		ob, head, err := o.Head(id, limit)
		if err != nil || ob.Size != int64(len(long)) || string(head) != long[:min(limit, ob.Size)] {
			t.Errorf("Head %d: %+v, %d bytes, %v", limit, ob, len(head), err)
		}
		inStep()
	}
	o.Close()
	inStep()
}

func TestParseHash(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("1a", 20)
	if h, err := git.ParseHash(name); err != nil || h.String() != name {
		t.Errorf("%s: %s, %v", name, h, err)
	}
	for _, bad := range []string{"", "HEAD", name + "\n", name[:7], name + "11", strings.ToUpper(name), strings.Repeat("1", 64)} {
		if _, err := git.ParseHash(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestObjectsEnd(t *testing.T) {
	t.Parallel()
	dir, hash := newRepository(t)
	id := hash("x")
	ctx, cancel := context.WithCancelCause(t.Context())
	o := git.OpenObjects(ctx, dir, nil)
	defer o.Close()
	if _, _, err := read(o, id, 10); err != nil {
		t.Fatal(err)
	}
	why := errors.New("cancelled by maria")
	cancel(why)
	if _, _, err := read(o, id, 10); !errors.Is(err, why) {
		t.Errorf("after the end: %v", err)
	}
	none := git.OpenObjects(t.Context(), filepath.Join(dir, "nothing"), nil)
	defer none.Close()
	if _, _, err := read(none, id, 10); err == nil {
		t.Error("an object of no repository")
	}
}

// What is in a quarantine is found by its variables, and replacements are not
// honoured.
func TestObjectsQuarantineAndReplace(t *testing.T) {
	t.Parallel()
	dir, hash := newRepository(t)
	inner, hashInner := newRepository(t)
	x, y, z := hash("x"), hash("y"), hashInner("z")
	if out, err := exec.Command("git", "-C", dir, "replace", x.String(), y.String()).CombinedOutput(); err != nil {
		t.Fatalf("git replace: %s", out)
	}
	o := git.OpenObjects(t.Context(), dir, map[string]string{
		"GIT_OBJECT_DIRECTORY": filepath.Join(inner, "objects"), "GIT_ALTERNATE_OBJECT_DIRECTORIES": filepath.Join(dir, "objects"),
	})
	defer o.Close()
	for id, want := range map[git.Hash]string{x: "x", z: "z"} {
		if _, text, err := read(o, id, 10); err != nil || text != want {
			t.Errorf("%s: %q %v", id, text, err)
		}
	}
}
