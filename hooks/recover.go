package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
	"slipway/store/fault"
	"slipway/store/git"
)

const (
	// settleTime bounds what is asked of one target to settle one deploy.
	settleTime = 30 * time.Second

	// settleWorkers is how many deploys are settled side by side.
	settleWorkers = 8
)

// Recover settles what a server that was stopped in the middle has left: every
// open entry of the journal goes forward if its commit is recorded, and back
// if it is not. It runs once, before anything is served, with DIR's lock held.
// An APP/ENV whose target cannot be reached is tried again in the background,
// and hosts are looked at there from the beginning; the others are served.
func (s *Server) Recover(ctx context.Context) error {
	return s.Guarded(func() error { return s.recover(ctx) })
}

func (s *Server) recover(ctx context.Context) error {
	if err := s.sweepRepos(ctx); err != nil {
		return err
	}
	entries, err := s.o.Store.OpenEntries(ctx)
	if err != nil {
		return err
	}
	hosts := s.onHosts(ctx)
	var g errgroup.Group
	g.SetLimit(settleWorkers)
	for _, e := range entries {
		if hosts[e.AppEnv.Env()] {
			continue
		}
		g.Go(func() error {
			if err := s.settleLogged(ctx, e); err != nil {
				s.o.Log.Error().Err(err).Str("app", e.AppEnv.String()).Int("release", e.Release).Str("phase", string(e.Phase)).
					Msg("cannot settle an interrupted deploy; it is tried again")
				s.settleLater(ctx, e.AppEnv)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.sweepUnknown(ctx); err != nil {
		return err
	}
	sweeps, err := s.sweepReleases(ctx)
	if err != nil {
		return err
	}
	for env, sweep := range sweeps {
		if hosts[env] {
			s.lookAtHosts(ctx, env, entries, sweep)
		} else {
			sweep(ctx)
		}
	}
	return nil
}

// settleOpen settles what an earlier deploy of ae has left, if it has; the
// caller holds ae's place in the queue.
func (s *Server) settleOpen(ctx context.Context, ae config.AppEnv) error {
	entries, err := s.o.Store.OpenEntries(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.AppEnv != ae {
			continue
		}
		if err := s.settleLogged(ctx, e); err != nil {
			return &config.Error{
				Err:  fmt.Errorf("the deploy of release %d has to be settled first (it stopped at %s): %w", e.Release, e.Phase, err),
				Hint: "when the cause is gone, do the same again; an admin can look: " + s.o.Command("doctor"),
			}
		}
	}
	return nil
}

// settleIdle settles what is left of ae if no deploy of it runs or waits: who
// pushes what the ref is at already brings no deploy that would. A failure is
// for the next deploy to report.
func (s *Server) settleIdle(ctx context.Context, ae config.AppEnv) error {
	_, err := s.tryToSettle(ctx, ae)
	if err != nil && ctx.Err() == nil {
		s.o.Log.Error().Err(err).Str("app", ae.String()).Msg("cannot settle an interrupted deploy; it is tried again")
		s.settleLater(ctx, ae)
		return nil
	}
	return err
}

func (s *Server) settleLogged(ctx context.Context, e store.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	forward := false
	err := s.Guarded(func() (err error) { forward, err = s.settle(ctx, e); return err })
	if err != nil {
		return err
	}
	text := "an interrupted deploy was not recorded, and is taken back"
	if forward {
		text = "an interrupted deploy was recorded, and is finished"
	}
	s.o.Log.Warn().Str("app", e.AppEnv.App().String()).Str("env", e.AppEnv.Env().String()).
		Int("release", e.Release).Str("phase", string(e.Phase)).Msg(text)
	return nil
}

// settle applies the one rule: a deploy is committed if the journal says so or
// the ref is where the deploy was to move it.
func (s *Server) settle(ctx context.Context, e store.Entry) (forward bool, err error) {
	at := e.Old
	if e.Old != e.New {
		if at, err = s.o.Store.Ref(ctx, e.AppEnv, e.Ref); err != nil {
			return false, err
		}
	}
	forward = e.Phase == store.Committed || e.Old != e.New && at == e.New
	switch {
	case e.Old != e.New && at != e.Old && at != e.New:
		return false, fmt.Errorf("%s is at %s, neither at %s nor at %s: it was moved by hand", e.Ref, shortRef(at), shortRef(e.Old), shortRef(e.New))
	case forward && e.Old != e.New && at == e.Old: // a power cut has undone the ref's rename
		if err := s.moveRef(ctx, e); err != nil {
			return true, err
		}
	}
	target, err := s.o.Target(ctx, e.AppEnv.Env())
	if err != nil {
		return forward, err
	}
	if err := fault.Hit("settle.activate"); err != nil {
		return forward, err
	}
	switch e.Phase {
	case store.Switching, store.Reverting, store.Diverged, store.Committed:
		if err := s.settleTarget(ctx, e, target, forward); err != nil {
			return forward, err
		}
	}
	if forward {
		return true, s.settleForward(ctx, e)
	}
	return false, s.settleBack(ctx, e, target)
}

// settleTarget switches the target to where the deploy has turned out.
func (s *Server) settleTarget(ctx context.Context, e store.Entry, target builder.Target, forward bool) error {
	gen, err := s.o.Store.NextGeneration(ctx, e.AppEnv)
	if err != nil {
		return err
	}
	sw := builder.Switch{AppEnv: e.AppEnv, Generation: gen, From: e.To, To: e.From}
	if forward {
		sw.From, sw.To = e.From, e.To
	}
	if err := target.Activate(ctx, sw); err != nil {
		return err
	}
	if e.Phase == store.Committed || sw.To == 0 {
		return nil
	}
	// Whether it was restarted into this release is not known.
	if err := s.restartAgain(ctx, e.AppEnv, sw.To, target); err != nil {
		s.o.Log.Error().Err(err).Str("app", e.AppEnv.String()).Int("release", sw.To).Msg("cannot restart what is live")
	}
	return nil
}

func (s *Server) restartAgain(ctx context.Context, ae config.AppEnv, n int, target builder.Target) error {
	r, err := s.o.Store.Release(ctx, ae, n)
	if err != nil || r == nil {
		return err
	}
	stage, err := s.stageOfLive(ctx, r)
	if err != nil || stage.App.Deploy.Restart == "" {
		return err
	}
	return target.Restart(ctx, stage, io.Discard)
}

// settleBack ends a deploy that was not committed. What cannot be removed is
// left to later sweeps, and holds up nobody.
func (s *Server) settleBack(ctx context.Context, e store.Entry, target builder.Target) error {
	err := fault.Hit("settle.discard")
	if err == nil {
		err = target.Discard(ctx, builder.Ref{AppEnv: e.AppEnv, Number: e.Release})
	}
	if err != nil {
		s.o.Log.Error().Err(err).Str("app", e.AppEnv.String()).Int("release", e.Release).Msg("cannot remove an interrupted release")
	}
	if err := fault.Hit("settle.back"); err != nil {
		return err
	}
	if err := s.interrupted(ctx, e); err != nil {
		return err
	}
	s.settleRotation(ctx, e.AppEnv)
	e.Phase = store.Ended
	return s.o.Store.Advance(ctx, e)
}

// settleForward finishes the records of a deploy that was committed.
func (s *Server) settleForward(ctx context.Context, e store.Entry) error {
	err := fault.Hit("settle.forward")
	if err == nil {
		err = s.o.Store.CreateApp(ctx, e.AppEnv.App())
	}
	if err == nil {
		err = s.o.Store.SetLive(ctx, e.AppEnv, e.Release)
	}
	if err == nil {
		err = fault.Hit("settle.live")
	}
	if err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(e.Ref, heads); ok && e.Old == store.ZeroOID {
		if err := s.o.Store.SetHead(ctx, e.AppEnv, name); err != nil {
			return err
		}
	}
	if err := s.settleRest(ctx, e); err != nil {
		return err
	}
	if e.Old != e.New { // who moved it may not have come to that
		if err := syncRefs(s.o.Store.RepoPath(e.AppEnv.App()), e.AppEnv.Env(), e.Ref); err != nil {
			return err
		}
	}
	s.settleRotation(ctx, e.AppEnv)
	e.Phase = store.Done
	return s.o.Store.Advance(ctx, e)
}

// settleRest makes what a release brings with it that of now: the app's
// upstream, its vars.
func (s *Server) settleRest(ctx context.Context, e store.Entry) error {
	r, err := s.o.Store.Release(ctx, e.AppEnv, e.Release)
	if err != nil || r == nil {
		return err
	}
	if r.Plan.Upstream != "" {
		if err := s.o.Store.SetUpstream(ctx, e.AppEnv.App(), r.Plan.Upstream); err != nil {
			return err
		}
	}
	if r.Reason != store.VarsSet && r.Reason != store.Rollback {
		return nil
	}
	vars, err := s.o.Store.ReleaseVars(ctx, e.AppEnv, e.Release)
	if err != nil {
		return err
	}
	return s.setVars(ctx, e.AppEnv, r.By, vars)
}

// moveRef moves the ref of a committed deploy once more, if everything that it
// leads to is there.
func (s *Server) moveRef(ctx context.Context, e store.Entry) error {
	repo := openRepository(ctx, s.o.Store.RepoPath(e.AppEnv.App()), nil)
	defer repo.close()
	if _, err := repo.output(ctx, []git.Opt{"rev-list", "--objects", "--quiet"}, string(e.New)); err != nil {
		return fmt.Errorf("%s was at %s, which is damaged: %w", e.Ref, e.New.Short(), err)
	}
	d := deploy{s: s, ae: e.AppEnv, ref: e.Ref, old: e.Old, commit: e.New}
	refs, err := d.lockRefs(ctx)
	if err != nil {
		return err
	}
	return errors.Join(refs.commit(), refs.close())
}

// interrupted ends a release that still says that it is being built.
func (s *Server) interrupted(ctx context.Context, e store.Entry) error {
	r, err := s.o.Store.Release(ctx, e.AppEnv, e.Release)
	if err != nil || r == nil || r.State != store.Building {
		return err
	}
	end, ok := s.endingOf(e.AppEnv, e.Release)
	if !ok {
		end = ending{state: store.Interrupted, why: "the server stopped at step " + string(e.Phase)}
	}
	return s.o.Store.EndRelease(ctx, e.AppEnv, e.Release, end.state, end.why)
}
