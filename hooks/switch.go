package hooks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
	"slipway/store/fault"
)

// switchTime bounds the switch, from the first host that is told to the last
// that has answered, restart command included.
const switchTime = 5 * time.Minute

// commitLive makes the staged release live and moves the ref, as one: the ref
// is locked, its old value checked; the target switches; the ref's rename is
// the commit. From the moment that the journal says "switching" nothing stops
// it but a failure, which puts the old release back.
func (d *deploy) commitLive(ctx context.Context) (err error) {
	if err := context.Cause(ctx); err != nil {
		d.abandon(ctx, err)
		return err
	}
	if err = d.s.mayStill(ctx, d.caller, d.ae); err != nil { // the right may have been taken away during the build
		d.abandon(ctx, err)
		return err
	}
	d.s.still.RLock()
	defer d.s.still.RUnlock()
	parent := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTime)
	defer cancel()
	var refs *refLock
	err = d.s.Guarded(func() (err error) { refs, err = d.lockRefs(ctx); return err })
	if err != nil {
		d.abandon(parent, err)
		return err
	}
	defer refs.close()
	if err = d.s.Guarded(func() error { return d.announce(ctx) }); err != nil {
		d.abandon(parent, err)
		return err
	}
	if err := d.s.Guarded(func() error { return d.activate(ctx) }); err != nil {
		return d.revert(ctx, err)
	}
	if err = d.s.Guarded(refs.commit); err != nil {
		err = errors.Join(err, refs.close()) // where the ref is shows once git has ended
	}
	// The time of the switch may be over; what it has led to is written down
	// all the same.
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer done()
	if err != nil {
		if moved, unknown := d.moved(ctx); unknown != nil {
			err = &config.Error{
				Err:  fmt.Errorf("could not record the release: %w; nor find out whether it is: %w", err, unknown),
				Hint: "an admin must look: " + d.s.o.Command("doctor"),
			}
			d.diverge(ctx, err)
			return err
		} else if !moved {
			return d.revert(ctx, fmt.Errorf("could not record the release: %w", err))
		}
		// Where the ref is, there is the truth. Should a loss of power undo its
		// rename, the database's record of it moves it again.
		d.s.o.Log.Error().Err(err).Str("app", d.ae.String()).Msg("the ref has moved, but that may not be on disk")
	}
	unrecorded := d.s.Guarded(func() error { return d.record(ctx) })
	if unrecorded != nil && d.old == d.commit { // no ref moves, so the database had to say it
		return d.revert(ctx, fmt.Errorf("could not record the release: %w", unrecorded))
	}
	d.finish(ctx, errors.Join(err, unrecorded), err != nil && unrecorded != nil)
	return nil
}

// announce writes down that the switch begins, with its generation.
func (d *deploy) announce(ctx context.Context) (err error) {
	if err = fault.Hit("switch.journal"); err == nil {
		d.entry.Generation, err = d.s.o.Store.NextGeneration(ctx, d.ae)
	}
	if err == nil {
		err = d.phase(ctx, store.Switching)
	}
	return err
}

// moved says whether the ref is where the deploy was to move it.
func (d *deploy) moved(ctx context.Context) (bool, error) {
	if d.old == d.commit {
		return false, nil
	}
	at, err := d.s.o.Store.Ref(ctx, d.ae, d.ref)
	return at == d.commit, err
}

// activate switches the target and runs the app's restart command.
func (d *deploy) activate(ctx context.Context) error {
	took := d.step("switch", "switching")
	err := fault.Hit("switch.begun")
	if err == nil {
		err = d.target.Activate(ctx, builder.Switch{
			AppEnv: d.ae, Generation: d.entry.Generation, From: d.entry.From, To: d.entry.To,
		})
	}
	if err == nil {
		err = fault.Hit("switch.told")
	}
	t := took()
	if err != nil {
		return fmt.Errorf("switch to release %d: %w", d.entry.To, err)
	}
	d.s.metrics.switched(t)
	d.progress.Step("Switch", fmt.Sprintf("current -> releases/%d", d.entry.To), t)
	if d.app.Deploy.Restart != "" {
		if err := d.restart(ctx, d.stage); err != nil {
			return err
		}
	}
	return fault.Hit("switch.restarted")
}

