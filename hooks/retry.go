package hooks

import (
	"context"
	"errors"
	"slices"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

const (
	// firstRetry and lastRetry are how long an APP/ENV that could not be
	// settled waits for the next try: each time twice as long.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// Unsettled is a deploy whose outcome is not yet what ref, database and target
// all say.
type Unsettled struct {
	store.Entry
	Tries int       // of the server, by itself
	Error string    // why the last one failed, "" if there was none
	Next  time.Time // when it tries again, zero if it does not
}

// retry tries, in the background, to settle what a deploy has left.
type retry struct {
	stop  context.CancelCauseFunc
	tries int
	err   string
	next  time.Time
	ends  ending
}

// ending is how a release ended whose end could not be written down.
type ending struct {
	release int
	state   store.State
	why     string
}

// settleLater tries to settle ae until that is done, unless it is at it
// already. A deploy of ae that comes meanwhile does the same first.
func (s *Server) settleLater(ctx context.Context, ae config.AppEnv) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retryOf(ctx, ae)
}

// endLater does so, and writes down then how a release has ended.
func (s *Server) endLater(ctx context.Context, ae config.AppEnv, end ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.retryOf(ctx, ae); r != nil {
		r.ends = end
	}
}

// retryOf is the retry of ae, started if there is none; nil while the server
// stops. The caller holds the lock.
func (s *Server) retryOf(ctx context.Context, ae config.AppEnv) *retry {
	r := s.retries[ae]
	if r != nil || s.stopping {
		return r
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r = &retry{stop: cancel, next: s.o.Now().Add(firstRetry)}
	s.retries[ae] = r
	s.after.Go(func() {
		defer cancel(nil)
		s.settleUntil(ctx, ae, r)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.retries, ae)
	})
	return r
}

// settleUntil returns once ae is settled, or the server stops.
func (s *Server) settleUntil(ctx context.Context, ae config.AppEnv, r *retry) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		open := false
		err := s.Guarded(func() (err error) { open, err = s.tryToSettle(ctx, ae); return err })
		if err == nil && !open || ctx.Err() != nil {
			return
		}
		why := ""
		if err != nil { // else a deploy is at it
			why = err.Error()
		}
		s.mu.Lock()
		news := why != r.err
		r.tries++
		r.err, r.next = why, s.o.Now().Add(min(2*wait, lastRetry))
		s.mu.Unlock()
		if news && err != nil { // else the log has it
			s.o.Log.Error().Err(err).Str("app", ae.String()).Msg("cannot settle an interrupted deploy; it is tried again and again")
		}
	}
}

// tryToSettle settles ae if no deploy of it runs or waits, which would do so
// itself. open says that there is something left to be settled.
func (s *Server) tryToSettle(ctx context.Context, ae config.AppEnv) (open bool, err error) {
	entries, err := s.o.Store.OpenEntries(ctx)
	if err != nil {
		return true, err
	}
	if !slices.ContainsFunc(entries, func(e store.Entry) bool { return e.AppEnv == ae }) {
		return false, s.writeEnding(ctx, ae)
	}
	if t, waiting := s.queue.of(ae); t != nil || waiting > 0 {
		return true, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := s.queue.enterBeside(ae, "slipway", cancel)
	if err := t.wait(ctx, nil); err != nil {
		return true, err
	}
	defer t.leave("")
	return false, s.settleOpen(ctx, ae)
}

// endingOf is how a release of ae has ended, where only the database does not
// say so yet.
func (s *Server) endingOf(ae config.AppEnv, n int) (ending, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.retries[ae]
	if r == nil || r.ends.release != n {
		return ending{}, false
	}
	return r.ends, true
}

// writeEnding ends a release that has no entry in the journal.
func (s *Server) writeEnding(ctx context.Context, ae config.AppEnv) error {
	s.mu.Lock()
	n := 0
	if r := s.retries[ae]; r != nil {
		n = r.ends.release
	}
	s.mu.Unlock()
	if n == 0 {
		return nil
	}
	return s.interrupted(ctx, store.Entry{AppEnv: ae, Release: n})
}

// stopRetries ends them; what is open is for the next start.
func (s *Server) stopRetries() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for _, r := range s.retries {
		r.stop(errors.New("the server was stopped"))
	}
}

// Unsettled lists the deploys that are over and not settled, sorted by APP/ENV.
func (s *Server) Unsettled(ctx context.Context) ([]Unsettled, error) {
	entries, err := s.o.Store.OpenEntries(ctx)
	if err != nil {
		return nil, err
	}
	var all []Unsettled
	for _, e := range entries {
		if t, _ := s.queue.of(e.AppEnv); t != nil && e.Phase != store.Diverged {
			continue
		}
		u := Unsettled{Entry: e}
		s.mu.Lock()
		if r := s.retries[e.AppEnv]; r != nil {
			u.Tries, u.Error, u.Next = r.tries, builder.Clean(r.err), r.next
		}
		s.mu.Unlock()
		all = append(all, u)
	}
	return all, nil
}
