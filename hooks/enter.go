package hooks

import (
	"context"
	"fmt"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
	"slipway/store/fault"
)

// enter waits for the deploy's turn and decides again what may have changed
// meanwhile.
func (d *deploy) enter(ctx context.Context) error {
	s := d.s
	d.started = s.o.Now()
	if err := s.checkLock(ctx, d.ae); err != nil {
		return err
	}
	d.ticket = s.queue.enter(d.ae, d.caller.Name, d.commit, d.cancel)
	var waited bool
	var ahead *ticket
	err := d.ticket.wait(ctx, func(a *ticket, place int) {
		info, quiet := a.snapshot()
		if d.options.noWait && a.ae == d.ae && !quiet {
			d.cancel(config.Errorf(config.Failed, "push again later, or without -o no-wait",
				"busy: %s, at step %s", info.describe(a.ae, s.o.Now(), builder.Whole), info.Step))
			return
		}
		if ahead = a; quiet && !waited {
			return
		}
		waited = true
		d.progress.Step("Waiting", info.describe(a.ae, s.o.Now(), builder.Whole), -1)
		d.progress.Step("", fmt.Sprintf("at step %s; %s; Ctrl-C leaves the queue", info.Step, placeText(place)), -1)
	})
	if err != nil {
		return err
	}
	if waited {
		text := builder.Whole(s.o.Now().Sub(d.started))
		if outcome := ahead.result(); outcome != "" {
			text += "; " + outcome
		}
		d.progress.Step("Waited", text, -1)
		d.progress.Blank()
	}
	d.started = s.o.Now()
	err = s.checkLock(ctx, d.ae)
	if err == nil {
		err = s.mayStill(ctx, d.caller, d.ae)
	}
	if err == nil && d.old != d.commit {
		who := ""
		if ahead != nil {
			info, _ := ahead.snapshot()
			who = info.By
		}
		err = s.stillAt(ctx, d.ae, update{d.old, d.commit, d.ref}, who)
	}
	if err != nil {
		d.ticket.leave("")
		return err
	}
	d.cfg = s.o.Config()
	d.env = d.cfg.Environments[d.ae.Env()]
	d.steps = map[string]float64{}
	return nil
}

func placeText(place int) string {
	if place == 1 {
		return "you are next"
	}
	return fmt.Sprintf("you are number %d", place)
}

// checkLock refuses while somebody has locked ae.
func (s *Server) checkLock(ctx context.Context, ae config.AppEnv) error {
	l, err := s.o.Store.LockOf(ctx, ae)
	if err != nil || l == nil {
		return err
	}
	text := fmt.Sprintf("%s is locked by %s since %s", ae, l.By, l.Since.UTC().Format("2006-01-02 15:04"))
	if l.Reason != "" {
		text += ": " + plainly(l.Reason)
	}
	return config.Errorf(config.Denied, "unlock "+ae.String()+" ends it", "%s", text)
}

// begin gives the release its number, its log and its journal entry.
func (d *deploy) begin(ctx context.Context) error {
	title, err := d.repo.title(ctx, d.commit)
	if err != nil {
		return err
	}
	d.rel = store.Release{
		AppEnv: d.ae, Commit: d.commit, Ref: d.ref, Title: builder.Clean(title),
		State: store.Building, Reason: d.reason, By: d.caller.Name, Created: d.s.o.Now(),
	}
	if d.reuse != nil {
		d.rel.Build, d.rel.Plan, d.rel.Tree, d.rel.App = d.reuse.Build, d.reuse.Plan, d.reuse.Tree, d.reuse.App
	}
	if err := fault.Hit("release.number"); err != nil {
		return err
	}
	if d.rel, err = d.s.o.Store.NewRelease(ctx, d.rel, d.vars); err != nil {
		return err
	}
	d.ticket.update(func(r *Running) { r.Release = d.rel.Number })
	from := 0
	if d.live != nil {
		from = d.live.Number
	}
	d.entry = store.Entry{
		AppEnv: d.ae, Release: d.rel.Number, Phase: store.Queued, Ref: d.ref,
		Old: d.old, New: d.commit, From: from, To: d.rel.Number,
	}
	err = d.s.Guarded(func() error {
		if err := fault.Hit("journal.begin"); err != nil {
			return err
		}
		return d.s.o.Store.Begin(ctx, d.entry)
	})
	if err != nil {
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
		defer cancel()
		end := ending{d.rel.Number, d.endState(ctx), builder.Clean(err.Error())}
		if d.s.o.Store.EndRelease(tidy, d.ae, end.release, end.state, end.why) != nil { // for the same reason
			d.s.endLater(tidy, d.ae, end)
		}
		return err
	}
	d.begun = true
	if err := fault.Hit("log.create"); err != nil {
		return err
	}
	if d.log, err = d.s.o.Store.CreateLog(d.ae, d.rel.Number); err != nil {
		return err
	}
	d.feed = d.s.openFeed(d.ae, d.rel.Number, d.progress)
	d.progress.Tee(d.log)
	return nil
}
