package receiver

import (
	"context"
	"fmt"
	"time"
)

// Shutdown stops accepting, lets what runs end, at most until ctx is done,
// and then closes what is left and waits for it. The error says that something
// did not end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.beginStop()
	s.await(ctx, func(c *conn) bool { return !c.busy() })
	// Who was served hangs up by himself; closing under him could cost him the
	// exit status that is still on its way, or the reason why ctx's end has
	// ended his deploy.
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timing.farewell)
	defer cancel()
	s.await(bye, func(*conn) bool { return false })
	s.killAll(errStopping)

	over := make(chan struct{})
	go func() {
		defer close(over)
		s.conns.Wait()
		s.sessions.Wait()
	}()
	patience := time.NewTimer(s.timing.lastCall)
	defer patience.Stop()
	select {
	case <-over:
		return nil
	case <-patience.C:
		return fmt.Errorf("a session did not end within %s of being cancelled", s.timing.lastCall)
	}
}

// await returns when done holds for every connection that is in, or with ctx.
func (s *Server) await(ctx context.Context, done func(*conn) bool) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		all := true
		for _, c := range s.gate.all() {
			all = all && done(c)
		}
		if all {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// beginStop closes the listener and lets no session begin any more.
func (s *Server) beginStop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	s.stopping = true
	close(s.stop)
	if err := s.listener.Close(); err != nil {
		s.o.Log.Debug().Err(err).Msg("close the SSH listener")
	}
}

func (s *Server) killAll(why error) {
	for _, c := range s.gate.all() {
		c.kill(why)
	}
}

// watch asks the client for signs of life and ends a connection that gives
// none, does nothing, or does not read what it asked for.
func (s *Server) watch(c *conn) {
	tick := time.NewTicker(s.timing.tick)
	defer tick.Stop()
	asked := time.Now()
	answered := make(chan struct{}, 1)
	answered <- struct{}{}
	for {
		select {
		case <-c.closed:
			<-answered // the one who asks ends with the connection
			return
		case now := <-tick.C:
			if why := s.verdict(c, now); why != nil {
				c.kill(why)
				continue
			}
			if c.asker() == nil || now.Sub(asked) < s.timing.ask-s.timing.tick/2 {
				continue
			}
			select {
			case <-answered:
				asked = now
				go func() {
					defer func() { answered <- struct{}{} }()
					// Any answer is a sign of life, and Read notes it; an
					// error is the connection's end.
					_, _, _ = c.asker().SendRequest("keepalive@openssh.com", true, nil)
				}()
			default: // still waiting for the one before
			}
		}
	}
}

// verdict says why the connection has to end, nil if it has not.
func (s *Server) verdict(c *conn, now time.Time) error {
	if !c.proven.Load() {
		return nil // the handshake's deadline sees to it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch still := now.Sub(c.idle); {
	case c.running > 0:
	case c.ssh == nil && still > s.timing.firstOpen:
		return errIdle
	case still > s.timing.idle:
		return errIdle
	case !c.pace.ended.IsZero() && still > s.timing.stalledShut: // what it has sent may take hours to come in
		return errSlow
	}
	if c.ssh == nil {
		return nil
	}
	if c.quiet() >= s.timing.dead {
		return errDead
	}
	s.checkPace(c, now)
	for ch := range c.channels {
		if s.stalled(ch, now) {
			return errStalled
		}
	}
	return nil
}

// checkPace ends the pushes of a connection over which they come in too slowly:
// each holds a git and a place among the connections. The caller holds c.mu.
func (s *Server) checkPace(c *conn, now time.Time) {
	var pushes []*channel
	for ch := range c.channels {
		if ch.push.Load() {
			pushes = append(pushes, ch)
		}
	}
	if len(pushes) == 0 {
		c.pace.begin(now, c.read.Load())
		return
	}
	if c.pace.slow(now, c.read.Load(), s.timing.slow) {
		c.pace.ended = now
		for _, ch := range pushes {
			ch.cancel(errSlow)
		}
	}
}

// stalled ends a session whose client does not read, and says whether even
// that did not help.
func (s *Server) stalled(ch *channel, now time.Time) bool {
	most := s.timing.otherStall
	if ch.git.Load() {
		most = s.timing.gitStall
	}
	waits := max(ch.out.blocked(now), ch.err.blocked(now))
	if waits > most {
		ch.cancel(errStalled)
	}
	return waits > most+s.timing.stalledShut
}
