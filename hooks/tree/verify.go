package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"slipway/config"
)

// written is something that was written: a file, a link or a directory.
type written struct {
	path string
	mode Mode
	size int64 // of a file, -1 where attributes may have changed it
}

// items lists all that a tree is made of, directories first.
func (m *Manifest) items(parts []Part) []written {
	dirs := m.directories()
	all := make([]written, 0, len(dirs)+len(m.Entries))
	for _, path := range dirs {
		all = append(all, written{path, Directory, -1})
	}
	attrs := make([]bool, len(parts))
	for _, e := range m.Entries {
		if isAttributes(e.Path) {
			attrs[e.Part] = true
		}
	}
	for _, e := range m.Entries {
		all = append(all, e.written(attrs[e.Part]))
	}
	return all
}

func (e *Entry) written(attrs bool) written {
	if attrs && e.Mode != Link {
		return written{e.Path, e.Mode, -1}
	}
	return written{e.Path, e.Mode, e.Size}
}

func isAttributes(path string) bool {
	return path == ".gitattributes" || strings.HasSuffix(path, "/.gitattributes")
}

// directories lists the directories of the tree, its root not among them, in
// the order of their paths.
func (m *Manifest) directories() []string {
	all := make([]string, 0, m.Dirs)
	last := ""
	// Paths are sorted, so what has a directory in common stands together.
	above := func(path string) {
		for i := 1; i <= len(path); i++ {
			if i < len(path) && path[i] != '/' {
				continue
			}
			if i <= len(last) && last[:i] == path[:i] && (i == len(last) || last[i] == '/') {
				continue
			}
			all = append(all, path[:i])
		}
		last = path
	}
	for _, e := range m.Entries {
		if dir := parent(e.Path); dir != last {
			above(dir)
		}
	}
	last = ""
	for _, mo := range m.Mounts {
		above(mo.Path)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// verify looks at everything that was written: git may have said nothing of
// what it left out, and an access list on the directory above may have changed
// modes, which are put right. Sizes are compared where no attribute can have
// changed the content. All of it is given to the owner, if there is one.
func verify(ctx context.Context, items []written, dir string, o *Owner) error {
	return below(dir, func(fd int) error {
		return each(ctx, len(items), func(i int) error {
			if err := verifyOne(fd, items[i].path, items[i].mode, items[i].size); err != nil {
				return err
			}
			if o == nil {
				return nil
			}
			if err := unix.Fchownat(fd, items[i].path, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return &fs.PathError{Op: "chown", Path: show(items[i].path), Err: err}
			}
			return nil
		})
	})
}

// below opens a directory itself, never what a link there leads to, for f.
func below(dir string, f func(fd int) error) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return errors.Join(f(fd), os.NewSyscallError("close", unix.Close(fd)))
}

// atOnce is how many one goroutine takes of what each goes through.
const atOnce = 512

// each calls f for every number below n, side by side, until one fails.
func each(ctx context.Context, n int, f func(i int) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), (n+atOnce-1)/atOnce) {
		g.Go(func() error {
			for {
				to := int(next.Add(atOnce))
				if to-atOnce >= n {
					return nil
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				for i := to - atOnce; i < min(to, n); i++ {
					if err := f(i); err != nil {
						return err
					}
				}
			}
		})
	}
	return g.Wait()
}

func verifyOne(fd int, path string, mode Mode, size int64) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &config.Error{Kind: config.Failed, On: show(path), Err: fmt.Errorf("was not written: %w", err)}
	}
	kind, perm := uint32(unix.S_IFREG), uint32(0o644)
	switch mode {
	case Executable:
		perm = 0o755
	case Link:
		kind, perm = unix.S_IFLNK, st.Mode&0o7777
	case Directory:
		kind, perm = unix.S_IFDIR, 0o755
	}
	if st.Mode&unix.S_IFMT != kind || size >= 0 && st.Size != size {
		return &config.Error{Kind: config.Failed, On: show(path), Err: errors.New("was not written as it is in the repository")}
	}
	if st.Mode&0o7777 != perm {
		if err := unix.Fchmodat(fd, path, perm, 0); err != nil {
			return &fs.PathError{Op: "chmod", Path: show(path), Err: err}
		}
	}
	return nil
}
