package hooks

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"slipway/config"
	"slipway/store"
)

// looking is that an environment's hosts are looked at after a start: what is
// swept there must not be of a deploy that has begun meanwhile.
type looking struct {
	over chan struct{}
	stop context.CancelCauseFunc
}

// onHosts lists the environments that are on hosts of their own.
func (s *Server) onHosts(ctx context.Context) map[config.Env]bool {
	on := map[config.Env]bool{}
	for env := range s.o.Config().Environments {
		target, err := s.o.Target(ctx, env)
		if err == nil { // else who asks for it next says why
			_, on[env] = target.(hosted)
		}
	}
	return on
}

// lookAtHosts settles what is open in an environment, and sweeps its hosts, in
// the background: one that swallows what is sent to it must not hold up those
// who deploy elsewhere.
func (s *Server) lookAtHosts(ctx context.Context, env config.Env, entries []store.Entry, sweep func(context.Context)) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	l := &looking{over: make(chan struct{}), stop: cancel}
	s.mu.Lock()
	s.looking[env] = l
	s.mu.Unlock()
	s.after.Go(func() {
		defer cancel(nil)
		defer close(l.over)
		err := s.Guarded(func() error {
			s.settleEnv(ctx, env, entries)
			sweep(ctx)
			return nil
		})
		if err != nil {
			s.o.Log.Error().Err(err).Str("env", env.String()).Msg("cannot look at the hosts")
			return
		}
		s.o.Log.Info().Str("env", env.String()).Msg("the hosts were looked at")
	})
}

// settleEnv settles what is open of one environment. What cannot be settled, or
// has a deploy that waits, is tried again.
func (s *Server) settleEnv(ctx context.Context, env config.Env, entries []store.Entry) {
	var g errgroup.Group
	g.SetLimit(settleWorkers)
	for _, e := range entries {
		if e.AppEnv.Env() != env {
			continue
		}
		g.Go(func() error {
			open, err := s.tryToSettle(ctx, e.AppEnv)
			if err != nil {
				s.o.Log.Error().Err(err).Str("app", e.AppEnv.String()).Int("release", e.Release).Str("phase", string(e.Phase)).
					Msg("cannot settle an interrupted deploy; it is tried again")
			}
			if (err != nil || open) && ctx.Err() == nil {
				s.settleLater(ctx, e.AppEnv)
			}
			return nil
		})
	}
	_ = g.Wait() // each has logged its own
}

// looked waits until the hosts of an environment have been looked at.
func (s *Server) looked(ctx context.Context, env config.Env) error {
	s.mu.Lock()
	l := s.looking[env]
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	select {
	case <-l.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stopLooking ends it; what is left is for the next start.
func (s *Server) stopLooking() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.looking {
		l.stop(errors.New("the server was stopped"))
	}
}
