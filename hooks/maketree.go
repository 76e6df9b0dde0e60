package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/submodule"
	"slipway/hooks/tree"
	"slipway/store"
	"slipway/store/fault"
)

// takeOver uses the build of another release.
func (d *deploy) takeOver() error {
	d.app = &config.AppFile{}
	if err := json.Unmarshal(d.reuse.App, d.app); err != nil {
		return fmt.Errorf("read the settings of release %d: %w", d.reuse.Number, err)
	}
	d.rel.Build, d.rel.Plan.Upstream = d.reuse.Build, ""
	return d.checkServices()
}

// makeTree resolves the plan, checks the whole tree and lays it into the
// target.
func (d *deploy) makeTree(ctx context.Context) error {
	app := tree.Part{Dir: d.gitDir(), Env: d.quarantine, Commit: d.commit}
	if err := fault.Hit("app.read"); err != nil {
		return err
	}
	if err := d.readApp(); err != nil {
		return err
	}
	if err := d.checkNeeds(); err != nil {
		return err
	}
	if err := fault.Hit("plan.resolve"); err != nil {
		return err
	}
	resolved, err := d.resolve(ctx)
	if err != nil {
		return err
	}
	defer resolved.Close()
	d.rel.Plan = resolved.Plan
	if !d.upstream.IsZero() { // in the release's row, so that a start can finish the record
		d.rel.Plan.Upstream = d.upstream.String()
	}
	if d.plan != nil && !samePlan(*d.plan, resolved.Plan) {
		return errors.New("the plan differs from the one to be deployed")
	}
	if !d.options.dryRun {
		if err := d.reach(ctx, "plan.journal", store.Planned); err != nil {
			return err
		}
	}

	took := d.step("tree", "checking the tree")
	parts := partsOf(app, resolved)
	if err := fault.Hit("tree.read"); err != nil {
		took()
		return err
	}
	d.manifest, err = d.readTree(ctx, parts, resolved.Plan.Skipped)
	if err != nil {
		took()
		return err
	}
	d.rel.Tree = d.manifest.Info()
	if d.treeID != "" && d.treeID != d.rel.Tree.ID {
		took()
		return errors.New("the tree differs from the one that was to be promoted")
	}
	text := d.treeText()
	if d.options.dryRun {
		took()
		d.progress.Step("Tree", text, -1)
		return nil
	}
	if err := d.reach(ctx, "tree.journal", store.Staging); err != nil {
		took()
		return err
	}
	sent, err := d.layTree(ctx, parts)
	if err == nil {
		err = fault.Hit("tree.write")
	}
	t := took()
	if err != nil {
		return err
	}
	d.progress.Step("Tree", text, t)
	if sent.Hosts > 0 {
		d.progress.Detail(sentText(sent), -1)
	}
	if err := fault.Hit("tree.keep"); err != nil {
		return err
	}
	d.made = d.s.holdTree(d.manifest.ID)
	return d.s.keepManifest(d.manifest)
}

// partsOf are the app and its submodules as parts of a tree.
func partsOf(app tree.Part, resolved submodule.Result) []tree.Part {
	parts := []tree.Part{app}
	for _, l := range resolved.Repos {
		parts = append(parts, tree.Part{Path: l.Path, Dir: l.Dir, Commit: l.Commit})
	}
	return parts
}

// readTree checks the whole tree.
func (d *deploy) readTree(ctx context.Context, parts []tree.Part, skipped []string) (*tree.Manifest, error) {
	lim := d.cfg.Limits
	return tree.Read(ctx, parts, skipped, tree.Limits{
		Bytes: lim.TreeBytes, Files: lim.TreeFiles, Blob: lim.BlobBytes, PathBytes: lim.PathBytes,
		Links: lim.Links, LFS: d.app.Build.LFS,
	})
}

// source is the tree for the target to take.
func (d *deploy) source(parts []tree.Part, o tree.Options) (*tree.Source, error) {
	s := &tree.Source{Manifest: d.manifest, Parts: parts, Options: o, Temp: filepath.Join(d.s.dir, "tmp")}
	if d.live == nil {
		return s, nil
	}
	var err error
	s.Before, err = d.s.manifest(d.live.Tree.ID)
	return s, err
}

// sentText says what the hosts lacked.
func sentText(s builder.Sent) string {
	hosts := "1 host"
	if s.Hosts > 1 {
		hosts = fmt.Sprintf("%d hosts", s.Hosts)
	}
	return fmt.Sprintf("sent %s to %s, %s", files(s.Contents), hosts, size(s.Bytes))
}

func samePlan(a, b store.Plan) bool {
	return a.Commit == b.Commit && slices.EqualFunc(a.Modules, b.Modules, func(x, y store.Module) bool {
		return x.Path == y.Path && x.Commit == y.Commit
	})
}

// resolve makes the plan and fetches what is missing.
func (d *deploy) resolve(ctx context.Context) (submodule.Result, error) {
	base, err := d.base(ctx)
	if err != nil {
		return submodule.Result{}, err
	}
	took := d.step("plan", "fetching submodules")
	resolved, err := d.s.o.Resolver.Resolve(ctx, submodule.Request{
		AppEnv: d.ae, Repo: submodule.Repo{Dir: d.gitDir(), Env: d.quarantine}, Commit: d.commit,
		Upstream: base, Skip: d.app.Submodules.Skip, NoCache: d.options.noCache,
	})
	took()
	showPlan(d.progress, resolved, d.live, d.options.dryRun)
	return resolved, err
}

// base is the URL that relative submodule URLs are resolved against: the
// admin's word before the developer's.
func (d *deploy) base(ctx context.Context) (config.SourceURL, error) {
	if a := d.cfg.Apps[d.ae.App()]; a != nil && !a.Upstream.IsZero() {
		return a.Upstream, nil
	}
	if !d.options.upstream.IsZero() {
		d.upstream = d.options.upstream
		return d.upstream, nil
	}
	row, err := d.s.o.Store.App(ctx, d.ae.App())
	if err != nil || row == nil || row.Upstream == "" {
		return config.SourceURL{}, err
	}
	return config.ParseSourceURL(row.Upstream)
}
