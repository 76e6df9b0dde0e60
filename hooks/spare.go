package hooks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/submodule"
	"slipway/hooks/tree"
	"slipway/store"
)

// treeWorkers is how many files git writes side by side.
const treeWorkers = 4

// layTree lays the tree into the place of the release: a spare tree, if the
// APP/ENV has one, is made into it by what differs. It takes as long as what
// has changed is large, not the tree.
func (d *deploy) layTree(ctx context.Context, parts []tree.Part) (builder.Sent, error) {
	o := tree.Options{Workers: treeWorkers}
	keeper, keeps := d.target.(builder.Keeper)
	if keeps {
		var err error
		if o.Owner, err = accountOf(ctx, keeper, d.ae); err != nil {
			return builder.Sent{}, err
		}
		d.given = true
		if done, err := d.fromSpare(ctx, keeper, parts, o); done || err != nil {
			return builder.Sent{}, err
		}
	}
	sent, err := d.layAnew(ctx, parts, o)
	if keeps && errors.Is(err, syscall.ENOSPC) {
		// What is only good to have makes room for what is needed.
		some, dropped := keeper.DropSpares(ctx)
		if dropped != nil {
			return sent, errors.Join(err, dropped)
		}
		if some {
			return d.layAnew(ctx, parts, o)
		}
	}
	return sent, err
}

func (d *deploy) layAnew(ctx context.Context, parts []tree.Part, o tree.Options) (builder.Sent, error) {
	source, err := d.source(parts, o)
	if err != nil {
		return builder.Sent{}, err
	}
	return d.target.Place(ctx, builder.Ref{AppEnv: d.ae, Number: d.rel.Number}, source)
}

// fromSpare says whether it has made the tree of the spare one.
func (d *deploy) fromSpare(ctx context.Context, keeper builder.Keeper, parts []tree.Part, o tree.Options) (bool, error) {
	// One that is being made is worth waiting for: to make another takes longer.
	if err := d.s.spares.settle(ctx, d.ae); err != nil {
		return false, err
	}
	if d.options.noCache {
		return false, nil
	}
	dir, note, err := keeper.PlaceSpare(ctx, builder.Ref{AppEnv: d.ae, Number: d.rel.Number})
	if err != nil || note == nil {
		return false, err
	}
	d.spent = true
	r, err := tree.DecodeRecord(note)
	if err == nil {
		err = tree.Update(ctx, r, d.s.o.Versions, d.manifest, parts, dir, o)
	}
	if err == nil || ctx.Err() != nil {
		return true, err
	}
	d.s.o.Log.Warn().Err(err).Str("app", d.ae.String()).Msg("the spare tree is of no use: writing the tree anew")
	return false, nil
}

func accountOf(ctx context.Context, keeper builder.Keeper, ae config.AppEnv) (*tree.Owner, error) {
	uid, gid, err := keeper.Account(ctx, ae)
	if err != nil || uid < 0 {
		return nil, err
	}
	return &tree.Owner{UID: uid, GID: gid}, nil
}

// spares makes spare trees in the background: one at a time, and only while no
// deploy is at work.
type spares struct {
	slot chan struct{}

	mu      sync.Mutex
	making  map[config.AppEnv]*making
	stopped bool
}

// making is one spare tree that is to be made, or is being made.
type making struct {
	cancel context.CancelFunc
	begun  bool
	done   chan struct{}
}

func newSpares() *spares {
	return &spares{slot: make(chan struct{}, 1), making: map[config.AppEnv]*making{}}
}

// settle returns when no spare tree of ae is being made: one that is not begun
// is given up. The caller holds the APP/ENV, so that none is begun until it
// leaves.
func (p *spares) settle(ctx context.Context, ae config.AppEnv) error {
	p.mu.Lock()
	m := p.making[ae]
	if m != nil && !m.begun {
		m.cancel()
	}
	p.mu.Unlock()
	if m == nil {
		return nil
	}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop ends what is being made, and lets nothing begin.
func (p *spares) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, m := range p.making {
		m.cancel()
	}
}

// begin marks m as begun, unless it was given up.
func (p *spares) begin(ctx context.Context, m *making) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.begun = ctx.Err() == nil
	return m.begun
}

