package content

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Stamp marks the tree in dir as finished: whatever is changed in it later is
// newer than the time that it gives, which is the file system's own.
func Stamp(dir string) (stamp time.Time, err error) {
	d, err := openDirectory(dir)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	if err := unix.UtimesNanoAt(d.fd, ".", []unix.Timespec{now, now}, 0); err != nil {
		return time.Time{}, d.explain("touch", ".", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return time.Time{}, d.explain("stat", ".", err)
	}
	return time.Unix(st.Ctim.Unix()), nil
}

// Update turns dir, in which Lay or Update laid from and Stamp gave stamp, into
// to. First it makes sure that nobody has touched the tree since then; it is an
// error if somebody has. Where Update fails dir may hold a mixture: remove it,
// and lay anew.
func (s *Store) Update(ctx context.Context, from, to *List, dir string, stamp time.Time, workers int) (err error) {
	top, err := openDirectory(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, top.close()) }()
	if err := s.pristine(ctx, from, top, stamp, workers); err != nil {
		return err
	}
	return s.do(ctx, difference(from, to), top, workers)
}

// difference is the work that makes to of from.
func difference(from, to *List) *work {
	w := &work{}
	a, b := from.Files(), to.Files()
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Path < b[0].Path:
			w.gone(&a[0])
			a = a[1:]
		case len(a) == 0 || b[0].Path < a[0].Path:
			w.files = append(w.files, &b[0])
			b = b[1:]
		default:
			w.changed(&a[0], &b[0])
			a, b = a[1:], b[1:]
		}
	}
	w.rmdirs, w.dirs = differentDirs(from, to)
	return w
}

func (w *work) gone(f *File) {
	if f.Mode != Directory {
		w.remove = append(w.remove, f)
	}
}

func (w *work) changed(old, new *File) {
	switch {
	case old.Mode == new.Mode && old.key() == new.key():
	case old.Mode <= Executable && new.Mode <= Executable && old.key() == new.key():
		w.modes = append(w.modes, new)
	default:
		w.gone(old)
		w.files = append(w.files, new)
	}
}

func differentDirs(from, to *List) (removed, added []string) {
	var a, b []string
	if from != nil {
		a = from.dirs
	}
	if to != nil {
		b = to.dirs
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			removed = append(removed, a[0])
			a = a[1:]
		case len(a) == 0 || b[0] < a[0]:
			added = append(added, b[0])
			b = b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	// A directory sorts before what is below it.
	for i, j := 0, len(removed)-1; i < j; i, j = i+1, j-1 {
		removed[i], removed[j] = removed[j], removed[i]
	}
	return removed, added
}

// clear does what comes before anything is made.
func (w *work) clear(ctx context.Context, top directory) error {
	err := eachIn(ctx, top, w.remove, func(d directory, f *File) error {
		name := base(f.Path)
		return d.explain("remove", name, unix.Unlinkat(d.fd, name, 0))
	})
	if err != nil {
		return err
	}
	for _, path := range w.rmdirs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := top.rmdir(path); err != nil {
			return err
		}
	}
	return eachIn(ctx, top, w.modes, func(d directory, f *File) error {
		name := base(f.Path)
		return d.explain("chmod", name, unix.Fchmodat(d.fd, name, f.Mode.perm(), 0))
	})
}

// eachIn calls do for each file with its directory.
func eachIn(ctx context.Context, top directory, files []*File, do func(directory, *File) error) error {
	for len(files) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := someIn(top, files, do)
		if err != nil {
			return err
		}
		files = files[n:]
	}
	return nil
}

// someIn does the first of files, and those behind it in the same directory.
func someIn(top directory, files []*File, do func(directory, *File) error) (n int, err error) {
	above := parent(files[0].Path)
	d, err := top.below(above)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	for n < len(files) && parent(files[n].Path) == above {
		if err := do(d, files[n]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (d directory) rmdir(path string) (err error) {
	above, err := d.below(parent(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, above.close()) }()
	name := base(path)
	return above.explain("remove", name, unix.Unlinkat(above.fd, name, unix.AT_REMOVEDIR))
}
