package tree

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway/store/git"
)

// smallDisk mounts a tmpfs, which only root can.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	to := filepath.Join(dir, "tree")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestFull refuses before it writes what does not fit, and says where, how much
// was needed and how much is free.
func TestFull(t *testing.T) {
	r := newRepo(t)
	big := make([]byte, 2<<20)
	_, _ = rand.Read(big) // it never fails
	x := r.blob("x")
	many := r.part("", r.tree(file("a", x), file("b", x), file("c", x), file("d", x), file("e", x), file("f", x)))
	large := r.part("", r.tree(file("big", r.object("blob", big))))
	for _, tt := range []struct {
		options, want string
		part          Part
	}{
		{"size=1m", "the tree needs 2.0 MiB, ", large},
		{"size=1m,nr_inodes=6", "files, it can take ", many},
	} {
		to := smallDisk(t, tt.options)
		m, err := Read(t.Context(), []Part{tt.part}, nil, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		check(t, Write(t.Context(), m, []Part{tt.part}, to, Options{}), "the file system "+filepath.Dir(to)+" is full", tt.want)
		left, err := os.ReadDir(to)
		if err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
	}
}

// TestFullWhileWriting has a manifest that promises less than git writes.
func TestFullWhileWriting(t *testing.T) {
	r := newRepo(t)
	text := r.blob(strings.Repeat("\n", 700<<10))
	part := r.part("", r.sorted(file(".gitattributes", r.blob("* text eol=crlf\n")), file("a", text)))
	to := smallDisk(t, "size=1m")
	m, err := Read(t.Context(), []Part{part}, nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	check(t, Write(t.Context(), m, []Part{part}, to, Options{}), "the file system "+filepath.Dir(to)+" is full")
}

// TestCancel ends reading and writing with the reason that the caller gave.
func TestCancel(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	parts := []Part{r.part("", r.tree(file("a", r.blob("x"))))}
	m, err := Read(t.Context(), parts, nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("cancelled by ana")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Read(ctx, parts, nil, Limits{}); !errors.Is(err, why) {
		t.Errorf("Read: %v", err)
	}
	if err := Write(ctx, m, parts, t.TempDir(), Options{}); !errors.Is(err, why) {
		t.Errorf("Write: %v", err)
	}
	objects := git.OpenObjects(ctx, parts[0].Dir, nil)
	defer objects.Close()
	if _, _, err := (Files{objects, parts[0].Commit}).File("a", 1); !errors.Is(err, why) {
		t.Errorf("File: %v", err)
	}
}