// refill has a spare tree of what is live in ae made, if there is none.
func (s *Server) refill(ctx context.Context, ae config.AppEnv) {
	p := s.spares
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m := &making{cancel: cancel, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || p.making[ae] != nil {
		cancel()
		return
	}
	p.making[ae] = m
	s.after.Go(func() {
		defer func() {
			cancel()
			p.mu.Lock()
			delete(p.making, ae)
			p.mu.Unlock()
			close(m.done)
		}()
		select {
		case p.slot <- struct{}{}:
			defer func() { <-p.slot }()
		case <-ctx.Done():
			return
		}
		for busy := s.queue.busy(); len(busy) > 0; busy = s.queue.busy() {
			select {
			case <-busy[0].ended:
			case <-ctx.Done():
				return
			}
		}
		if !p.begin(ctx, m) {
			return
		}
		began := s.o.Now()
		switch made, err := s.makeSpare(ctx, ae); {
		case err != nil && ctx.Err() == nil:
			s.o.Log.Warn().Err(err).Str("app", ae.String()).Msg("cannot make a spare tree")
		case made:
			s.o.Log.Info().Str("app", ae.String()).Dur("took", s.o.Now().Sub(began)).Msg("a spare tree is ready")
		}
	})
}

// makeSpare lays the tree of the live release out a second time, from the
// objects that are here: nothing that a build could reach is used.
func (s *Server) makeSpare(ctx context.Context, ae config.AppEnv) (made bool, err error) {
	cfg := s.o.Config()
	target, err := s.o.Target(ctx, ae.Env())
	if err != nil {
		return false, err
	}
	keeper, ok := target.(builder.Keeper)
	live, err := s.o.Store.LiveRelease(ctx, ae)
	if err != nil || !ok || live == nil {
		return false, err
	}
	if cfg.Limits.SpareBytes == 0 || live.Tree.Bytes > cfg.Limits.SpareBytes {
		return false, keeper.DropSpare(ctx, ae)
	}
	dir, err := keeper.MakeSpare(ctx, ae)
	if err != nil || dir == "" {
		return false, err
	}
	made, err = s.fillSpare(ctx, cfg, keeper, live, dir)
	if err != nil || !made {
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
		defer cancel()
		err = errors.Join(err, keeper.DropSpare(tidy, ae))
	}
	return made, err
}

func (s *Server) fillSpare(ctx context.Context, cfg *config.Server, keeper builder.Keeper, live *store.Release, dir string) (kept bool, err error) {
	d := &deploy{s: s, ae: live.AppEnv, cfg: cfg, env: cfg.Environments[live.AppEnv.Env()], commit: live.Commit, live: live}
	base, err := d.base(ctx)
	if err != nil {
		return false, err
	}
	repo := d.gitDir()
	res, err := s.o.Resolver.Resolve(ctx, submodule.Request{
		AppEnv: d.ae, Repo: submodule.Repo{Dir: repo}, Commit: live.Commit, Upstream: base, Skip: live.Plan.Skipped, Offline: true,
	})
	if err != nil {
		return false, err
	}
	defer res.Close()
	if !samePlan(res.Plan, live.Plan) {
		return false, errors.New("the plan of the live release comes out as another now")
	}
	parts := partsOf(tree.Part{Dir: repo, Commit: live.Commit}, res)
	// The rules were applied when it was deployed; what they are now is for
	// the next deploy.
	m, err := tree.Read(ctx, parts, res.Plan.Skipped, tree.Limits{LFS: "pointers"})
	if err != nil {
		return false, err
	}
	if m.ID != live.Tree.ID {
		return false, fmt.Errorf("the tree of the live release comes out as %s now, not as %s", m.ID, live.Tree.ID)
	}
	if ample, err := tree.Ample(m, dir); err != nil || !ample {
		return false, err
	}
	o := tree.Options{Workers: treeWorkers, Behind: true}
	if o.Owner, err = accountOf(ctx, keeper, d.ae); err != nil {
		return false, err
	}
	if err := tree.Write(ctx, m, parts, dir, o); err != nil {
		return false, err
	}
	err = keeper.KeepSpare(ctx, d.ae, func() ([]byte, error) {
		r, err := tree.Survey(ctx, s.o.Versions, m, parts, dir, o)
		if err != nil {
			return nil, err
		}
		return r.Encode()
	})
	return err == nil, err
}
