package hooks

import (
	"context"
	"fmt"
	"slices"

	"slipway/hooks/tree"
	"slipway/store"
)

// Changes is what a release changed since the one that was live before it.
type Changes struct {
	Since   int      `json:"since"` // that release's number, 0 if there was none
	Modules []string `json:"modules"`
	Vars    []string `json:"vars"` // names only
	Added   int      `json:"files_added"`
	Removed int      `json:"files_removed"`
	Changed int      `json:"files_changed"`
}

// Lines shows the changes, one a line.
func (c Changes) Lines() []string {
	var all []string
	for _, m := range c.Modules {
		all = append(all, "module   "+m)
	}
	for _, v := range c.Vars {
		all = append(all, "var      "+v)
	}
	return append(all, fmt.Sprintf("files    +%d -%d ~%d", c.Added, c.Removed, c.Changed))
}

// Compare says what r changed since the last good release before it.
func (s *Server) Compare(ctx context.Context, r *store.Release) (Changes, error) {
	c := Changes{Modules: []string{}, Vars: []string{}}
	all, err := s.o.Store.Releases(ctx, r.AppEnv)
	if err != nil {
		return c, err
	}
	i := slices.IndexFunc(all, func(o store.Release) bool {
		return o.Number < r.Number && (o.State == store.Live || o.State == store.Retired)
	})
	if i < 0 {
		return c, nil
	}
	before := all[i]
	c.Since = before.Number
	old := map[string]store.OID{}
	for _, m := range before.Plan.Modules {
		old[m.Path] = m.Commit
	}
	for _, m := range r.Plan.Modules {
		switch was, ok := old[m.Path]; {
		case !ok:
			c.Modules = append(c.Modules, fmt.Sprintf("%s added at %s", plainly(m.Path), m.Commit.Short()))
		case was != m.Commit:
			c.Modules = append(c.Modules, fmt.Sprintf("%s %s -> %s", plainly(m.Path), was.Short(), m.Commit.Short()))
		}
		delete(old, m.Path)
	}
	for path := range old {
		c.Modules = append(c.Modules, plainly(path)+" removed")
	}
	slices.Sort(c.Modules)
	if c.Vars, err = s.changedVars(ctx, before, *r); err != nil {
		return c, err
	}
	a, err := s.manifest(before.Tree.ID)
	if err != nil || a == nil {
		return c, err
	}
	b, err := s.manifest(r.Tree.ID)
	if err != nil || b == nil {
		return c, err
	}
	c.Added, c.Removed, c.Changed = tree.Diff(a, b)
	return c, nil
}

// changedVars names the vars that differ between two releases.
func (s *Server) changedVars(ctx context.Context, before, now store.Release) ([]string, error) {
	a, err := s.o.Store.ReleaseVars(ctx, before.AppEnv, before.Number)
	if err != nil {
		return nil, err
	}
	b, err := s.o.Store.ReleaseVars(ctx, now.AppEnv, now.Number)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for name, v := range b {
		if old, ok := a[name]; !ok {
			names = append(names, name+" added")
		} else if old != v {
			names = append(names, name+" changed")
		}
	}
	for name := range a {
		if _, ok := b[name]; !ok {
			names = append(names, name+" removed")
		}
	}
	slices.Sort(names)
	return names, nil
}
