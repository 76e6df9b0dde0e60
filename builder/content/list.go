package content

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a list, which hold for what is made here and for what comes in.
const (
	maxFiles = 4 << 20
	maxPaths = 256 << 20 // bytes of all paths together
	maxPath  = 4095
	maxName  = 255
	maxLink  = 4095
	maxSize  = 1 << 50
)

// List is a tree by its contents. A list that exists is valid: its paths are
// sorted, stay below the tree, and can all be there at once.
type List struct {
	files []File
	dirs  []string // every directory but the root, those above first
}

// NewList makes a list of files in any order. It keeps the slice.
func NewList(files []File) (*List, error) {
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	l := &List{files: files}
	if err := l.check(); err != nil {
		return nil, err
	}
	return l, nil
}

// Files returns the files, sorted by path. They are the list's own: not to be
// changed.
func (l *List) Files() []File {
	if l == nil {
		return nil
	}
	return l.files
}

// Len is the number of files, links and directories that the list names.
func (l *List) Len() int { return len(l.Files()) }

// Size adds up the sizes that are known.
func (l *List) Size() (n int64) {
	for i := range l.Files() {
		n += max(0, l.files[i].Size)
	}
	return n
}

// check proves the list, and finds its directories.
func (l *List) check() error {
	if len(l.files) > maxFiles {
		return fmt.Errorf("a list of %d files; %d are allowed", len(l.files), maxFiles)
	}
	dirs := map[string]bool{}
	paths, size, last := 0, int64(0), ""
	for i := range l.files {
		f := &l.files[i]
		if err := f.check(); err != nil {
			return err
		}
		if i > 0 && f.Path <= l.files[i-1].Path {
			return fmt.Errorf("%s is in the list twice, or out of order", show(f.Path))
		}
		if size += max(0, f.Size); size > maxSize {
			return errors.New("a list of too many bytes")
		}
		above := f.Path
		if f.Mode != Directory {
			above = parent(f.Path)
		}
		if above != last {
			for at := above; at != "" && !dirs[at]; at = parent(at) {
				dirs[at] = true
				// A list of deep paths names more directories than files.
				if paths += len(at); len(dirs) > maxFiles {
					return errors.New("a list of too many directories")
				}
			}
			last = above
		}
		if paths += len(f.Path); paths > maxPaths {
			return errors.New("a list of paths that are too long together")
		}
	}
	for i := range l.files {
		if f := &l.files[i]; f.Mode != Directory && dirs[f.Path] {
			return fmt.Errorf("%s is a file, and a directory of others", show(f.Path))
		}
	}
	l.dirs = make([]string, 0, len(dirs))
	for dir := range dirs {
		l.dirs = append(l.dirs, dir)
	}
	slices.Sort(l.dirs)
	return nil
}

func (f *File) check() error {
	if err := checkPath(f.Path); err != nil {
		return fmt.Errorf("%s: %w", show(f.Path), err)
	}
	bad := ""
	switch {
	case f.Mode > Directory:
		bad = "an unknown mode"
	case f.Size < -1 || f.Size > maxSize:
		bad = "an impossible size"
	case f.Mode == Directory && (f.Size != 0 || f.Exact || f.ID != ID{}):
		bad = "a directory with a content"
	case f.Mode == Link && (f.Size > maxLink || f.Size == 0):
		bad = "a link that leads nowhere, or is too long"
	}
	if bad != "" {
		return fmt.Errorf("%s: %s", show(f.Path), bad)
	}
	return nil
}

// checkPath takes what names one place below a directory, in one way.
func checkPath(path string) error {
	if len(path) > maxPath {
		return errors.New("a path that is too long")
	}
	if strings.IndexByte(path, 0) >= 0 {
		return errors.New("a path with a NUL in it")
	}
	for rest, more := path, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		if name == "" || name == "." || name == ".." {
			return errors.New("a path that is not plain and below the tree")
		}
		if len(name) > maxName {
			return errors.New("a name that is too long")
		}
	}
	return nil
}

// parent is the path of the directory of path, "" for the root.
func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}

// base is the last name of path.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// show is a path as people may see it: ASCII, bounded.
func show(path string) string {
	const most = 160
	if len(path) > most {
		path = path[:most/2] + "..." + path[len(path)-most/2:]
	}
	return strconv.QuoteToASCII(path)
}
