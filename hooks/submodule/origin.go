package submodule

import (
	"fmt"
	"slices"
	"strings"

	"slipway/config"
	"slipway/store"
)

// origin is where a module is to come from.
type origin struct {
	src     *config.Source
	written string // its URL as it was written, if instead_of rewrote it
}

// check decides, without any network, whether a module may be fetched, and
// from where. What it finds goes into the report.
func (w *walk) check(l level, used []*entry, rep *Report) (origin, error) {
	name := w.name(rep.Chain)
	refuse := func(hint, format string, a ...any) (origin, error) {
		return origin{}, config.Errorf(config.Usage, hint, "%s: %s", name, fmt.Sprintf(format, a...))
	}
	if len(l.chain) >= w.cfg.Limits.SubmoduleDepth {
		return refuse("an admin can raise [limits] submodule_depth", "submodules are nested deeper than %d", w.cfg.Limits.SubmoduleDepth)
	}
	if len(used) == 0 {
		local := shellWord(strings.TrimPrefix(rep.Path, l.path))
		return refuse("git rm --cached "+local+", or add it with git submodule add URL "+local,
			"gitlink without an entry in %s, so it has no URL", rep.Where)
	}
	e := used[0]
	if len(used) > 1 {
		return refuse("keep one entry for each path", "the entry %s has the same path (%s)", show(used[1].name), rep.Where)
	}
	if e.url == "" {
		return refuse("git config -f .gitmodules "+shellWord("submodule."+e.name+".url")+" URL", "its entry has no url (%s)", rep.Where)
	}
	url, written, err := w.url(l, e.url)
	if err != nil {
		return origin{}, &config.Error{Kind: config.Usage, Err: fmt.Errorf("%s: %w (%s)", name, err, rep.Where), Hint: config.Hint(err)}
	}
	rep.URL = url
	rep.Detail = append(rep.Detail, fmt.Sprintf("%s (%s)", address(url), rep.Where))
	if slices.Contains(l.keys, key(url, rep.Commit)) {
		return refuse("pin another commit of it", "the submodule contains itself, at the same commit")
	}
	src := w.cfg.Source(w.q.AppEnv, url)
	if src == nil {
		return origin{}, config.Errorf(config.Denied, w.noSource(url), "%s: no source of %s covers its URL", name, w.q.AppEnv)
	}
	rep.Source = src.URL.String()
	return origin{src, written}, nil
}

// key tells a module that contains itself.
func key(url config.SourceURL, commit store.OID) string { return url.String() + " " + string(commit) }

// url resolves what .gitmodules says: a relative URL below that of the
// repository above it, as that was written; then instead_of rewrites it.
func (w *walk) url(l level, raw string) (url config.SourceURL, written string, err error) {
	switch {
	case !config.IsRelativeURL(raw):
	case l.written != "":
		text, ok := relative(l.written, raw)
		if !ok {
			return url, "", config.Errorf(config.Usage, "use fewer ../, or an absolute URL", "the URL %s leads above its host", show(raw))
		}
		raw = text
	case l.base.IsZero():
		return url, "", config.Errorf(config.Usage,
			"git push -o upstream=URL, or an admin sets [apps."+w.q.AppEnv.App().String()+"] upstream",
			"the URL %s is relative, and the app's upstream is not known", show(raw))
	default:
		if url, err = l.base.Resolve(raw); err != nil {
			return url, "", err
		}
		raw = url.String()
	}
	to := w.cfg.Rewrite(raw)
	if to != raw {
		written = raw
	}
	url, err = config.ParseSourceURL(to)
	return url, written, err
}

// noSource is what mends a URL that no source covers.
func (w *walk) noSource(url config.SourceURL) string {
	var hosts []string
	for i := range w.cfg.Sources {
		s := &w.cfg.Sources[i]
		if !s.Allows(w.q.AppEnv) {
			continue
		}
		if s.URL.Host() == url.Host() && s.URL.Scheme() != url.Scheme() {
			return fmt.Sprintf("use its %s URL, or an admin adds instead_of to %s", s.URL.Scheme(), address(s.URL))
		}
		if !slices.Contains(hosts, s.URL.Host()) {
			hosts = append(hosts, s.URL.Host())
		}
	}
	if len(hosts) == 0 {
		return "have a [[sources]] entry added that covers it"
	}
	return "mirror it to " + strings.Join(hosts[:min(len(hosts), 2)], " or ") + ", or have a [[sources]] entry added"
}
