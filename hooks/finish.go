package hooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
	"slipway/store/fault"
)

// finish says that the release is live, and cleans up in the background while
// it still holds the APP/ENV. unrecorded is why the database does not say it
// yet, or the ref's rename is not known to be on disk: the journal's entry then
// stays open until both are mended. unsafe says that it is both.
func (d *deploy) finish(ctx context.Context, unrecorded error, unsafe bool) {
	outcome := fmt.Sprintf("release %d (%s) went live", d.rel.Number, d.commit.Short())
	log := d.s.o.Log.With().Str("app", d.ae.App().String()).Str("env", d.ae.Env().String()).Int("release", d.rel.Number).Logger()
	if unrecorded != nil {
		log.Error().Err(unrecorded).Msg("cannot record what went live")
	}
	d.s.metrics.ended(d.reason, store.Live, d.steps)
	if err := d.s.Guarded(func() error { return d.describe(ctx) }); err != nil {
		log.Warn().Err(err).Msg("cannot write the manifest")
	}
	d.progress.Blank()
	if unsafe {
		d.progress.Say("warning", "neither the database nor the branch may outlive a loss of power; the server goes on trying")
		d.progress.Blank()
	}
	d.progress.Head("Success: %s is live as release %d (%s) in %s", d.ae, d.rel.Number, d.commit.Short(),
		builder.Seconds(d.s.o.Now().Sub(d.started)))
	d.progress.Blank()
	if err := d.closeLog(); err != nil {
		log.Error().Err(err).Msg("cannot close the build log")
	}
	d.ticket.tidy(outcome)
	d.s.after.Go(func() {
		defer d.s.refill(ctx, d.ae) // when the next deploy may come
		defer d.ticket.leave(outcome)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
		defer cancel()
		if unrecorded != nil {
			defer d.letGo(ctx)
			if err := d.s.Guarded(func() error { return d.s.settleOpen(ctx, d.ae) }); err != nil {
				log.Error().Err(err).Msg("still cannot record what went live; it is tried again")
				d.s.settleLater(ctx, d.ae)
			}
			return
		}
		if err := d.s.Guarded(func() error { return d.s.prune(ctx, d.target, d.env, d.ae) }); err != nil {
			log.Warn().Err(err).Msg("cannot prune old releases")
		}
		d.letGo(ctx)
		if err := d.s.Guarded(func() error { return d.reach(ctx, "prune.end", store.Done) }); err != nil {
			log.Error().Err(err).Msg("cannot write the journal; it is tried again")
			d.s.settleLater(ctx, d.ae)
		}
	})
}

// record writes the database's part of a deploy: that its release is live, in
// one transaction, which for a deploy that moves no ref is the commit; then the
// rest.
func (d *deploy) record(ctx context.Context) error {
	err := fault.Hit("record.app")
	if err == nil {
		err = d.s.o.Store.CreateApp(ctx, d.ae.App())
	}
	if err == nil {
		err = fault.Hit("record.live")
	}
	if err == nil {
		err = d.s.o.Store.SetLive(ctx, d.ae, d.rel.Number)
	}
	if err != nil {
		return err
	}
	d.entry.Phase = store.Committed
	d.steps["total"] = d.s.o.Now().Sub(d.started).Seconds()
	d.rel.Steps = d.steps
	if err := d.recordRest(ctx); err != nil {
		if d.old != d.commit {
			return err
		}
		d.s.o.Log.Error().Err(err).Str("app", d.ae.String()).Msg("cannot record all of what went live")
	}
	return nil
}

func (d *deploy) recordRest(ctx context.Context) error {
	if err := fault.Hit("record.rest"); err != nil {
		return err
	}
	err := d.s.o.Store.UpdateRelease(ctx, d.rel)
	if d.keepVars {
		err = errors.Join(err, d.s.setVars(ctx, d.ae, d.caller.Name, d.vars))
	}
	if d.rotate != "" {
		err = errors.Join(err, d.s.settleServices(ctx, d.ae))
	}
	if d.rel.Plan.Upstream != "" {
		err = errors.Join(err, d.s.o.Store.SetUpstream(ctx, d.ae.App(), d.rel.Plan.Upstream))
	}
	if name, ok := strings.CutPrefix(d.ref, heads); ok && d.old == store.ZeroOID {
		err = errors.Join(err, d.s.o.Store.SetHead(ctx, d.ae, name))
	}
	return err
}

// describe writes the manifests of the release that is live and of the one that
// was, beside them.
func (d *deploy) describe(ctx context.Context) error {
	if err := fault.Hit("record.manifest"); err != nil {
		return err
	}
	text, err := manifestOf(d.rel, store.Live)
	if err == nil {
		err = d.target.Record(ctx, builder.Ref{AppEnv: d.ae, Number: d.rel.Number}, text)
	}
	if err != nil || d.live == nil {
		return err
	}
	if text, err = manifestOf(*d.live, store.Retired); err != nil {
		return err
	}
	return d.target.Record(ctx, builder.Ref{AppEnv: d.ae, Number: d.live.Number}, text)
}

// prune keeps the newest releases that were good, the live one, the one before
// it, and what commands use.
func (s *Server) prune(ctx context.Context, target builder.Target, env *config.Environment, ae config.AppEnv) error {
	if err := fault.Hit("prune.start"); err != nil {
		return err
	}
	all, err := s.o.Store.Releases(ctx, ae)
	if err != nil {
		return err
	}
	keep := s.inUse(ae)
	kept := 0
	for _, r := range all { // newest first
		good := r.State == store.Live || r.State == store.Retired
		if good && !r.Pruned && (kept < max(env.Keep, 2) || r.State == store.Live) {
			keep = append(keep, r.Number, r.Build)
			kept++
		}
		if r.State == store.Building {
			keep = append(keep, r.Number)
		}
	}
	slices.Sort(keep)
	removed, err := target.Prune(ctx, ae, slices.Compact(keep))
	if err != nil {
		return err
	}
	return s.o.Store.MarkPruned(ctx, ae, removed)
}
