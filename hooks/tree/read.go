package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"slipway/config"
	"slipway/store"
	"slipway/store/guard"
)

// What a tree may have where Limits says nothing.
const (
	defaultFiles = 500_000
	maxPath      = 4095
	maxDepth     = 256
)

// limitError is a tree that has more of something than the admin allows.
type limitError struct {
	what  string // files, directories
	have  int64  // 0 if it was not counted to the end
	limit int
}

func (e *limitError) Error() string {
	limit := humanize.Comma(int64(e.limit))
	switch {
	case e.have == 0:
		return fmt.Sprintf("the tree has more than the %s %s that are allowed", limit, e.what)
	case e.have >= huge:
		return fmt.Sprintf("the tree has more than %s %s; %s are allowed", humanize.Comma(huge), e.what, limit)
	}
	return fmt.Sprintf("the tree has %s %s; %s are allowed", humanize.Comma(e.have), e.what, limit)
}

func (e *limitError) explain(part Part) error {
	err := &config.Error{Kind: config.Failed, Err: e, Hint: "ask an admin to raise tree_files in server.toml"}
	if part.Path != "" {
		err.Op, err.On = "submodule", show(part.Path)
	}
	return err
}

// Read walks every part's raw trees, whole, before anything is written, and
// checks all rules; it returns the list of all files. parts must hold the app
// itself and everything that fills a gitlink, skip the gitlinks that are to
// stay empty directories, both by their paths from the root. An error about
// what was pushed is a *config.Error that names the path.
func Read(ctx context.Context, parts []Part, skip []string, lim Limits) (*Manifest, error) {
	if lim.Files <= 0 {
		lim.Files = defaultFiles
	}
	lim.PathBytes = bound(lim.PathBytes, maxPath)
	lim.Depth = bound(lim.Depth, maxDepth)

	all := make([]*loaded, len(parts))
	b := &budget{lim: lim}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, p := range parts {
		g.Go(func() error {
			return guard.Run(func() (err error) { all[i], err = load(gctx, p, b); return err })
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}

	var files, dirs int64
	for _, l := range all {
		files, dirs = files+l.root.files, dirs+l.root.dirs
	}
	if files > int64(lim.Files) {
		return nil, (&limitError{what: "files", have: files, limit: lim.Files}).explain(Part{})
	}
	if dirs > int64(lim.Files) {
		return nil, (&limitError{what: "directories", have: dirs, limit: lim.Files}).explain(Part{})
	}
	m := &Manifest{Entries: make([]Entry, 0, files), Dirs: int(dirs)}
	for i, l := range all {
		e := expansion{m: m, l: l, part: i, lim: lim}
		prefix, depth := "", 0
		if l.part.Path != "" {
			prefix, depth = l.part.Path+"/", strings.Count(l.part.Path, "/")+1
		}
		if err := e.walk(l.root, prefix, depth); err != nil {
			return nil, err
		}
	}
	if err := m.mount(parts, skip); err != nil {
		return nil, err
	}
	if err := m.finish(); err != nil {
		return nil, err
	}
	if lim.Bytes > 0 && m.Bytes > lim.Bytes {
		return nil, config.Errorf(config.Failed, "ask an admin to raise tree_bytes in server.toml",
			"the tree has %s; %s are allowed", humanize.IBytes(uint64(m.Bytes)), humanize.IBytes(uint64(lim.Bytes)))
	}
	if lim.Links == "inside" {
		if err := m.checkInside(all); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func bound(n, most int) int {
	if n <= 0 || n > most {
		return most
	}
	return n
}

// expansion lists the files of one part. It runs after the counts were found
// to be within the limits.
type expansion struct {
	m    *Manifest
	l    *loaded
	part int
	lim  Limits
}

func (x *expansion) walk(n *node, prefix string, depth int) error {
	if depth > x.lim.Depth {
		return x.l.tooDeep(x.below(strings.TrimSuffix(prefix, "/")), x.lim)
	}
	sub := 0
	for rest := n.raw; rest != ""; {
		e, next, err := nextEntry(rest)
		if err != nil {
			return x.l.explain(x.below(prefix), err)
		}
		rest = next
		path := prefix + e.name
		switch {
		case len(path) > x.lim.PathBytes:
			return refuse(x.l.part, x.below(path), renameHint, "a path of %d bytes; %d are allowed", len(path), x.lim.PathBytes)
		case path == reserved:
			return refuse(x.l.part, path, renameHint, "a name that is Slipway's own")
		case e.mode == Directory:
			if err := x.walk(n.subs[sub], path+"/", depth+1); err != nil {
				return err
			}
			sub++
		case e.mode == Gitlink:
			x.m.Mounts = append(x.m.Mounts, Mount{Path: path, Commit: e.hash})
		default:
			b := x.l.blobs[e.hash]
			if err := x.check(e, b); err != nil {
				return refuse(x.l.part, x.below(path), config.Hint(err), "%w", err)
			}
			x.m.Entries = append(x.m.Entries, Entry{Path: path, Mode: e.mode, Hash: e.hash, Size: b.size, Part: x.part})
		}
	}
	return nil
}

// below is a path as its submodule knows it.
func (x *expansion) below(path string) string {
	if x.l.part.Path == "" {
		return path
	}
	return strings.TrimPrefix(path, x.l.part.Path+"/")
}

// check applies the rules that need to know the blob.
func (x *expansion) check(e rawEntry, b *blob) error {
	switch {
	case e.mode == Link && b.size == 0:
		return errors.New("a symbolic link to nothing")
	case e.mode == Link && b.size > maxTarget:
		return fmt.Errorf("a symbolic link to a path of %d bytes; %d are allowed", b.size, maxTarget)
	case e.mode == Link && strings.IndexByte(b.target, 0) >= 0:
		return errors.New("a symbolic link whose target has a NUL byte in it")
	case x.lim.Blob > 0 && b.size > x.lim.Blob:
		return config.Errorf(config.Failed, "ask an admin to raise blob_bytes in server.toml",
			"a file of %s; %s are allowed", humanize.IBytes(uint64(b.size)), humanize.IBytes(uint64(x.lim.Blob)))
	case e.mode != Link && b.pointer && x.lim.LFS != "pointers":
		return config.Errorf(config.Failed, `commit the file itself (git lfs untrack), or set [build] lfs = "pointers" in slipway.toml`,
			"a Git LFS pointer, not the file; LFS is not served")
	}
	return nil
}

// reserved is the one name in the root that is not the app's: Write keeps its
// indexes there while it works.
const reserved = ".slipway"

// mount checks that parts and gitlinks are the same places at the same
// commits. A part then cannot lie below a link, nor among the parent's files:
// its mount is an entry of its parent's tree, and a name is there only once.
func (m *Manifest) mount(parts []Part, skip []string) error {
	slices.SortFunc(m.Mounts, func(a, b Mount) int { return cmp.Compare(a.Path, b.Path) })
	filled := make(map[string]bool, len(parts))
	for _, p := range parts {
		if filled[p.Path] {
			return fmt.Errorf("two parts of the tree at %s", show(p.Path))
		}
		filled[p.Path] = true
		if p.Path == "" {
			continue
		}
		i, found := slices.BinarySearchFunc(m.Mounts, p.Path, func(a Mount, path string) int { return cmp.Compare(a.Path, path) })
		if !found {
			return refuse(Part{}, p.Path, "", "the tree has no submodule there")
		}
		if got := store.OID(m.Mounts[i].Commit.String()); got != p.Commit {
			return refuse(Part{}, p.Path, "", "the submodule is pinned to %s, not to %s", got, p.Commit)
		}
	}
	if !filled[""] {
		return errors.New("the tree has no part at its root")
	}
	for i := range m.Mounts {
		path := m.Mounts[i].Path
		if filled[path] {
			continue
		}
		if !slices.Contains(skip, path) {
			return refuse(Part{}, path, "remove it (git rm --cached PATH), or add it to .gitmodules",
				"a submodule that is not in the plan")
		}
		m.Mounts[i].Skipped = true
	}
	return nil
}
