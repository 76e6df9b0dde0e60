package content

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// child is what a directory must hold: a file, or where that is nil a
// directory.
type child struct {
	name string
	file *File
	size int64 // -1 where not known
}

// pristine fails unless below top is the list, all of it and nothing else, as
// it was at stamp. No content is read: who writes to a file makes its times
// newer.
func (s *Store) pristine(ctx context.Context, l *List, top directory, stamp time.Time, workers int) error {
	var st unix.Stat_t
	if err := unix.Fstat(top.fd, &st); err != nil {
		return top.explain("stat", ".", err)
	}
	if st.Mtim.Nano() > stamp.UnixNano() {
		return fmt.Errorf("%s was changed by somebody else", top.path)
	}
	c := &checker{dev: st.Dev, uid: uint32(os.Geteuid()), stamp: stamp.UnixNano()}
	dirs := []string{""}
	if l != nil {
		dirs = append(dirs, l.dirs...)
	}
	children := s.children(l)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range max(1, min(workers, len(dirs))) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(dirs) {
					return nil
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := c.directory(top, dirs[i], children[dirs[i]]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// children gives what each directory holds, by name.
func (s *Store) children(l *List) map[string][]child {
	children := map[string][]child{}
	if l == nil {
		return children
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range l.files {
		f := &l.files[i]
		if f.Mode == Directory {
			continue
		}
		size := f.Size
		if at, ok := s.index[f.key()]; ok && size < 0 {
			size = at.size
		}
		above := parent(f.Path)
		children[above] = append(children[above], child{name: base(f.Path), file: f, size: size})
	}
	for _, dir := range l.dirs {
		above := parent(dir)
		children[above] = append(children[above], child{name: base(dir)})
	}
	for _, c := range children {
		slices.SortFunc(c, func(a, b child) int { return cmp.Compare(a.name, b.name) })
	}
	return children
}

type checker struct {
	dev   uint64
	uid   uint32
	stamp int64
}

func (c *checker) directory(top directory, path string, want []child) (err error) {
	d, err := top.below(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	names, err := list(d)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for i, w := range want {
		if i >= len(names) || names[i] > w.name {
			return fmt.Errorf("%s is not there any more", join(d.path, show(w.name)))
		}
		if names[i] < w.name {
			return fmt.Errorf("%s was added by somebody else", join(d.path, show(names[i])))
		}
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, w.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return d.explain("stat", w.name, err)
		}
		if what := c.differs(w, &st); what != "" {
			return fmt.Errorf("%s was changed by somebody else: it has another %s", join(d.path, show(w.name)), what)
		}
	}
	if len(names) > len(want) {
		return fmt.Errorf("%s was added by somebody else", join(d.path, show(names[len(want)])))
	}
	return nil
}

// differs names what is not as it was laid.
func (c *checker) differs(w child, st *unix.Stat_t) string {
	kind, perm, mask := uint32(unix.S_IFDIR), uint32(0o755), uint32(0o777)
	switch {
	case w.file == nil:
	case w.file.Mode == Link:
		kind, perm, mask = unix.S_IFLNK, 0, 0
	default:
		kind, perm, mask = unix.S_IFREG, w.file.Mode.perm(), 0o7777
	}
	switch {
	case st.Mode&unix.S_IFMT != kind:
		return "kind"
	case st.Mode&mask != perm:
		return "mode"
	case uint32(st.Uid) != c.uid:
		return "owner"
	case uint64(st.Dev) != c.dev:
		return "file system"
	case st.Mtim.Nano() > c.stamp || st.Ctim.Nano() > c.stamp:
		return "time"
	case w.file != nil && st.Nlink != 1:
		return "number of names"
	case w.file != nil && w.size >= 0 && st.Size != w.size:
		return "size"
	}
	return ""
}
