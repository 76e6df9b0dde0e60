package submodule

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"slipway/config"
	"slipway/store"
	"slipway/store/git"
)

const (
	maxModules = 1 << 20  // bytes of one .gitmodules
	maxObject  = 64 << 20 // bytes of one tree or commit
	maxDepth   = 256      // directories above a gitlink
)

// gitlink is one submodule in a tree.
type gitlink struct {
	path   string
	commit store.OID
}

// contents is what a plan needs to know of one commit.
type contents struct {
	links   []gitlink // by path
	entries []*entry
	astray  map[string]string // paths of entries without gitlink that lie where none can be, and why
}

// memory keeps what was read of commits and trees. An object's name decides
// its content, so this holds for every repository that has the object; whether
// one has it is asked before. Full, it is emptied.
type memory struct {
	mu      sync.Mutex
	commits map[store.OID]*contents
	plain   map[string]bool // raw names of trees without a gitlink below
}

const (
	maxCommits = 4096
	maxPlain   = 1 << 18
)

func (m *memory) commit(id store.OID) *contents {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits[id]
}

func (m *memory) remember(id store.OID, c *contents) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.commits == nil || len(m.commits) >= maxCommits {
		m.commits = map[store.OID]*contents{}
	}
	m.commits[id] = c
}

func (m *memory) isPlain(tree string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plain[tree]
}

func (m *memory) rememberPlain(trees []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plain == nil || len(m.plain)+len(trees) > maxPlain {
		m.plain = make(map[string]bool, len(trees))
	}
	for _, t := range trees[:min(len(trees), maxPlain)] {
		m.plain[t] = true
	}
}

// read finds the gitlinks of a commit and what its .gitmodules says. Each tree
// is read once, wherever and however often it appears, so that one which
// unfolds to millions of paths costs no more than its objects.
func (r *Resolver) read(ctx context.Context, repo Repo, commit store.OID) (*contents, error) {
	if c := r.memory.commit(commit); c != nil {
		return c, nil
	}
	cat, err := git.OpenCat(ctx, repo.Dir, repo.Env)
	if err != nil {
		return nil, err
	}
	c, err := r.readCommit(cat, commit)
	if cerr := cat.Close(); err == nil && cerr != nil {
		return nil, cerr
	}
	if err == nil {
		r.memory.remember(commit, c)
	}
	return c, err
}

func (r *Resolver) readCommit(cat *git.Cat, commit store.OID) (*contents, error) {
	limits := r.o.Config().Limits
	head, err := object(cat, string(commit), "commit", maxObject)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	name, ok := bytes.CutPrefix(line, []byte("tree "))
	root, err := hex.DecodeString(string(name))
	if !ok || err != nil || len(root) != 20 {
		return nil, fmt.Errorf("commit %s is malformed", commit)
	}
	w := &linkWalk{cat: cat, memory: &r.memory, most: limits.Submodules, trees: limits.TreeFiles, seen: map[string][]gitlink{}}
	c := &contents{astray: map[string]string{}}
	if c.links, err = w.tree(string(root), 0); err != nil {
		return nil, err
	}
	r.memory.rememberPlain(w.plain)
	slices.SortFunc(c.links, func(a, b gitlink) int { return strings.Compare(a.path, b.path) })
	mode, id, err := w.lookup(string(root), ".gitmodules")
	switch {
	case err != nil:
		return nil, err
	case mode == "":
		return c, nil
	case mode != "100644" && mode != "100755":
		return nil, config.Errorf(config.Usage, "make it a plain file", ".gitmodules is not a plain file")
	}
	text, err := object(cat, hex.EncodeToString([]byte(id)), "blob", maxModules)
	var large *git.TooLargeError
	if errors.As(err, &large) {
		return nil, config.Errorf(config.Usage, "", ".gitmodules has %d bytes, more than %d", large.Size, large.Limit)
	}
	if err != nil {
		return nil, err
	}
	if c.entries, err = parseEntries(text); err != nil {
		return nil, config.Errorf(config.Usage, "git config -f .gitmodules --list shows it", ".gitmodules %w", err)
	}
	return c, w.findAstray(string(root), c)
}

