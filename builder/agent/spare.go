package agent

import (
	"context"
	"path/filepath"
	"sync"

	"slipway/builder"
)

// spares are the trees that are being laid out aside, one at a time for each
// app. A deploy that comes meanwhile does not wait for one.
type spares struct {
	mu    sync.Mutex
	going map[string]context.CancelFunc
}

// begin notes that one is being made; done must be called at its end.
func (s *spares) begin(ctx context.Context, app string) (_ context.Context, done func()) {
	s.stop(app)
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.going[app] = cancel
	return ctx, cancel
}

// stop ends one that is being made.
func (s *spares) stop(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.going[app]; cancel != nil {
		cancel()
	}
	delete(s.going, app)
}

func (c *call) app() string { return filepath.Join(c.request.Place.Root, c.ae.App().String()) }

// makeSpare makes one of the live release, once a deploy is over.
func (c *call) makeSpare(ctx context.Context) {
	all, err := c.host.Status(ctx, c.ae)
	if err != nil || len(all) == 0 || all[0].Live == 0 {
		return
	}
	ctx, done := c.server.spares.begin(ctx, c.app())
	defer done()
	// Without one the next deploy takes a little longer: that is all.
	_ = c.host.MakeContentsSpare(ctx, builder.Ref{AppEnv: c.ae, Number: all[0].Live})
}
