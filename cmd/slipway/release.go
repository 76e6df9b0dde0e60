package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks"
	"slipway/store"
)

// releaseJSON is a release as scripts read it; keys are only ever added.
type releaseJSON struct {
	Number  int                `json:"number"`
	Live    bool               `json:"live"`
	State   store.State        `json:"state"`
	Commit  string             `json:"commit"`
	Ref     string             `json:"ref"`
	Title   string             `json:"title"`
	By      string             `json:"by"`
	Reason  store.Reason       `json:"reason"`
	Build   int                `json:"build"` // the release whose build it runs
	Pruned  bool               `json:"pruned"`
	Created *time.Time         `json:"created"`
	Ended   *time.Time         `json:"ended"`
	Seconds float64            `json:"seconds"`
	Steps   map[string]float64 `json:"steps"` // seconds
	Files   int                `json:"files"`
	Bytes   int64              `json:"bytes"`
	Tree    string             `json:"tree"`
	Error   string             `json:"error"`
	Modules []store.Module     `json:"modules"`
	Skipped []string           `json:"skipped"`

	Settings []string   `json:"settings"`        // the files that they come from
	Hosts    []hostJSON `json:"hosts,omitempty"` // of the live one, where it is on hosts

	Unsettled *unsettledJSON `json:"unsettled,omitempty"` // if it is not settled
}

// unsettledJSON is a deploy that is over, and of which ref, database and target
// do not agree yet.
type unsettledJSON struct {
	Phase store.Phase `json:"phase"` // at which it stopped
	Error string      `json:"error"` // why it could not be settled, "" if that was not tried
	Tries int         `json:"tries"`
	Next  *time.Time  `json:"next"` // when that is tried again
}

func (c *call) asJSON(r store.Release) releaseJSON {
	steps := r.Steps
	if steps == nil {
		steps = map[string]float64{}
	}
	return releaseJSON{
		Number: r.Number, Live: r.State == store.Live, State: r.State, Commit: string(r.Commit), Ref: r.Ref, Title: r.Title,
		By: r.By, Reason: r.Reason, Build: r.Build, Pruned: r.Pruned, Created: jsonTime(r.Created), Ended: jsonTime(r.Ended),
		Seconds: c.took(r).Seconds(), Steps: steps, Files: r.Tree.Files, Bytes: r.Tree.Bytes, Tree: r.Tree.ID, Error: r.Error,
		Modules: inOrder(r.Plan.Modules), Skipped: inOrder(r.Plan.Skipped),
		Settings: settings(r),
	}
}

// settings are the files that a release's settings come from; none are known of
// one that ended before they were read.
func settings(r store.Release) []string {
	var file struct{ From []string }
	if len(r.App) == 0 || json.Unmarshal(r.App, &file) != nil { // a deploy of it says what is wrong
		return []string{}
	}
	return inOrder(file.From)
}

// took is how long a deploy took, or has taken until now.
func (c *call) took(r store.Release) time.Duration {
	if t, ok := r.Steps["total"]; ok {
		return time.Duration(t * float64(time.Second))
	}
	end := r.Ended
	if end.IsZero() {
		end = c.app.now()
	}
	return max(end.Sub(r.Created), 0)
}

func releasesCommand() command {
	return command{name: "releases", args: "APP/ENV", short: "List the releases, newest first", who: deployer, min: 1, max: 1, run: releases}
}

func releases(ctx context.Context, c *call) error {
	all, err := c.app.store.Releases(ctx, c.ae)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return noRelease(c.ae)
	}
	hosts, err := c.app.hooks.Hosts(ctx, c.caller, c.ae)
	if err != nil {
		return err
	}
	left, err := c.unsettled(ctx)
	if err != nil {
		return err
	}
	var live *store.Release
	out := []releaseJSON{}
	var rows [][]string
	for i, r := range all {
		shown := c.asJSON(r)
		if shown.Live {
			live, shown.Hosts = &all[i], hostsJSON(hosts)
		}
		for _, u := range left {
			if u.Release == r.Number {
				shown.Unsettled = &unsettledJSON{u.Phase, u.Error, u.Tries, jsonTime(u.Next)}
			}
		}
		out = append(out, shown)
		state := string(r.State)
		if r.Pruned {
			state += ", pruned"
		}
		rows = append(rows, []string{
			strconv.Itoa(r.Number), state, r.Commit.Short(), minute(r.Created), builder.Seconds(c.took(r)), r.By, string(r.Reason), r.Title,
		})
	}
	if err := c.list(out, []string{"RELEASE", "STATE", "COMMIT", "CREATED", "TOOK", "BY", "REASON", "TITLE"}, rows); err != nil {
		return err
	}
	for _, h := range hosts {
		if text := lagText(h, live); text != "live" && !c.flag("json") {
			if err := c.say("note: %s: %s; host sync %s mends it", h.Host, text, c.ae); err != nil {
				return err
			}
		}
	}
	if err := c.sayUnsettled(left); err != nil {
		return err
	}
	lock, err := c.app.store.LockOf(ctx, c.ae)
	if err != nil || lock == nil {
		return err
	}
	text := fmt.Sprintf("note: %s is locked by %s since %s", c.ae, show(lock.By), minute(lock.Since))
	if lock.Reason != "" {
		text += ": " + show(lock.Reason)
	}
	return c.say("%s", text)
}

