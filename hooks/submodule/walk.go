package submodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"slipway/config"
	"slipway/store"
	"slipway/store/guard"
)

// walk is one resolution in progress. Levels are read as soon as their commit
// is there, and fetches of different modules run side by side.
type walk struct {
	r     *Resolver
	cfg   *config.Server
	q     Request
	id    string // of a plan that is fetched anew, "" otherwise
	tasks sync.WaitGroup

	mu       sync.Mutex
	reports  []Report
	located  []Located
	warnings []string
	skip     map[string]bool // which of q.Skip was met
	count    int
	fetched  bool
	err      error // that no report bears
}

// level is one repository of the plan at one place.
type level struct {
	repo    Repo
	commit  store.OID
	base    config.SourceURL // of its relative URLs
	written string           // the same as it was written, where instead_of rewrote it
	path    string           // prefix of its modules, "" or with a slash at its end
	chain   []string         // paths of the modules that lead to it, its own the last
	keys    []string         // URL and commit of each of them
}

func (w *walk) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *walk) warn(format string, a ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warnings = append(w.warnings, fmt.Sprintf(format, a...))
}

func (w *walk) report(rep Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, rep)
}

// level finds the modules of one repository and starts on each. The error is
// about the repository itself.
func (w *walk) level(ctx context.Context, l level) error {
	c, err := w.r.read(ctx, l.repo, l.commit)
	if err != nil {
		return err
	}
	where := show(l.path + ".gitmodules")
	refused := w.entries(l, c, where)
	for _, g := range c.links {
		if refused[g.path] {
			continue
		}
		rep := Report{
			Module: store.Module{Path: l.path + g.path, Commit: g.commit},
			Chain:  append(slices.Clone(l.chain), l.path+g.path), Where: where,
		}
		var used []*entry
		for _, e := range c.entries {
			if e.path == g.path {
				used = append(used, e)
			}
		}
		if len(used) > 0 {
			rep.Where = fmt.Sprintf("%s line %d", where, used[0].lineOf())
			rep.Raw = show(used[0].url)
		}
		if slices.Contains(w.q.Skip, rep.Path) || len(used) == 1 && used[0].update == "none" {
			rep.State = Skipped
			w.report(rep)
			w.mu.Lock()
			w.skip[rep.Path] = true
			w.mu.Unlock()
			continue
		}
		m, err := w.check(l, used, &rep)
		if err != nil {
			rep.State, rep.Err = Refused, err
			w.report(rep)
			continue
		}
		if !w.room() {
			return nil
		}
		w.tasks.Go(func() {
			if err := guard.Run(func() error { w.module(ctx, l, m, rep); return nil }); err != nil {
				w.fail(err)
			}
		})
	}
	return nil
}

// room counts a module, and fails the plan once it has too many.
func (w *walk) room() bool {
	w.mu.Lock()
	w.count++
	over := w.count > w.cfg.Limits.Submodules
	w.mu.Unlock()
	if over {
		w.fail(config.Errorf(config.Usage, "an admin can raise [limits] submodules", "the plan has more than %d submodules", w.cfg.Limits.Submodules))
	}
	return !over
}

// entries refuses what no .gitmodules may say, whether a gitlink uses it or
// not, and warns of what is of no use. It returns the paths that it refused.
func (w *walk) entries(l level, c *contents, where string) map[string]bool {
	refused := map[string]bool{}
	linked := slices.DeleteFunc(slices.Clone(c.entries), func(e *entry) bool { return findLink(c.links, e.path) == nil })
	outer, inner := nestedNames(linked)
	for _, e := range c.entries {
		p := checkEntry(e)
		why := c.astray[e.path]
		switch {
		case p != nil:
		case why != "":
			p = &problem{e.pathLine, "its path " + why, "remove the entry from .gitmodules"}
		case e == inner:
			p = &problem{e.line, "its name lies below the name " + show(outer.name), "rename the section in .gitmodules"}
		}
		link := findLink(c.links, e.path)
		switch {
		case p != nil:
			rep := Report{
				Module: store.Module{Path: l.path + e.path}, State: Refused, Raw: show(e.url),
				Where: fmt.Sprintf("%s line %d", where, p.line), Chain: append(slices.Clone(l.chain), l.path+e.path),
			}
			if e.path == "" {
				rep.Path, rep.Chain[len(l.chain)] = l.path+e.name, l.path+e.name
			}
			if link != nil {
				rep.Commit = link.commit
			}
			rep.Err = config.Errorf(config.Usage, p.hint, "%s: %s (%s)", w.name(rep.Chain), p.text, rep.Where)
			refused[e.path] = true
			w.report(rep)
		case link == nil && e.path == "":
			w.warn("%s line %d: submodule %s has no path, ignored", where, e.line, show(e.name))
		case link == nil:
			w.warn("%s line %d: %s is no submodule of this commit, ignored", where, e.line, show(e.path))
		}
	}
	return refused
}

