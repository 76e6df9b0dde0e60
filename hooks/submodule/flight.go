package submodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"slipway/config"
	"slipway/store"
	"slipway/store/guard"
)

// want is one commit that a plan needs.
type want struct {
	src     *config.Source
	url     config.SourceURL
	commit  store.OID
	dir     string // of the cache
	offline bool
}

// got is what ensure has found or made.
type got struct {
	dir    string // GIT_DIR of the cache repository
	cached bool
	bytes  int64
	took   time.Duration
	said   []string
}

// ensure has the commit in the cache when it returns. What is there needs no
// network; the same commit is fetched once, however many ask for it. Without an
// error the repository cannot be evicted until it is dropped.
func (r *Resolver) ensure(ctx context.Context, w want) (got, error) {
	r.hold(w.dir)
	if pinned(w.dir, w.url, w.commit) {
		r.used(w.dir)
		return got{dir: w.dir, cached: true}, nil
	}
	var g got
	var err error = config.Errorf(config.Failed, "push again when its source is reachable", "commit %s is not in the cache", w.commit.Short())
	if !w.offline {
		g, err = r.fly(ctx, w)
	}
	g.dir = w.dir
	if err != nil {
		r.drop(w.dir)
	}
	return g, err
}

// flight is a fetch that several may wait for. It runs under a context of its
// own, which ends when the last of them has left.
type flight struct {
	waiting int
	cancel  context.CancelCauseFunc
	done    chan struct{}
	got     got
	err     error
}

// fly joins the flight to a commit by way of a source, or starts it. Others may
// reach the same repository with other credentials: that is another flight, as
// its errors are.
func (r *Resolver) fly(ctx context.Context, w want) (got, error) {
	key := w.dir + " " + string(w.commit) + " " + w.src.URL.String() + " " + w.src.Identity
	r.mu.Lock()
	f := r.flights[key]
	if f == nil {
		own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{})}
		r.flights[key] = f
		r.flown.Go(func() {
			defer close(f.done)
			f.err = guard.Run(func() (err error) { f.got, err = r.bounded(own, w); return err })
			cancel(nil)
			r.mu.Lock()
			if r.flights[key] == f {
				delete(r.flights, key) // neither an error nor a success is kept: the cache is asked again
			}
			r.mu.Unlock()
		})
	}
	f.waiting++
	r.mu.Unlock()
	select {
	case <-f.done:
		return f.got, f.err
	case <-ctx.Done():
	}
	r.mu.Lock()
	f.waiting--
	last := f.waiting == 0
	if last && r.flights[key] == f {
		delete(r.flights, key) // nobody joins what is being ended
	}
	r.mu.Unlock()
	if last {
		f.cancel(context.Cause(ctx))
		<-f.done // what it started has ended when we return
	}
	return got{}, context.Cause(ctx)
}

// bounded fetches within [limits] fetch_timeout, whatever waits for what.
func (r *Resolver) bounded(ctx context.Context, w want) (got, error) {
	limit := r.o.Config().Limits.FetchTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &slowError{w.url.Addr(), limit})
	defer cancel()
	began := r.o.Now()
	g, err := r.fetch(ctx, w)
	g.took = r.o.Now().Sub(began)
	var slow *slowError
	if errors.As(err, &slow) {
		err = config.Errorf(config.Failed, "push again, or an admin raises [limits] fetch_timeout", "%w", slow)
	}
	return g, err
}

// gate lets a bounded number in, a bound that may change while it is used.
type gate struct {
	limit func() int

	mu      sync.Mutex
	inside  int
	waiting []chan struct{}
}

// enter waits for a place; leave must follow if there is no error.
func (g *gate) enter(ctx context.Context) error {
	g.mu.Lock()
	if g.inside < max(g.limit(), 1) {
		g.inside++
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	g.waiting = append(g.waiting, turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	for i, t := range g.waiting {
		if t == turn {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			g.mu.Unlock()
			return context.Cause(ctx)
		}
	}
	g.mu.Unlock()
	g.leave() // the turn came just now
	return context.Cause(ctx)
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	for len(g.waiting) > 0 && g.inside < max(g.limit(), 1) {
		g.inside++
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
	}
}