func (d *deploy) restart(ctx context.Context, stage builder.Stage) error {
	line := stage.App.Deploy.Restart
	d.progress.Step("", "restart: "+quoteCommand(line), -1)
	out := d.progress.Builder(d.cfg.Limits.LogBytes)
	took := d.step("restart", "restart")
	err := d.target.Restart(ctx, stage, out)
	out.Close()
	return d.ended("restart", err, took())
}

// revert puts the old release back after a switch that failed.
func (d *deploy) revert(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTime)
	defer cancel()
	err := d.s.Guarded(func() error { return d.reach(ctx, "revert.journal", store.Reverting) })
	if err != nil {
		d.s.o.Log.Error().Err(err).Msg("cannot write the journal")
	}
	d.hush()
	text := "nothing is live"
	if d.live != nil {
		text = fmt.Sprintf("release %d (%s) is live again", d.live.Number, d.live.Commit.Short())
	}
	if err = d.s.Guarded(func() error { return d.putBack(ctx) }); err == nil {
		why = &config.Error{Err: fmt.Errorf("%w; %s", why, text), Hint: d.logHint()}
		d.abandon(ctx, why)
		return why
	}
	if silent, rest := silentHosts(err); silent != "" {
		if rest != "" {
			text += " on " + rest
		}
		why = &config.Error{ // without the hints of hosts: to try again is of no use before that
			Err:  fmt.Errorf("%s; %s; %s did not confirm, and is put back when it answers", why.Error(), text, silent),
			Hint: fmt.Sprintf("nothing goes live in %s before that; %s says how it is", d.ae, d.s.o.Command("doctor")),
		}
	} else {
		why = &config.Error{
			Err:  fmt.Errorf("%w; and putting the old release back failed: %w", why, err),
			Hint: "an admin must look: " + d.s.o.Command("doctor"),
		}
	}
	d.diverge(ctx, why)
	return why
}

// silentHosts names the hosts that have not done something, and those that have.
func silentHosts(err error) (silent, rest string) {
	var hosts *builder.HostsError
	var one *builder.HostError
	switch {
	case errors.As(err, &hosts):
		return strings.Join(hosts.Names(), ", "), strings.Join(hosts.Done, ", ")
	case errors.As(err, &one):
		return one.Host, ""
	}
	return "", ""
}

// putBack switches the target to what was live and restarts that.
func (d *deploy) putBack(ctx context.Context) error {
	from, to := d.entry.To, d.entry.From
	d.entry.Generation++ // NextGeneration gave both
	gen := d.entry.Generation
	if err := fault.Hit("revert.activate"); err != nil {
		return err
	}
	if err := d.target.Activate(ctx, builder.Switch{AppEnv: d.ae, Generation: gen, From: from, To: to}); err != nil {
		return err
	}
	if err := fault.Hit("revert.told"); err != nil {
		return err
	}
	if d.rotate != "" { // what was live needs the password that it knows
		d.s.settleRotation(ctx, d.ae)
	}
	if d.live == nil {
		return nil
	}
	old, err := d.s.stageOfLive(ctx, d.live)
	if err != nil || old.App.Deploy.Restart == "" {
		return err
	}
	return d.restart(ctx, old)
}

// diverge ends a deploy whose target is in a state that we could not mend; the
// journal keeps what must be done, and that is tried again until it is.
func (d *deploy) diverge(ctx context.Context, why error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer cancel()
	d.hush()
	d.progress.Fail(why)
	err := d.s.Guarded(func() error { return d.reach(ctx, "diverge.journal", store.Diverged) })
	err = errors.Join(err,
		d.s.o.Store.EndRelease(ctx, d.ae, d.rel.Number, store.FailedState, builder.Clean(why.Error())),
		d.closeLog())
	if err != nil {
		d.s.o.Log.Error().Err(err).Msg("cannot record a deploy that diverged")
	}
	d.s.endLater(ctx, d.ae, ending{d.rel.Number, store.FailedState, builder.Clean(why.Error())})
	d.letGo(ctx)
	d.ticket.leave(fmt.Sprintf("release %d failed", d.rel.Number))
}