// module has one module at hand and goes on below it.
func (w *walk) module(ctx context.Context, l level, m origin, rep Report) {
	got, err := w.r.ensure(ctx, want{
		src: m.src, url: rep.URL, commit: rep.Commit, dir: w.r.cacheDir(w.id, rep.URL), offline: w.q.Offline,
	})
	rep.Bytes, rep.Took, rep.Said = got.bytes, got.took, got.said
	rep.State = Fetched
	if got.cached {
		rep.State = Cached
	}
	if err != nil {
		w.refuse(rep, err)
		return
	}
	w.mu.Lock()
	w.located = append(w.located, Located{rep.Path, got.dir, rep.Commit})
	w.fetched = w.fetched || !got.cached
	w.mu.Unlock()
	below := level{
		repo: Repo{Dir: got.dir}, commit: rep.Commit, base: rep.URL, written: m.written, path: rep.Path + "/",
		chain: rep.Chain, keys: append(slices.Clone(l.keys), key(rep.URL, rep.Commit)),
	}
	if err := w.level(ctx, below); err != nil {
		w.refuse(rep, err)
		return
	}
	rep.Detail = nil
	w.report(rep)
}

// refuse ends a module with an error. One about a whole source stands alone:
// which module met it first says nothing.
func (w *walk) refuse(rep Report, err error) {
	rep.State = Failed
	if config.KindOf(err) != config.Failed {
		rep.State = Refused
	}
	if d := detailOf(err); len(d) > 0 {
		rep.Detail = d
	}
	if away := (*unreachableError)(nil); errors.As(err, &away) {
		rep.Tries, rep.Detail = fmt.Sprintf("try %d of %d, %s", tries, tries, away.addr), nil
	}
	rep.Err = err
	if !aboutSource(err) {
		rep.Err = &config.Error{Kind: config.KindOf(err), Err: fmt.Errorf("%s: %w", w.name(rep.Chain), err), Hint: config.Hint(err)}
	}
	w.report(rep)
}

func (w *walk) result() Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.reports, func(a, b Report) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(w.located, func(a, b Located) int { return strings.Compare(a.Path, b.Path) })
	for _, s := range w.q.Skip {
		if !w.skip[s] {
			w.warnings = append(w.warnings, fmt.Sprintf("slipway.toml: %s, to be skipped, is no submodule of this commit", show(s)))
		}
	}
	slices.Sort(w.warnings)
	res := Result{
		Plan:    store.Plan{Commit: w.q.Commit, Modules: []store.Module{}},
		Reports: w.reports, Repos: w.located, Warnings: w.warnings,
	}
	fetched := map[string]Report{}
	for _, rep := range w.reports {
		if rep.State == Fetched {
			fetched[key(rep.URL, rep.Commit)] = rep
		}
	}
	first := true
	for i := range w.reports {
		rep := &w.reports[i]
		if f, ok := fetched[key(rep.URL, rep.Commit)]; ok && rep.State == Cached { // it came second, to what this plan fetched
			rep.State, rep.Bytes, rep.Took, rep.Said = Fetched, f.Bytes, f.Took, f.Said
		}
		switch {
		case rep.State == Skipped:
			res.Plan.Skipped = append(res.Plan.Skipped, rep.Path)
		case rep.Err == nil:
			res.Plan.Modules = append(res.Plan.Modules, rep.Module)
		case first:
			first = false // its error is the plan's
		case rep.Tries == "":
			rep.Detail = append(rep.Detail, strings.TrimPrefix(rep.Err.Error(), w.name(rep.Chain)+": "))
		}
	}
	return res
}

// name is how an error speaks of a module: a nested one by the way to it, each
// step from the one above.
func (w *walk) name(paths []string) string {
	if len(paths) == 1 {
		return show(paths[0])
	}
	shown := []string{w.q.AppEnv.App().String()}
	for i, p := range paths {
		if i > 0 {
			p = strings.TrimPrefix(p, paths[i-1]+"/")
		}
		shown = append(shown, show(p))
	}
	return strings.Join(shown, " > ")
}
