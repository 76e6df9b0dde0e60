package hooks

import (
	"fmt"
	"time"

	"slipway/builder"
	"slipway/hooks/submodule"
	"slipway/store"
)

// quietLines is how many unchanged submodules are listed one by one.
const quietLines = 8

// showPlan shows what became of every submodule; what changed is never left
// out. A plan in which nothing changed is one line. The reason for the first
// refusal is left to the error line that ends such a push.
func showPlan(p *builder.Progress, res submodule.Result, live *store.Release, dry bool) {
	old := map[string]store.OID{}
	if live != nil {
		for _, m := range live.Plan.Modules {
			old[m.Path] = m.Commit
		}
	}
	changed, refused, wrong := 0, 0, 0
	for _, r := range res.Reports {
		switch {
		case r.State == submodule.Refused && r.Source == "":
			refused++
		case r.State != submodule.Skipped && old[r.Path] != r.Commit:
			changed++
		}
		if r.Err != nil {
			wrong++
		}
	}
	removed := removedModules(res, live)
	text := modulesText(len(res.Reports), res.Reports)
	switch {
	case len(res.Reports) == 0 && len(removed) == 0:
	case refused > 0:
		text = fmt.Sprintf("%s, %d refused", count(len(res.Reports), "submodule"), refused)
	case live != nil && changed+len(removed) > 0:
		text = changesText(len(res.Reports), changed, len(removed))
	case live != nil && wrong == 0:
		text = count(len(res.Reports), "submodule") + ", none changed"
	}
	p.Step("Plan", text, -1)
	for _, w := range res.Warnings {
		p.Say("  warning", w)
	}
	if live != nil && changed+len(removed)+wrong == 0 {
		return
	}
	unchanged, first := 0, true
	for _, r := range res.Reports {
		if r.Err == nil && r.State == submodule.Cached && old[r.Path] == r.Commit {
			if unchanged++; unchanged > quietLines {
				continue
			}
		}
		showModule(p, r, old[r.Path], dry)
		if r.Err != nil {
			showRefusal(p, r, first)
			first = false
		}
	}
	if more := unchanged - quietLines; more > 0 {
		p.Detail(fmt.Sprintf("and %d more, cached", more), -1)
	}
	for _, m := range removed {
		moduleLine(p, m.Path, m.Commit.Short()+"  removed", -1)
	}
}

func changesText(n, changed, removed int) string {
	text := count(n, "submodule")
	if changed > 0 {
		text += fmt.Sprintf(", %d changed", changed)
	}
	if removed > 0 {
		text += fmt.Sprintf(", %d removed", removed)
	}
	return text
}

// pathColumn is how wide the column of the paths is.
const pathColumn = 20

// moduleLine shows one submodule; a path that leaves no room stands on a line
// of its own.
func moduleLine(p *builder.Progress, path, rest string, took time.Duration) {
	path = plainly(path)
	room := builder.Columns - len("  ") - 1
	if took >= 0 {
		room -= len(builder.Seconds(took)) + 1
	}
	if max(len(path), pathColumn)+len(rest) > room {
		p.Detail(path, -1)
		path = ""
	}
	p.Detail(fmt.Sprintf("%-*s %s", pathColumn, path, rest), took)
}

func showModule(p *builder.Progress, r submodule.Report, old store.OID, dry bool) {
	commit := r.Commit.Short()
	moved := old != "" && old != r.Commit
	if moved {
		commit = old.Short() + " -> " + commit
	}
	switch {
	case r.Err == nil && r.State != submodule.Skipped && dry && old != r.Commit:
		from := r.URL.Short()
		if max(len(r.Path), pathColumn)+len(commit)+len(from) < builder.Columns-len("  ")-3 {
			moduleLine(p, r.Path, commit+"  "+from, -1)
			return
		}
		moduleLine(p, r.Path, commit, -1)
		p.Below(from)
	case r.State == submodule.Fetched && moved:
		moduleLine(p, r.Path, fmt.Sprintf("%s  %s  %s", commit, r.State, size(r.Bytes)), r.Took)
	case r.State == submodule.Fetched:
		moduleLine(p, r.Path, fmt.Sprintf("%s  %-9s %s", commit, r.State, size(r.Bytes)), r.Took)
	case r.Tries != "":
		moduleLine(p, r.Path, r.Commit.Short()+"  "+r.Tries, -1)
	case r.Err != nil:
		moduleLine(p, r.Path, fmt.Sprintf("%s  %s", r.Commit.Short(), r.State), -1)
	default:
		moduleLine(p, r.Path, fmt.Sprintf("%s  %s", commit, r.State), -1)
	}
}

// showRefusal shows what is known of a refusal, and what its source said.
func showRefusal(p *builder.Progress, r submodule.Report, first bool) {
	for _, d := range r.Detail {
		p.Below(d)
	}
	if len(r.Detail) == 0 && !first && r.Tries == "" {
		p.Below(r.Err.Error())
	}
	out := p.Builder(maxSaid)
	defer out.Close()
	for _, s := range r.Said[:min(len(r.Said), quietLines)] {
		fmt.Fprintln(out, s)
	}
}

// maxSaid bounds what is shown of a source's own words, in bytes.
const maxSaid = 8 << 10

func removedModules(res submodule.Result, live *store.Release) []store.Module {
	if live == nil {
		return nil
	}
	now := map[string]bool{}
	for _, r := range res.Reports {
		now[r.Path] = true
	}
	var gone []store.Module
	for _, m := range live.Plan.Modules {
		if !now[m.Path] {
			gone = append(gone, m)
		}
	}
	return gone
}

// modulesText counts the modules and names where they come from.
func modulesText(n int, reports []submodule.Report) string {
	if n == 0 {
		return "no submodules"
	}
	modules := make([]store.Module, 0, n)
	for _, r := range reports {
		if !r.URL.IsZero() {
			modules = append(modules, r.Module)
		}
	}
	if hosts := hostsOf(modules); hosts != "" {
		return count(n, "submodule") + " from " + hosts
	}
	return count(n, "submodule")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
