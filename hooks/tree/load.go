package tree

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"slipway/config"
	"slipway/store/git"
)

// node is one tree object, however often it is in the tree.
type node struct {
	raw         string
	hash        Hash
	subs        []*node // the directories among its entries, in their order
	parent      *node   // one of those that it is in, nil for the root
	name        string  // its name there
	files, dirs int64   // below it, saturating; valid once counted
	counted     bool
}

// path is one path that leads to the node, from the root of its part.
func (n *node) path() string {
	var names []string
	for ; n.parent != nil; n = n.parent {
		names = append(names, n.name)
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteString(names[i])
		b.WriteByte('/')
	}
	return strings.TrimSuffix(b.String(), "/")
}

// blob is one blob git.Object, however often it is in the tree.
type blob struct {
	size    int64
	link    bool
	attrs   bool   // it is a .gitattributes
	target  string // of a link
	pointer bool   // it is a Git LFS pointer
}

// loaded is a part in memory: every tree object once, and what is known of
// every blob.
type loaded struct {
	part  Part
	root  *node
	blobs map[Hash]*blob
	order []Hash // of blobs, as they were found
}

// budget is what all parts together may have of distinct entries. A tree has
// at least as many files as distinct entries, so what exceeds it is too large
// whatever its shape.
type budget struct {
	lim         Limits
	files, dirs atomic.Int64
}

// huge is where counts stop growing.
const huge = int64(1) << 40

// load reads a part: first the trees, level by level, then what the rules need
// to know of blobs.
func load(ctx context.Context, part Part, b *budget) (*loaded, error) {
	o := git.OpenObjects(ctx, part.Dir, part.Env)
	defer o.Close()
	l := &loaded{part: part, blobs: map[Hash]*blob{}}
	top, err := l.commit(o)
	if err != nil {
		return nil, l.explain("", err)
	}
	if err := l.trees(o, top, b); err != nil {
		return nil, err
	}
	if err := l.count(b.lim); err != nil {
		return nil, err
	}
	if err := l.sizes(o); err != nil {
		return nil, l.explain("", err)
	}
	if err := l.links(o); err != nil {
		return nil, l.explain("", err)
	}
	if b.lim.LFS != "pointers" {
		if err := l.pointers(o); err != nil {
			return nil, l.explain("", err)
		}
	}
	return l, nil
}

const (
	maxCommit = 8 << 20  // bytes of a commit with its message and signatures
	maxTree   = 64 << 20 // bytes of one tree object: a directory of a million files fits
)

func (l *loaded) commit(o *git.Objects) (top Hash, err error) {
	h, err := git.ParseHash(string(l.part.Commit))
	if err != nil {
		return top, err
	}
	err = o.Contents([]Hash{h}, maxCommit, func(_ int, ob git.Object, body []byte) error {
		if ob.Type != "commit" {
			return &git.ObjectError{Hash: h, Text: "is a " + ob.Type + ", not a commit"}
		}
		top, err = commitTree(body)
		return err
	})
	return top, err
}

// explain turns what a reading found into an error about a path of the part.
// dir is the directory that was read, "" for the root or where it is unknown.
func (l *loaded) explain(dir string, err error) error {
	var broken *entryError
	var object *git.ObjectError
	switch {
	case errors.As(err, &broken):
		return refuse(l.part, join(dir, broken.name), broken.hint, "%w", broken.err)
	case errors.As(err, &object):
		return refuse(l.part, cmp.Or(dir, l.find(object.Hash), "."), "git fsck", "%w", err)
	case errors.Is(err, errMalformed):
		return refuse(l.part, cmp.Or(dir, "."), "git fsck", "%w", err)
	case l.part.Path != "":
		return &config.Error{Kind: config.Failed, Op: "submodule", On: show(l.part.Path), Err: err}
	}
	return err
}

