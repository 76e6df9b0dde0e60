package content

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Every way to copy gives the same, at sizes around the borders of each.
func TestLaySizes(t *testing.T) {
	tree := map[string]string{}
	for i, n := range []int{0, 1, block - 1, block, shareFrom - 1, shareFrom, shareFrom + 1, wholeUpTo - 1, wholeUpTo, wholeUpTo + 1, 3 * wholeUpTo, 5<<20 + 17} {
		tree[fmt.Sprintf("d%d/f%d", i%3, n)] = noise(uint64(i), n)
		tree[fmt.Sprintf("e%d/f%d*", i%3, n)] = noise(uint64(i), n)
	}
	fx := makeFixture(t, tree)
	s := newStore(t)
	fill(t, s, fx)
	lay(t, s, fx)
	for _, f := range fx.list.Files() {
		at := s.index[f.key()]
		if at.size >= shareFrom && at.at%block != 0 {
			t.Errorf("the blocks of %s cannot be shared: it begins at %d", f.Path, at.at)
		}
	}

	for name, way := range map[string]func(*copier){
		"kernel": func(c *copier) { c.from.noClone.Store(true) },
		"hand":   func(c *copier) { c.from.noClone.Store(true); c.from.noRange.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			from, err := s.take(pointers(fx.list))
			if err != nil {
				t.Fatal(err)
			}
			c := &copier{from: from}
			way(c)
			dir := t.TempDir()
			top, err := openDirectory(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range fx.list.dirs {
				if err := top.mkdir(d); err != nil {
					t.Fatal(err)
				}
			}
			for i := range fx.list.files {
				if err := c.batch(context.Background(), top, pointers(fx.list)[i:i+1]); err != nil {
					t.Fatal(err)
				}
			}
			fx.compare(t, dir)
			if err := errors.Join(from.release(), top.close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func pointers(l *List) (files []*File) {
	for i := range l.files {
		files = append(files, &l.files[i])
	}
	return files
}

// Without openat2 a directory is found one name at a time.
func TestWalk(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755), os.Symlink("b", filepath.Join(dir, "a/link"))); err != nil {
		t.Fatal(err)
	}
	top, err := openDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.close()
	fd, err := top.walk("a/b/c")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"a/link", "a/link/c", "a/none", "none/b"} {
		if fd, err := top.walk(path); err == nil {
			t.Errorf("%s: %d", path, fd)
		}
		if d, err := top.below(path); err == nil {
			t.Errorf("%s: %v", path, d)
		}
	}
}

// Modes are what they should be under any umask. It is the process's, so a
// child of this test has it.
func TestUmask(t *testing.T) {
	if os.Getenv("SLIPWAY_TEST_UMASK") != "" {
		unix.Umask(0o077)
		fx := small(t)
		s := newStore(t)
		fill(t, s, fx)
		lay(t, s, fx)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestUmask$")
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_UMASK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLayRefuses(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	fx := makeFixture(t, map[string]string{"a": "one"})
	if err := s.Lay(ctx, fx.list, t.TempDir(), 1); !errors.Is(err, ErrMissing) {
		t.Errorf("missing: %v", err)
	}
	fill(t, s, fx)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Lay(ctx, fx.list, full, 1); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("not empty: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := s.Lay(ctx, fx.list, link, 1); err == nil {
		t.Error("it follows a link")
	}
	bad := makeFixture(t, map[string]string{"a@": "to\x00nowhere"})
	fill(t, s, bad)
	if err := s.Lay(ctx, bad.list, t.TempDir(), 1); err == nil || !strings.Contains(err.Error(), "NUL") {
		t.Errorf("NUL: %v", err)
	}
	long := []File{{Path: "a", Mode: Link, ID: ID{7}, Size: -1}}
	l, err := NewList(long)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, fixture{list: l, bytes: map[key][]byte{l.files[0].key(): make([]byte, 5000)}})
	if err := s.Lay(ctx, l, t.TempDir(), 1); err == nil || !strings.Contains(err.Error(), "link of 5000") {
		t.Errorf("a long link: %v", err)
	}
	huge, err := NewList([]File{{Path: "a", ID: ID{8}, Size: maxSize}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(ctx, strings.NewReader(""), huge, missing(t, s, huge), noLimit); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("no room: %v", err)
	}
}

// A full disk in the middle leaves the store whole; what had come stays.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("no file system can be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(filepath.Join(mount, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fx := makeFixture(t, map[string]string{"a?": noise(1, 1<<20), "b?": noise(2, 2<<20)}) // their sizes are not known
	want := missing(t, s, fx.list)
	_, err = s.Receive(context.Background(), strings.NewReader(string(fx.stream(t, want))), fx.list, want, noLimit)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), mount+" is full") {
		t.Errorf("%v", err)
	}
	want = missing(t, s, fx.list)
	if len(want) != 1 || want[0].Offset != 0 {
		t.Errorf("wanted then: %v", want)
	}
	if n := diskUse(t, s); n > 1<<20+8192 {
		t.Errorf("%d bytes are left on the full disk", n)
	}
	half := makeFixture(t, map[string]string{"a?": noise(1, 1<<20)})
	if err := os.Mkdir(filepath.Join(mount, "tree"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Lay(context.Background(), half.list, filepath.Join(mount, "tree"), 1); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
	lay(t, s, half)
}
