package hooks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/tree"
	"slipway/store"
	"slipway/store/disk"
)

// header says what is being deployed, by whom, over what.
func (d *deploy) header(ctx context.Context) error {
	title := d.rel.Title
	if d.options.dryRun {
		var err error
		if title, err = d.repo.title(ctx, d.commit); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("release %d", d.rel.Number)
	if d.options.dryRun {
		what = "dry run"
	}
	lead := fmt.Sprintf("%s  %s  %s ", d.ae, what, d.commit.Short())
	tail := "  by " + plainly(d.caller.Name)
	d.progress.Head("%s", lead+quoteTitle(title, builder.Columns-len(lead)-len(tail))+tail)
	if d.live != nil {
		d.progress.Head("%*slive: release %d, %s", len(d.ae.String())+2, "", d.live.Number, d.live.Commit.Short())
	}
	d.progress.Blank()
	return nil
}

// quoteTitle shows a commit's title in ASCII within a width.
func quoteTitle(title string, width int) string {
	runes := []rune(builder.Clean(firstLine(title)))
	q := strconv.QuoteToASCII(string(runes))
	for width = max(width, 12); len(q) > width; {
		runes = runes[:len(runes)-1]
		q = strconv.QuoteToASCII(string(runes) + "...")
	}
	return q
}

// size shows bytes as people read them: 18.3 MiB, 310 KiB.
func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// files shows a count: 1,204 files.
func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return humanize.Comma(int64(n)) + " files"
}

// treeText says how large the tree is, and how it differs from the live one.
func (d *deploy) treeText() string {
	text := files(d.rel.Tree.Files) + ", " + size(d.rel.Tree.Bytes)
	if d.live == nil {
		return text
	}
	old, err := d.s.manifest(d.live.Tree.ID)
	if err != nil || old == nil {
		return text // the figures are a courtesy
	}
	added, removed, changed := tree.Diff(old, d.manifest)
	return fmt.Sprintf("%s (+%d -%d ~%d)", text, added, removed, changed)
}

// dryRun shows what a deploy would go on to do.
func (d *deploy) dryRun() {
	p := d.progress
	if what := d.buildText(); what != "" {
		p.Step("Build", fmt.Sprintf("would run %s, timeout %s", what, short(d.app.Build.Timeout)), -1)
	} else {
		p.Step("Build", "nothing to run", -1)
	}
	d.dryServices()
	n := len(d.app.Vars) + len(d.app.EnvVars[d.ae.Env()])
	text := fmt.Sprintf("%d set", len(d.vars))
	if n > 0 {
		text += fmt.Sprintf(", %d from %s", n, d.app.Settings())
	}
	p.Step("Vars", text, -1)
	p.Blank()
	p.Head("Dry run: this push would deploy; git reports it as refused on purpose")
	p.Blank()
}

// short shows a duration without the units that are zero: 10m, 1m30s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// explain adds to a failure what was kept, and where the rest can be read.
func (d *deploy) explain(err error) error {
	var exit *builder.ExitError
	var late *builder.TimeoutError
	var cancelled *cancelledError
	if errors.As(err, &cancelled) {
		return fmt.Errorf("%w; %s", err, d.stillLive())
	}
	if errors.As(err, &exit) || errors.As(err, &late) {
		return &config.Error{Err: fmt.Errorf("%w; %s", err, d.stillLive()), Hint: d.logHint()}
	}
	var onHost *builder.HostError
	if errors.As(err, &onHost) {
		return fmt.Errorf("%w; %s", err, d.stillLive())
	}
	return disk.Explain(err, d.s.dir)
}

func (d *deploy) stillLive() string {
	if d.live == nil {
		return "nothing is live yet"
	}
	return fmt.Sprintf("release %d (%s) is still live", d.live.Number, d.live.Commit.Short())
}

func (d *deploy) logHint() string {
	return "the whole log: " + d.s.o.Command(fmt.Sprintf("logs %s %d", d.ae, d.rel.Number))
}

// hostsOf names where the modules come from, in words.
func hostsOf(modules []store.Module) string {
	var hosts []string
	seen := map[string]bool{}
	for _, m := range modules {
		if h := m.URL.Host(); !seen[h] {
			seen[h] = true
			hosts = append(hosts, h)
		}
	}
	if len(hosts) > 2 {
		return fmt.Sprintf("%d servers", len(hosts))
	}
	return strings.Join(hosts, " and ")
}
