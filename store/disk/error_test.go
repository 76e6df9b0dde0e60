package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"slipway/config"
	"slipway/store/git"
)

// TestExplain has each way in which a write can be refused, as the kernel says
// it and as git does: the line says which file system, why, and what is left.
func TestExplain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "not", "there")
	mount := Mount(dir)
	kernel := func(no syscall.Errno) error { return &os.PathError{Op: "write", Path: file, Err: no} }
	said := func(text string) error {
		return fmt.Errorf("take the push: %w", &git.RunError{Args: "index-pack --stdin", Status: 128, Stderr: "fatal: write error: " + text, Err: errors.New("exit status 128")})
	}
	for _, c := range []struct {
		err        error
		cause      syscall.Errno
		text, hint string
	}{
		{kernel(syscall.EDQUOT), syscall.EDQUOT, "write " + file + ": the quota on the file system " + mount + " is used up: ", "raises the quota of the server's account"},
		{said("Disk quota exceeded"), syscall.EDQUOT, "git index-pack: the quota on the file system " + mount + " is used up: ", "raises the quota of the server's account"},
		{kernel(syscall.ENOSPC), syscall.ENOSPC, "write " + file + ": the file system " + mount + " is full: ", "makes room there"},
		{said("No space left on device"), syscall.ENOSPC, "git index-pack: the file system " + mount + " is full: ", "makes room there"},
		{kernel(syscall.EROFS), syscall.EROFS, "write " + file + ": the file system " + mount + " is read-only", "mounts it for writing"},
		{said("Read-only file system"), syscall.EROFS, "git index-pack: the file system " + mount + " is read-only", "mounts it for writing"},
	} {
		got := Explain(c.err, dir)
		if !strings.HasPrefix(got.Error(), c.text) || !strings.Contains(config.Hint(got), c.hint) {
			t.Errorf("%v: %q, hint %q", c.err, got, config.Hint(got))
		}
		if c.cause != syscall.EROFS && !strings.Contains(got.Error(), " are free") && !strings.Contains(got.Error(), "no more files") {
			t.Errorf("%v: what is left is not said: %q", c.err, got)
		}
		if !errors.Is(got, c.cause) || Cause(got) != c.cause {
			t.Errorf("%v: the cause of %q is not found", c.err, got)
		}
		if again := Explain(fmt.Errorf("more: %w", got), dir); strings.Count(again.Error(), mount+" is ") != 1 {
			t.Errorf("explained twice: %q", again)
		}
	}
	for _, other := range []error{nil, io.EOF, kernel(syscall.EACCES), said("Permission denied")} {
		if got := Explain(other, dir); got != other {
			t.Errorf("%v becomes %v", other, got)
		}
	}
}

// TestCheck refuses what cannot fit, with both amounts, before it is written.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := (Write{Path: dir, What: "the tree", Need: Room{Bytes: 1, Files: 1}}).Check(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		w    Write
		want string
	}{
		{Write{Need: Room{Bytes: 1 << 60}}, ": the tree needs 1.0 EiB, "},
		{Write{Need: Room{Bytes: 1 << 60}, AtLeast: true}, ": the tree needs at least 1.0 EiB, "},
	} {
		c.w.Path, c.w.What = filepath.Join(dir, "not", "there"), "the tree"
		if err := c.w.Check(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), c.want) || !strings.HasSuffix(err.Error(), " are free") {
			t.Errorf("%+v: %v", c.w, err)
		}
	}
}
