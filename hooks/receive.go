package hooks

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"slipway/config"
	"slipway/store"
	"slipway/store/disk"
	"slipway/store/fault"
)

// Push is one git receive-pack from its start to its end: what its hooks, each
// a process of its own, have in common.
type Push struct {
	s      *Server
	caller store.Caller
	ae     config.AppEnv
	token  string
	stop   func() bool // stops watching the session

	running sync.WaitGroup // hooks

	mu     sync.Mutex
	closed bool
	used   map[string]bool           // hooks that have run
	cancel []context.CancelCauseFunc // of the hooks that run
	gone   error                     // why the pusher's session ended
	d      *deploy                   // from pre-receive on; nil if it refused
}

// OpenPush lets caller push to ae: the repository exists when it returns.
// Close must be called when git receive-pack has ended.
func (s *Server) OpenPush(ctx context.Context, c store.Caller, ae config.AppEnv) (*Push, error) {
	if err := s.May(c, ae); err != nil {
		s.audit(ctx, c, ae, "push", "", err)
		return nil, err
	}
	if err := s.settleIdle(ctx, ae); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.opening[ae.App()]++
	s.mu.Unlock()
	p := &Push{s: s, caller: c, ae: ae, token: rand.Text(), used: map[string]bool{}}
	if _, err := s.o.Store.EnsureRepo(ctx, ae.App()); err != nil {
		s.closeRepo(ctx, ae.App())
		return nil, err
	}
	s.mu.Lock()
	s.pushes[p.token] = p
	s.mu.Unlock()
	p.stop = context.AfterFunc(ctx, func() { p.leave(context.Cause(ctx)) })
	if err := s.Guarded(func() error { return fault.Hit("push.open") }); err != nil {
		p.Close(ctx)
		return nil, err
	}
	return p, nil
}

// leave cancels the hooks that run, and those that would: the pusher's session
// has ended, or somebody has said so. The first cause stands.
func (p *Push) leave(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone != nil {
		return
	}
	p.gone = why
	for _, cancel := range p.cancel {
		cancel(why)
	}
}

// closeRepo removes the repository of an app that no accepted push has made. One
// whose deploy the journal has not done with is kept: its ref may be the record
// of a release that is live.
func (s *Server) closeRepo(ctx context.Context, app config.App) {
	ctx = context.WithoutCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opening[app]--; s.opening[app] > 0 {
		return
	}
	delete(s.opening, app)
	s.sweepIdle(app)
	row, err := s.o.Store.App(ctx, app)
	if err == nil && row == nil {
		var open []store.Entry
		open, err = s.o.Store.OpenEntries(ctx)
		if slices.ContainsFunc(open, func(e store.Entry) bool { return e.AppEnv.App() == app }) {
			return
		}
		if err == nil {
			err = s.o.Store.RemoveRepo(app)
		}
	}
	if err != nil {
		s.o.Log.Error().Err(err).Str("app", app.String()).Msg("cannot tidy the repository of a refused push")
	}
}

// OpenFetch lets caller fetch what was deployed to ae: the repository, and what
// git needs beside the base environment.
func (s *Server) OpenFetch(ctx context.Context, c store.Caller, ae config.AppEnv) (dir string, env map[string]string, err error) {
	if err := s.May(c, ae); err != nil {
		s.audit(ctx, c, ae, "fetch", "", err)
		return "", nil, err
	}
	row, err := s.o.Store.App(ctx, ae.App())
	if err == nil && row == nil {
		err = config.Errorf(config.NotFound, "git push deploy main makes it", "there is no app %s yet", ae.App())
	}
	if err != nil {
		return "", nil, err
	}
	return s.o.Store.RepoPath(ae.App()), map[string]string{"GIT_NAMESPACE": ae.Env().String()}, nil
}

// Dir is the repository to receive into.
func (p *Push) Dir() string { return p.s.o.Store.RepoPath(p.ae.App()) }

// Environ is what git receive-pack needs beside the base environment, for its
// hooks to find their way back.
func (p *Push) Environ() map[string]string {
	return map[string]string{
		"GIT_NAMESPACE": p.ae.Env().String(),
		envDir:          p.s.dir,
		envToken:        p.token,
	}
}

// Files are what git receive-pack inherits beside its streams: they keep DIR
// locked as long as it runs.
func (p *Push) Files() []*os.File { return p.s.lockFiles() }

// Config is git's configuration for receiving.
func (p *Push) Config() map[string]string {
	l := p.s.o.Config().Limits
	return map[string]string{
		"core.hooksPath":               filepath.Join(p.s.dir, "hooks"),
		"receive.procReceiveRefs":      "refs/",
		"receive.advertisePushOptions": "true",
		"receive.unpackLimit":          "1",
		"receive.maxInputSize":         strconv.FormatInt(l.PushBytes, 10),
		"receive.autogc":               "false",
		"receive.updateServerInfo":     "false",
		"receive.keepAlive":            "1", // a client that is gone shows when it is written to
		// Old, honest histories have these two; what is deployed is checked by us.
		"receive.fsck.zeroPaddedFilemode":     "warn",
		"receive.fsck.missingSpaceBeforeDate": "warn",
	}
}

// Unreceived is why git could not store what was pushed, where that is the file
// system's fault; nil otherwise, and as soon as a hook has had its say. said is
// what git printed last, size how much the client sent.
func (p *Push) Unreceived(ctx context.Context, said string, size int64) error {
	p.mu.Lock()
	begun := len(p.used) > 0
	p.mu.Unlock()
	cause := disk.Said(said, p.Dir())
	if begun || cause == 0 {
		return nil
	}
	err := disk.Write{Path: p.Dir(), What: "the push", Need: disk.Room{Bytes: size}, AtLeast: true}.Refused(cause, nil)
	p.s.audit(ctx, p.caller, p.ae, "push", "", err)
	return err
}

// Close ends the push: a deploy that was staged and never switched is taken
// back.
func (p *Push) Close(ctx context.Context) {
	p.stop()
	p.s.mu.Lock()
	delete(p.s.pushes, p.token)
	p.s.mu.Unlock()
	over := errors.New("git receive-pack ended before the switch")
	p.mu.Lock()
	p.closed = true
	err := p.gone
	p.mu.Unlock()
	p.leave(over) // a hook outlives git where that was killed
	p.running.Wait()
	p.mu.Lock()
	d := p.d
	p.d = nil
	p.mu.Unlock()
	if d != nil {
		if err == nil {
			err = over
		} else { // the session's own end may be another matter
			var cancel context.CancelCauseFunc
			ctx, cancel = context.WithCancelCause(ctx)
			cancel(err)
		}
		d.abandon(ctx, err)
		p.s.audit(ctx, p.caller, p.ae, "push", d.detail(), err)
	}
	p.s.closeRepo(ctx, p.ae.App())
	p.s.repackLater(ctx, p.ae.App())
}
