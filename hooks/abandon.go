package hooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
	"slipway/store/fault"
)

// tidyTime bounds the cleaning up after a deploy, which nothing may interrupt.
const tidyTime = time.Minute

// endState is how a release ends that does not go live.
func (d *deploy) endState(ctx context.Context) store.State {
	var log *builder.LogError
	if ctx.Err() == nil || errors.As(context.Cause(ctx), &log) {
		return store.FailedState
	}
	return store.Cancelled
}

// abandon takes back what prepare did, whatever ctx says; the release ends as
// failed, or as cancelled where somebody ended it.
func (d *deploy) abandon(ctx context.Context, why error) {
	outcome := fmt.Sprintf("release %d failed", d.rel.Number)
	d.hush()
	defer func() {
		d.ticket.leave(outcome)
		if d.spent && d.live != nil {
			d.s.refill(ctx, d.ae)
		}
	}()
	defer d.letGo(ctx)
	if !d.begun {
		outcome = ""
		return
	}
	state := d.endState(ctx)
	if state == store.Cancelled {
		outcome = fmt.Sprintf("release %d was cancelled", d.rel.Number)
	}
	d.s.metrics.ended(d.reason, state, d.steps)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer cancel()
	if d.reason != store.Push {
		d.progress.SetPusher(nil) // the command says it itself
	}
	d.progress.Fail(why)
	if err := d.s.Guarded(func() error { return d.takeBack(ctx, state, why) }); err != nil {
		d.s.o.Log.Error().Err(err).Str("app", d.ae.App().String()).Str("env", d.ae.Env().String()).
			Int("release", d.rel.Number).Msg("cannot clean up after a deploy; it is tried again")
		d.s.endLater(ctx, d.ae, ending{d.rel.Number, state, builder.Clean(why.Error())})
	}
}

// takeBack removes what there is of the release and ends it. The journal's
// entry stays open where something is left: it is settled by who comes next.
func (d *deploy) takeBack(ctx context.Context, state store.State, why error) error {
	err := d.s.Guarded(func() error {
		if err := fault.Hit("abandon.start"); err != nil || d.target == nil {
			return err
		}
		return d.target.Discard(ctx, builder.Ref{AppEnv: d.ae, Number: d.rel.Number})
	})
	d.rel.Steps = maps.Clone(d.steps)
	err = errors.Join(err, d.s.o.Store.UpdateRelease(ctx, d.rel),
		d.s.o.Store.EndRelease(ctx, d.ae, d.rel.Number, state, builder.Clean(why.Error())), d.closeLog())
	if d.rotate != "" {
		d.s.settleRotation(ctx, d.ae)
	}
	if err != nil {
		return err
	}
	return d.reach(ctx, "abandon.journal", store.Ended)
}

// letGo gives up what only a running deploy needs, and prunes what else
// would grow with every one.
func (d *deploy) letGo(ctx context.Context) {
	if d.made != nil {
		d.made()
	}
	if !d.begun {
		return
	}
	if err := d.s.Guarded(func() error { return d.s.pruneRecords(ctx, d.ae) }); err != nil {
		d.s.o.Log.Warn().Err(err).Str("app", d.ae.String()).Msg("cannot prune logs and lists")
	}
}

// pruneRecords removes the logs and the lists of files that no release needs.
func (s *Server) pruneRecords(ctx context.Context, ae config.AppEnv) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer cancel()
	all, err := s.o.Store.Releases(ctx, ae)
	if err != nil {
		return err
	}
	var keep []int
	for _, r := range all {
		if r.State == store.Building || !r.Pruned && (r.State == store.Live || r.State == store.Retired) {
			keep = append(keep, r.Number)
		}
	}
	return errors.Join(s.o.Store.PruneLogs(ae, keep), s.sweepManifests(ctx))
}

func (d *deploy) closeLog() error {
	d.progress.Tee(nil)
	if d.feed != nil {
		d.feed.end()
		d.s.closeFeed(d.ae, d.feed)
	}
	if d.log == nil {
		return nil
	}
	return d.log.Close()
}
