package hooks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway/config"
	"slipway/store/disk"
	"slipway/store/fault"
	"slipway/store/git"
)

const (
	// maxPacks is how many packs a repository has before they are made fewer:
	// every push brings one, and git looks for an object in each.
	maxPacks = 20

	// repackTime bounds what is done at a low priority.
	repackTime = 10 * time.Minute
)

// repacks makes few packs of many in the app repositories, one repository at a
// time. Pushes and deploys go on meanwhile: nothing is dropped, not even what no
// ref leads to, as a release that is kept may have it, and a git that looks for
// an object in a pack that is gone looks again.
type repacks struct {
	slot chan struct{} // held by what runs, and by who needs that nothing does

	mu     sync.Mutex
	wanted map[config.App]context.CancelFunc
	due    map[config.App]int64 // packs at which it is tried again
	held   int                  // by how many who need that nothing begins
}

func newRepacks() *repacks {
	return &repacks{slot: make(chan struct{}, 1), wanted: map[config.App]context.CancelFunc{}, due: map[config.App]int64{}}
}

// hold gives up what runs and what is wanted, and lets nothing begin. A later
// push wants it again.
func (r *repacks) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held++
	for _, cancel := range r.wanted {
		cancel()
	}
}

func (r *repacks) free() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held--
}

// WithoutRepack runs f, to which every pack that is there has to stay.
func (s *Server) WithoutRepack(ctx context.Context, f func() error) error {
	s.repacks.hold()
	defer s.repacks.free()
	select {
	case s.repacks.slot <- struct{}{}:
		defer func() { <-s.repacks.slot }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return f()
}

// repackLater has the packs of an app made fewer in the background, if they are
// many.
func (s *Server) repackLater(ctx context.Context, app config.App) {
	log := s.o.Log.With().Str("app", app.String()).Logger()
	before, err := packsOf(s.o.Store.RepoPath(app))
	if err != nil {
		log.Warn().Err(err).Msg("cannot count the packs of a repository")
		return
	}
	r := s.repacks
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held > 0 || r.wanted[app] != nil || before.Files <= max(maxPacks, r.due[app]) {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.wanted[app] = cancel
	s.after.Go(func() {
		defer func() {
			cancel()
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.wanted, app)
		}()
		select {
		case r.slot <- struct{}{}:
			defer func() { <-r.slot }()
		case <-ctx.Done():
			return
		}
		began := s.o.Now()
		err := s.Guarded(func() error { return s.repack(ctx, app) })
		if ctx.Err() != nil {
			return
		}
		after, uncounted := packsOf(s.o.Store.RepoPath(app))
		r.mu.Lock()
		r.due[app] = after.Files + maxPacks // what fails, or has no effect, is not tried at every push
		r.mu.Unlock()
		if err = errors.Join(err, uncounted); err != nil {
			log.Warn().Err(err).Int64("packs", after.Files).Msg("cannot repack a repository")
			return
		}
		log.Info().Int64("packs", after.Files).Int64("before", before.Files).Dur("took", s.o.Now().Sub(began)).Msg("a repository is repacked")
	})
}

// repack rolls small packs up into larger ones, so that each has twice the
// objects of the next: what is large already is hardly ever written again.
func (s *Server) repack(ctx context.Context, app config.App) error {
	row, err := s.o.Store.App(ctx, app)
	if err != nil || row == nil { // destroyed meanwhile
		return err
	}
	repo := s.o.Store.RepoPath(app)
	have, err := packsOf(repo)
	if err != nil {
		return err
	}
	room := disk.Write{Path: repo, What: "a repack", Need: have}
	if err := room.Check(); err != nil { // it must not be what fills the disk
		return err
	}
	s.mu.Lock()
	s.repacking[app] = true
	s.mu.Unlock()
	defer s.repacked(app)
	if err := fault.Hit("repack.start"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, repackTime, errors.New("it takes longer than "+repackTime.String()))
	defer cancel()
	c := git.Cmd{
		Dir: repo, Args: []git.Opt{"repack", "--geometric=2", "-d", "-q"}, Files: s.lockFiles(),
		Config: map[string]string{"pack.threads": "1", "pack.windowMemory": "64m", "pack.deltaCacheSize": "32m", "repack.writeBitmaps": "false"},
	}
	if err := c.RunAside(ctx); err != nil {
		return room.Explain(err)
	}
	if err := fault.Hit("repack.end"); err != nil {
		return err
	}
	return syncDir(filepath.Join(repo, "objects", "pack"))
}

// repacked removes what a repack that was ended has left, now or when the last
// push that is under way has ended.
func (s *Server) repacked(app config.App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.repacking, app)
	s.sweepIdle(app)
}

// sweepIdle removes what killed pushes and repacks have left, unless there is
// one under way. The caller holds s.mu.
func (s *Server) sweepIdle(app config.App) {
	if s.opening[app] > 0 || s.repacking[app] {
		return
	}
	if err := sweepPushes(s.o.Store.RepoPath(app)); err != nil {
		s.o.Log.Error().Err(err).Str("app", app.String()).Msg("cannot remove what a killed push has left")
	}
}

// packsOf counts the packs of a repository, and their bytes. One that is not
// there has none.
func packsOf(repo string) (all disk.Room, err error) {
	entries, err := os.ReadDir(filepath.Join(repo, "objects", "pack"))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != packExt {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return all, err
		}
		all.Files++
		all.Bytes += info.Size()
	}
	return all, err
}

const packExt, indexExt = ".pack", ".idx"

// mendPacks gives every pack that has no index one, and removes what lies about
// with neither: a git was killed as it brought a pack in or took one away. No
// git may run. What has to be done with a damaged one is for an admin.
func mendPacks(ctx context.Context, repo string) error {
	dir := filepath.Join(repo, "objects", "pack")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	there := map[string]bool{}
	for _, e := range entries {
		there[e.Name()] = true
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext)
		switch {
		case !strings.HasPrefix(name, "pack-"):
		case ext == packExt && !there[name+indexExt]:
			err = errors.Join(err, indexPack(ctx, repo, filepath.Join(dir, e.Name())))
		case !there[name+packExt]:
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// indexPack takes a pack in as one that has just come, which leaves it where it
// is.
func indexPack(ctx context.Context, repo, path string) error {
	pack, err := os.Open(path)
	if err != nil {
		return err
	}
	err = git.Cmd{Dir: repo, Args: []git.Opt{"index-pack", "--stdin"}, Stdin: pack}.Run(ctx)
	return errors.Join(err, pack.Close())
}
