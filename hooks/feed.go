package hooks

import (
	"context"
	"io"
	"sync"

	"slipway/builder"
	"slipway/config"
)

// feed lets readers follow a log that is being written.
type feed struct {
	release  int
	progress *builder.Progress
	over     chan struct{}
	end      func()
}

func (s *Server) openFeed(ae config.AppEnv, release int, p *builder.Progress) *feed {
	f := &feed{release: release, progress: p, over: make(chan struct{})}
	f.end = sync.OnceFunc(func() { close(f.over) })
	s.mu.Lock()
	s.feeds[ae] = f
	s.mu.Unlock()
	return f
}

func (s *Server) closeFeed(ae config.AppEnv, f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.feeds[ae] == f {
		delete(s.feeds, ae)
	}
}

// FollowLog copies the log of release n (0 is the newest) to w; with follow it
// goes on until that release's deploy ends.
func (s *Server) FollowLog(ctx context.Context, ae config.AppEnv, n int, follow bool, w io.Writer) error {
	if n == 0 {
		all, err := s.o.Store.Releases(ctx, ae)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return noRelease(ae)
		}
		n = all[0].Number
	}
	log, err := s.o.Store.OpenLog(ae, n)
	if err != nil {
		return err
	}
	defer log.Close()
	s.mu.Lock()
	f := s.feeds[ae]
	s.mu.Unlock()
	if f == nil || f.release != n || !follow {
		_, err := io.Copy(w, log)
		return err
	}
	for over := false; ; {
		changed := f.progress.Changed()
		if _, err := io.Copy(w, log); err != nil || over {
			return err
		}
		select {
		case <-changed:
		case <-f.over:
			over = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func noRelease(ae config.AppEnv) error {
	return config.Errorf(config.NotFound, "git push deploy main makes the first", "%s has no release", ae)
}
