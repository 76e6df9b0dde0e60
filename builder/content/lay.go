package content

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Lay lays the list into dir, an empty directory that nobody else can enter,
// with workers doing so at once. Modes are 0644 and 0755, whatever the umask.
// Nothing is synced. Where Lay fails dir holds a part of the tree: remove it.
func (s *Store) Lay(ctx context.Context, l *List, dir string, workers int) (err error) {
	top, err := openDirectory(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, top.close()) }()
	if err := checkEmpty(top); err != nil {
		return err
	}
	w := &work{dirs: l.dirs, files: make([]*File, len(l.files))}
	for i := range l.files {
		w.files[i] = &l.files[i]
	}
	return s.do(ctx, w, top, workers)
}

// work is what has to be done below a directory, in this order.
type work struct {
	remove []*File
	rmdirs []string // those below first
	modes  []*File
	dirs   []string // those above first
	files  []*File  // and links
}

// need gives an estimate from above of what the work takes.
func (w *work) need(from *sources) func(blockSize int64) room {
	return func(blockSize int64) room {
		n := room{inodes: int64(len(w.files) + len(w.dirs)), bytes: int64(len(w.dirs)) * blockSize}
		for _, f := range w.files {
			if f.Mode == Regular || f.Mode == Executable {
				n.bytes += (from.places[f.key()].size + blockSize - 1) / blockSize * blockSize
			}
		}
		return n
	}
}

// batch is how many files of one directory a worker takes at once.
const batch = 128

func (s *Store) do(ctx context.Context, w *work, top directory, workers int) (err error) {
	from, err := s.take(w.files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.release()) }()
	need := w.need(from)
	if err := checkRoom(top.path, need); err != nil {
		return err
	}
	return explain(top.path, need, w.all(ctx, top, from, workers))
}

// all does the work.
func (w *work) all(ctx context.Context, top directory, from *sources, workers int) error {
	if err := w.clear(ctx, top); err != nil {
		return err
	}
	for i := 0; i < len(w.dirs); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := makeDirs(top, w.dirs[i:])
		if err != nil {
			return err
		}
		i += n
	}
	files, links := w.batches()
	if err := run(ctx, top, files, from, workers); err != nil {
		return err
	}
	// Nothing is written below a path any more when links appear on it.
	return run(ctx, top, links, from, workers)
}

// makeDirs makes the first of dirs, and those behind it in the same directory.
func makeDirs(top directory, dirs []string) (n int, err error) {
	above := parent(dirs[0])
	d, err := top.below(above)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	for n < len(dirs) && parent(dirs[n]) == above {
		if err := d.mkdir(base(dirs[n])); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// batches groups the files by directory, and the links apart, in the order of
// the list: contents were sent in it too.
func (w *work) batches() (files, links [][]*File) {
	open := map[string]int{}
	linked := map[string]int{}
	for _, f := range w.files {
		if f.Mode == Directory {
			continue
		}
		at, all := open, &files
		if f.Mode == Link {
			at, all = linked, &links
		}
		above := parent(f.Path)
		i, ok := at[above]
		if !ok || len((*all)[i]) == batch {
			i = len(*all)
			at[above] = i
			*all = append(*all, nil)
		}
		(*all)[i] = append((*all)[i], f)
	}
	return files, links
}

func run(ctx context.Context, top directory, batches [][]*File, from *sources, workers int) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range max(1, min(workers, len(batches))) {
		g.Go(func() error {
			c := &copier{from: from}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(batches) {
					return nil
				}
				if err := c.batch(ctx, top, batches[i]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func checkEmpty(d directory) error {
	names, err := list(d)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%s is not empty", d.path)
	}
	return nil
}