// find returns one path of an object of the part, "" if it is not below the
// root.
func (l *loaded) find(h Hash) string {
	seen := map[*node]bool{}
	var search func(n *node) string
	search = func(n *node) string {
		seen[n] = true
		for rest := n.raw; rest != ""; {
			e, next, err := nextEntry(rest)
			if err != nil {
				return ""
			}
			if e.hash == h {
				return join(n.path(), e.name)
			}
			rest = next
		}
		for _, sub := range n.subs {
			if !seen[sub] {
				if path := search(sub); path != "" {
					return path
				}
			}
		}
		return ""
	}
	if l.root == nil {
		return ""
	}
	return search(l.root)
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// trees reads every tree object below top once.
func (l *loaded) trees(o *git.Objects, top Hash, b *budget) error {
	l.root = &node{hash: top}
	known := map[Hash]*node{top: l.root}
	level := []*node{l.root}
	for depth := 0; len(level) > 0; depth++ {
		if depth > b.lim.Depth {
			return l.tooDeep(level[0].path(), b.lim)
		}
		hashes := make([]Hash, len(level))
		for i, n := range level {
			hashes[i] = n.hash
		}
		var at *node
		var next []*node
		err := o.Contents(hashes, maxTree, func(i int, ob git.Object, body []byte) error {
			at = level[i]
			if ob.Type != "tree" {
				return &git.ObjectError{Hash: at.hash, Text: "is a " + ob.Type + ", not a tree"}
			}
			at.raw = string(body)
			return entries(at.raw, func(e rawEntry) error {
				switch e.mode {
				case Directory:
					sub := known[e.hash]
					if sub == nil {
						sub = &node{hash: e.hash, parent: at, name: e.name}
						known[e.hash] = sub
						next = append(next, sub)
					}
					at.subs = append(at.subs, sub)
					return b.add(&b.dirs, "directories")
				case Gitlink:
					return nil
				}
				known := l.blobs[e.hash]
				if known == nil {
					known = &blob{}
					l.blobs[e.hash] = known
					l.order = append(l.order, e.hash)
				}
				if e.mode == Link {
					known.link = true
				} else if e.name == ".gitattributes" {
					known.attrs = true
				}
				return b.add(&b.files, "files")
			})
		})
		var over *limitError
		switch {
		case errors.As(err, &over):
			return over.explain(l.part)
		case err != nil && at != nil:
			return l.explain(at.path(), err)
		case err != nil:
			return l.explain("", err)
		}
		level = next
	}
	return nil
}

func (b *budget) add(n *atomic.Int64, what string) error {
	if n.Add(1) > int64(b.lim.Files) {
		return &limitError{what: what, limit: b.lim.Files}
	}
	return nil
}

func (l *loaded) tooDeep(path string, lim Limits) error {
	return refuse(l.part, path, "", "more than %d directories deep", lim.Depth)
}

// count adds up files and directories below each tree object once, so that a
// tree of 10^10 files made of a dozen objects takes no time.
func (l *loaded) count(lim Limits) error {
	var names []string
	var visit func(n *node, depth int) error
	visit = func(n *node, depth int) error {
		if n.counted {
			return nil
		}
		if depth > lim.Depth {
			return l.tooDeep(strings.Join(names, "/"), lim)
		}
		sub := 0
		for rest := n.raw; rest != ""; {
			e, next, err := nextEntry(rest)
			if err != nil {
				return l.explain(n.path(), err)
			}
			rest = next
			switch e.mode {
			case Directory:
				child := n.subs[sub]
				sub++
				names = append(names, e.name)
				if err := visit(child, depth+1); err != nil {
					return err
				}
				names = names[:len(names)-1]
				n.files = min(huge, n.files+child.files)
				n.dirs = min(huge, n.dirs+child.dirs+1)
			case Gitlink:
				n.dirs = min(huge, n.dirs+1)
			default:
				n.files = min(huge, n.files+1)
			}
		}
		n.counted = true
		return nil
	}
	if err := visit(l.root, 0); err != nil {
		return err
	}
	if n := l.root.files; n > int64(lim.Files) {
		return (&limitError{what: "files", have: n, limit: lim.Files}).explain(l.part)
	}
	if n := l.root.dirs; n > int64(lim.Files) {
		return (&limitError{what: "directories", have: n, limit: lim.Files}).explain(l.part)
	}
	return nil
}
