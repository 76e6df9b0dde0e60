package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrAltered says that a tree is not, or not any more, what its record says.
var ErrAltered = errors.New("the tree is not what its record says")

// Update makes the tree in dir, of which r is the record, the tree of m, so
// that it equals what Write would lay into an empty directory: it proves that
// what is to stay is as it was written, removes what m has not, and has git
// write the rest. Nobody else may be able to reach dir, or to have reached it
// since Survey. Where it fails dir holds something in between: remove it. The
// error is ErrAltered where nothing but a new directory helps.
func Update(ctx context.Context, r *Record, by string, m *Manifest, parts []Part, dir string, o Options) error {
	if err := m.checkParts(parts); err != nil {
		return err
	}
	if r.by != by || r.owner != ownerOf(o) {
		return fmt.Errorf("%w: it was made by another version, or for another account", ErrAltered)
	}
	c := r.compare(m, parts)
	if err := checkRoom(c.files, len(c.newDirs), dir); err != nil {
		return err
	}
	if err := below(dir, func(fd int) error {
		if err := c.prove(ctx, fd); err != nil {
			return fmt.Errorf("%w: %w", ErrAltered, err)
		}
		return c.remove(fd)
	}); err != nil {
		return err
	}
	if err := lay(ctx, m, parts, dir, o, c.write); err != nil {
		return explainWrite(m, dir, err)
	}
	return explainWrite(m, dir, verify(ctx, c.items, dir, o.Owner))
}

// change is what turns one tree into another.
type change struct {
	r       *Record
	oldDirs []string
	keep    []int      // files of the record that stay
	gone    []string   // files and links that go
	empty   []string   // directories that go
	newDirs []string   // directories that come
	files   []Entry    // what is to be written
	write   [][]string // the same by part, each as the part knows it
	items   []written  // the same with the new directories
}

// compare finds out what differs. A file stays if it has the same mode and
// content, belongs to the same repository, and that has the same attributes,
// for those decide how content becomes a file.
func (r *Record) compare(m *Manifest, parts []Part) *change {
	c := &change{r: r, oldDirs: r.manifest.directories(), write: make([][]string, len(parts))}
	paths := make([]string, len(parts))
	for i, p := range parts {
		paths[i] = p.Path
	}
	was, is := attributes(r.manifest, r.parts), attributes(m, paths)
	put := func(e *Entry) {
		c.files = append(c.files, *e)
		below := paths[e.Part]
		if below != "" {
			below += "/"
		}
		c.write[e.Part] = append(c.write[e.Part], strings.TrimPrefix(e.Path, below))
	}
	old, now := r.manifest.Entries, m.Entries
	i, j := 0, 0
	for i < len(old) || j < len(now) {
		order := 0
		switch {
		case i == len(old):
			order = 1
		case j == len(now):
			order = -1
		default:
			order = cmp.Compare(old[i].Path, now[j].Path)
		}
		switch {
		case order < 0:
			c.gone = append(c.gone, old[i].Path)
			i++
			continue
		case order > 0:
			put(&now[j])
			j++
			continue
		}
		a, b := &old[i], &now[j]
		part := paths[b.Part]
		if a.Mode == b.Mode && a.Hash == b.Hash && r.parts[a.Part] == part && was[part] == is[part] {
			c.keep = append(c.keep, i)
		} else {
			c.gone = append(c.gone, a.Path)
			put(b)
		}
		i, j = i+1, j+1
	}
	newDirs := m.directories()
	for _, dir := range c.oldDirs {
		if _, found := slices.BinarySearch(newDirs, dir); !found {
			c.empty = append(c.empty, dir)
		}
	}
	for _, dir := range newDirs {
		if _, found := slices.BinarySearch(c.oldDirs, dir); !found {
			c.newDirs = append(c.newDirs, dir)
			c.items = append(c.items, written{dir, Directory, -1})
		}
	}
	for i := range c.files {
		e := &c.files[i]
		c.items = append(c.items, e.written(is[paths[e.Part]] != ""))
	}
	return c
}

// attributes lists the attribute files of each part that has any, by its path.
func attributes(m *Manifest, parts []string) map[string]string {
	all := map[string]string{}
	for _, e := range m.Entries {
		if isAttributes(e.Path) {
			all[parts[e.Part]] += fmt.Sprintf("%o %s %s\x00", uint32(e.Mode), e.Hash, e.Path)
		}
	}
	return all
}

// prove compares all directories, and the files that stay, with the record. A
// directory that has its time has its names too.
func (c *change) prove(ctx context.Context, fd int) error {
	root, dev, err := stampRoot(fd)
	if err != nil {
		return err
	}
	if root != c.r.root || dev != c.r.dev {
		return errors.New("its directory is another, or has other names in it")
	}
	return each(ctx, len(c.oldDirs)+len(c.keep), func(i int) error {
		var path string
		var want stamp
		if i < len(c.oldDirs) {
			path, want = c.oldDirs[i], c.r.dirs[i]
		} else {
			k := c.keep[i-len(c.oldDirs)]
			path, want = c.r.manifest.Entries[k].Path, c.r.files[k]
		}
		got, err := c.r.stamp(fd, path)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s has changed", show(path))
		}
		return nil
	})
}

// remove removes what goes. All directories are proved, so no path leads out.
func (c *change) remove(fd int) error {
	for _, path := range c.gone {
		if err := unix.Unlinkat(fd, path, 0); err != nil {
			return fmt.Errorf("remove %s: %w", show(path), err)
		}
	}
	for _, path := range slices.Backward(c.empty) { // what is below comes later in the order of paths
		if err := unix.Unlinkat(fd, path, unix.AT_REMOVEDIR); err != nil {
			return fmt.Errorf("remove %s: %w", show(path), err)
		}
	}
	return nil
}