// unsettled lists the deploys of the APP/ENV that are not settled.
func (c *call) unsettled(ctx context.Context) ([]hooks.Unsettled, error) {
	left, err := c.app.hooks.Unsettled(ctx)
	return slices.DeleteFunc(left, func(u hooks.Unsettled) bool { return u.AppEnv != c.ae }), err
}

// sayUnsettled says which release is not yet what ref, database and target
// agree on.
func (c *call) sayUnsettled(left []hooks.Unsettled) error {
	for _, u := range left {
		text := fmt.Sprintf("note: release %d is not settled, it stopped at %s", u.Release, u.Phase)
		if u.Error != "" {
			text += ": " + show(u.Error)
		}
		if !u.Next.IsZero() {
			text += "; next try at " + second(u.Next) + " UTC"
		}
		if err := c.say("%s", text); err != nil {
			return err
		}
	}
	return nil
}

func noRelease(ae config.AppEnv) error {
	return config.Errorf(config.NotFound, "git push deploy main makes the first", "%s has no release", ae)
}

// number reads an optional argument as a release's number; 0 if it is not
// there.
func (c *call) number(i int) (int, error) {
	s := c.arg(i)
	if s == "" && i >= len(c.args) {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, config.Errorf(config.Usage, "releases "+c.ae.String()+" lists them", "%s is no release's number", quoted(s))
	}
	return n, nil
}

// release finds release n; 0 is the live one, or the newest if none is.
func (c *call) release(ctx context.Context, n int) (*store.Release, error) {
	if n != 0 {
		r, err := c.app.store.Release(ctx, c.ae, n)
		if err == nil && r == nil {
			err = config.Errorf(config.NotFound, "releases "+c.ae.String()+" lists them", "%s has no release %d", c.ae, n)
		}
		return r, err
	}
	r, err := c.app.store.LiveRelease(ctx, c.ae)
	if err != nil || r != nil {
		return r, err
	}
	all, err := c.app.store.Releases(ctx, c.ae)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, noRelease(c.ae)
	}
	return &all[0], nil
}

func showCommand() command {
	return command{
		name: "show", args: "APP/ENV [N]", complete: []completer{appEnvs, about(releaseNumbers)}, short: "Show a release, the live one by default, and what changed with it",
		who: deployer, min: 1, max: 2, run: showRelease,
	}
}

func showRelease(ctx context.Context, c *call) error {
	n, err := c.number(1)
	if err != nil {
		return err
	}
	r, err := c.release(ctx, n)
	if err != nil {
		return err
	}
	diff, err := c.app.hooks.Compare(ctx, r)
	if err != nil {
		return err
	}
	if c.flag("json") {
		return writeJSON(c.io.Out, struct {
			releaseJSON
			Changed hooks.Changes `json:"changed"`
		}{c.asJSON(*r), diff})
	}
	if err := c.print("%s release %d, %s\n\n%s", c.ae, r.Number, r.State, c.releaseText(r)); err != nil {
		return err
	}
	if len(r.Plan.Modules)+len(r.Plan.Skipped) > 0 {
		if err := c.modules(r.Plan); err != nil {
			return err
		}
	}
	if diff.Since == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nchanged since release %d\n", diff.Since)
	for _, line := range diff.Lines() {
		fmt.Fprintf(&b, "  %s\n", builder.Clean(line))
	}
	return c.print("%s", b.String())
}

// releaseText is what is known of a release, a line for each thing.
func (c *call) releaseText(r *store.Release) string {
	var b strings.Builder
	line := func(head, format string, a ...any) { fmt.Fprintf(&b, "%-8s  %s\n", head, fmt.Sprintf(format, a...)) }
	line("commit", "%s", r.Commit)
	line("title", "%s", show(r.Title))
	line("ref", "%s", show(r.Ref))
	line("created", "%s UTC by %s (%s)", minute(r.Created), show(r.By), r.Reason)
	line("took", "%s%s", builder.Seconds(c.took(*r)), stepsText(r.Steps))
	if r.Build != 0 && r.Build != r.Number {
		line("build", "that of release %d", r.Build)
	}
	if r.Pruned {
		line("pruned", "its build is no longer kept")
	}
	if r.Tree.ID != "" {
		line("tree", "%s files, %s, %s", humanize.Comma(int64(r.Tree.Files)), humanize.IBytes(uint64(max(r.Tree.Bytes, 0))), r.Tree.ID)
	}
	if from := settings(*r); len(from) > 0 {
		line("settings", "%s", strings.Join(from, ", "))
	}
	if r.Error != "" {
		line("error", "%s", show(r.Error))
	}
	return b.String()
}

// stepsText lists what each step took, in the order in which they run.
func stepsText(steps map[string]float64) string {
	var all []string
	for _, name := range []string{"plan", "tree", "build", "release", "health", "switch", "restart"} {
		if t, ok := steps[name]; ok {
			all = append(all, name+" "+builder.Seconds(time.Duration(t*float64(time.Second))))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

func (c *call) modules(p store.Plan) error {
	var rows [][]string
	for _, m := range p.Modules {
		rows = append(rows, []string{m.Path, m.Commit.Short(), m.URL.Short()})
	}
	for _, path := range p.Skipped {
		rows = append(rows, []string{path, "", "skipped"})
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	if err := c.print("\n"); err != nil {
		return err
	}
	return columns(c.io.Out, []string{"SUBMODULE", "COMMIT", "URL"}, rows)
}