// findAstray looks at entries that no gitlink uses.
func (w *linkWalk) findAstray(root string, c *contents) error {
	for _, e := range c.entries {
		if e.path == "" || findLink(c.links, e.path) != nil || checkPath(e.path) != "" {
			continue
		}
		why, err := w.blocked(root, c.links, e.path)
		if err != nil {
			return err
		}
		if why != "" {
			c.astray[e.path] = why
		}
	}
	return nil
}

func findLink(links []gitlink, path string) *gitlink {
	i, ok := slices.BinarySearchFunc(links, path, func(g gitlink, p string) int { return strings.Compare(g.path, p) })
	if !ok {
		return nil
	}
	return &links[i]
}

// object reads one object and checks its kind.
func object(cat *git.Cat, id, kind string, limit int64) ([]byte, error) {
	o, b, err := cat.Read(id, limit)
	if err == nil && o.Type != kind {
		return nil, fmt.Errorf("object %s is a %s, not a %s", id, o.Type, kind)
	}
	return b, err
}

// linkWalk reads the trees of one commit. Names of objects are raw here, 20
// bytes.
type linkWalk struct {
	cat    *git.Cat
	memory *memory
	most   int // gitlinks
	trees  int // different directories
	seen   map[string][]gitlink
	plain  []string
}

// tree returns the gitlinks below a tree, with paths from it.
func (w *linkWalk) tree(id string, depth int) ([]gitlink, error) {
	if found, ok := w.seen[id]; ok {
		return found, nil
	}
	if w.memory.isPlain(id) {
		w.seen[id] = nil
		return nil, nil
	}
	if depth > maxDepth {
		return nil, config.Errorf(config.Usage, "", "the tree is deeper than %d directories", maxDepth)
	}
	if len(w.seen) >= w.trees {
		return nil, config.Errorf(config.Usage, "an admin can raise [limits] tree_files", "the tree has more than %d directories", w.trees)
	}
	w.seen[id] = nil
	var found []gitlink
	err := w.each(id, func(mode, name, id string) error {
		switch mode {
		case "160000":
			found = append(found, gitlink{name, store.OID(hex.EncodeToString([]byte(id)))})
		case "40000", "040000":
			below, err := w.tree(id, depth+1)
			if err != nil {
				return err
			}
			for _, g := range below {
				found = append(found, gitlink{name + "/" + g.path, g.commit})
			}
		}
		if len(found) > w.most {
			return config.Errorf(config.Usage, "an admin can raise [limits] submodules", "the tree has more than %d submodules", w.most)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		w.plain = append(w.plain, id)
	}
	w.seen[id] = found
	return found, nil
}

// each calls f for every entry of a tree.
func (w *linkWalk) each(id string, f func(mode, name, id string) error) error {
	raw, err := object(w.cat, hex.EncodeToString([]byte(id)), "tree", maxObject)
	if err != nil {
		return err
	}
	for len(raw) > 0 {
		mode, rest, ok := bytes.Cut(raw, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < 20 || len(name) == 0 {
			return fmt.Errorf("tree %x is malformed", id)
		}
		if err := f(string(mode), string(name), string(rest[:20])); err != nil {
			return err
		}
		raw = rest[20:]
	}
	return nil
}

// lookup finds one entry of a tree, mode "" if it is not there.
func (w *linkWalk) lookup(tree, want string) (mode, id string, err error) {
	err = w.each(tree, func(m, name, i string) error {
		if name == want {
			mode, id = m, i
		}
		return nil
	})
	return mode, id, err
}

// blocked says why nothing can be checked out at a path: another submodule or
// a symbolic link stands on the way.
func (w *linkWalk) blocked(root string, links []gitlink, path string) (why string, err error) {
	tree := root
	names := strings.Split(path, "/")
	for i, name := range names {
		at := strings.Join(names[:i+1], "/")
		if i < len(names)-1 && findLink(links, at) != nil {
			return "lies inside the submodule " + show(at), nil
		}
		mode, id, err := w.lookup(tree, name)
		switch {
		case err != nil:
			return "", err
		case mode == "120000":
			return "leads over the symbolic link " + show(at), nil
		case mode != "40000" && mode != "040000":
			return "", nil
		}
		tree = id
	}
	return "", nil
}
