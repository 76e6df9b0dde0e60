package submodule

import (
	"bytes"
	"context"
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
	plain   map[git.Hash]bool // trees without a gitlink below
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

func (m *memory) isPlain(tree git.Hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plain[tree]
}

func (m *memory) rememberPlain(trees []git.Hash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plain == nil || len(m.plain)+len(trees) > maxPlain {
		m.plain = make(map[git.Hash]bool, len(trees))
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
	objects := git.OpenObjects(ctx, repo.Dir, repo.Env)
	defer objects.Close()
	c, err := r.readCommit(objects, commit)
	if err == nil {
		r.memory.remember(commit, c)
	}
	return c, err
}

func (r *Resolver) readCommit(objects *git.Objects, commit store.OID) (*contents, error) {
	limits := r.o.Config().Limits
	id, err := git.ParseHash(string(commit))
	if err != nil {
		return nil, err
	}
	head, err := object(objects, id, "commit", maxObject)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	name, ok := bytes.CutPrefix(line, []byte("tree "))
	root, err := git.ParseHash(string(name))
	if !ok || err != nil {
		return nil, fmt.Errorf("commit %s is malformed", commit)
	}
	w := &linkWalk{
		objects: objects, memory: &r.memory, most: limits.Submodules, trees: limits.TreeFiles,
		folders: map[git.Hash]*folder{}, seen: map[git.Hash][]gitlink{},
	}
	c := &contents{astray: map[string]string{}}
	if err := w.load(root); err != nil {
		return nil, err
	}
	if c.links, err = w.tree(root, 0); err != nil {
		return nil, err
	}
	r.memory.rememberPlain(w.plain)
	slices.SortFunc(c.links, func(a, b gitlink) int { return strings.Compare(a.path, b.path) })
	mode, id, err := w.lookup(root, ".gitmodules")
	switch {
	case err != nil:
		return nil, err
	case mode == "":
		return c, nil
	case mode != "100644" && mode != "100755":
		return nil, config.Errorf(config.Usage, "make it a plain file", ".gitmodules is not a plain file")
	}
	text, err := object(objects, id, "blob", maxModules)
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
	return c, w.findAstray(root, c)
}

// findAstray looks at entries that no gitlink uses.
func (w *linkWalk) findAstray(root git.Hash, c *contents) error {
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

// object reads one object and checks its type.
func object(objects *git.Objects, id git.Hash, kind string, limit int64) (content []byte, err error) {
	err = objects.Contents([]git.Hash{id}, limit, func(_ int, o git.Object, body []byte) error {
		content = body
		return mustBe(id, o, kind)
	})
	return content, err
}

func mustBe(id git.Hash, o git.Object, kind string) error {
	if o.Type != kind {
		return fmt.Errorf("object %s is a %s, not a %s", id, o.Type, kind)
	}
	return nil
}

// linkWalk reads the trees of one commit.
type linkWalk struct {
	objects *git.Objects
	memory  *memory
	most    int // gitlinks
	trees   int // different directories
	folders map[git.Hash]*folder
	seen    map[git.Hash][]gitlink
	plain   []git.Hash
}

// folder is what matters of one tree object: its gitlinks, and the trees in it.
type folder struct {
	links []gitlink
	names []string // of subs
	subs  []git.Hash
}

// load reads the trees below root, all of a level at once. Those that are known
// to have no gitlink below are left out.
func (w *linkWalk) load(root git.Hash) error {
	level := []git.Hash{root}
	for len(level) > 0 {
		var next []git.Hash
		err := w.objects.Contents(level, maxObject, func(i int, o git.Object, raw []byte) error {
			if err := mustBe(level[i], o, "tree"); err != nil {
				return err
			}
			f := &folder{}
			w.folders[level[i]] = f
			return each(level[i], raw, func(mode, name string, id git.Hash) error {
				switch mode {
				case "160000":
					f.links = append(f.links, gitlink{name, store.OID(id.String())})
				case "40000", "040000":
					if w.memory.isPlain(id) {
						return nil
					}
					f.names, f.subs = append(f.names, name), append(f.subs, id)
					if _, known := w.folders[id]; !known {
						w.folders[id] = nil // on its way
						next = append(next, id)
					}
				}
				if len(f.links) > w.most {
					return w.tooMany()
				}
				if len(w.folders) > w.trees {
					return config.Errorf(config.Usage, "an admin can raise [limits] tree_files", "the tree has more than %d directories", w.trees)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		level = next
	}
	return nil
}

// tree returns the gitlinks below a tree that was read, with paths from it.
func (w *linkWalk) tree(id git.Hash, depth int) ([]gitlink, error) {
	if found, ok := w.seen[id]; ok {
		return found, nil
	}
	if depth > maxDepth {
		return nil, config.Errorf(config.Usage, "", "the tree is deeper than %d directories", maxDepth)
	}
	f := w.folders[id]
	found := f.links
	for i, sub := range f.subs {
		below, err := w.tree(sub, depth+1)
		if err != nil {
			return nil, err
		}
		for _, g := range below {
			found = append(found, gitlink{f.names[i] + "/" + g.path, g.commit})
		}
		if len(found) > w.most {
			break
		}
	}
	if len(found) > w.most {
		return nil, w.tooMany()
	}
	if len(found) == 0 {
		w.plain = append(w.plain, id)
	}
	w.seen[id] = found
	return found, nil
}

func (w *linkWalk) tooMany() error {
	return config.Errorf(config.Usage, "an admin can raise [limits] submodules", "the tree has more than %d submodules", w.most)
}

// each calls f for every entry of a tree object.
func each(tree git.Hash, raw []byte, f func(mode, name string, id git.Hash) error) error {
	for len(raw) > 0 {
		mode, rest, ok := bytes.Cut(raw, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < len(tree) || len(name) == 0 {
			return fmt.Errorf("tree %s is malformed", tree)
		}
		if err := f(string(mode), string(name), git.Hash(rest[:len(tree)])); err != nil {
			return err
		}
		raw = rest[len(tree):]
	}
	return nil
}

// lookup finds one entry of a tree, mode "" if it is not there.
func (w *linkWalk) lookup(tree git.Hash, want string) (mode string, id git.Hash, err error) {
	raw, err := object(w.objects, tree, "tree", maxObject)
	if err != nil {
		return "", id, err
	}
	err = each(tree, raw, func(m, name string, i git.Hash) error {
		if name == want {
			mode, id = m, i
		}
		return nil
	})
	return mode, id, err
}

// blocked says why nothing can be checked out at a path: another submodule or
// a symbolic link stands on the way.
func (w *linkWalk) blocked(root git.Hash, links []gitlink, path string) (why string, err error) {
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
