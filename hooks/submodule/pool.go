package submodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/builder/sshclient"
	"slipway/config"
)

const (
	channels  = 8                // sessions at once on a connection; sshd allows 10
	dialTime  = 10 * time.Second // to a proved identity
	idleTime  = time.Minute      // without a session
	aliveTime = 15 * time.Second // between two signs of life
)

// pool has one connection for each source and login, shared by every fetch.
type pool struct {
	now func() time.Time

	mu     sync.Mutex
	links  map[string]*link
	alive  map[*link]bool // retired ones too
	closed bool
	tasks  sync.WaitGroup
}

// link is one connection, or the attempt at one.
type link struct {
	ready  chan struct{} // closed when client or err is set
	client *ssh.Client
	err    error
	stop   context.CancelFunc // ends the attempt
	over   chan struct{}      // closed when the connection has ended
	places chan struct{}      // one for each session that may run

	users int         // guarded by pool.mu: who has it, or waits for it
	open  int         // guarded by pool.mu: sessions that run
	idle  *time.Timer // guarded by pool.mu
}

func newPool(now func() time.Time) *pool {
	return &pool{now: now, links: map[string]*link{}, alive: map[*link]bool{}}
}

func linkKey(src *config.Source, url config.SourceURL) string {
	return url.User() + "@" + url.Addr() + " " + src.Identity + " " + src.KnownHosts
}

// session opens a session; done must be called when it has ended. A connection
// that has died unseen is made anew, once.
func (p *pool) session(ctx context.Context, src *config.Source, url config.SourceURL) (s *ssh.Session, done func(), err error) {
	key := linkKey(src, url)
	for try := 0; ; try++ {
		l, err := p.link(ctx, key, src, url)
		if err != nil {
			return nil, nil, err
		}
		s, err := p.open(ctx, l)
		if err == nil {
			return s, func() { s.Close(); p.closeSession(key, l) }, nil
		}
		p.leave(key, l)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		var no *ssh.OpenChannelError
		if try > 0 {
			if errors.As(err, &no) {
				return nil, nil, &unreachableError{url.Addr(), "it opens no session"}
			}
			return nil, nil, &unreachableError{url.Addr(), sshclient.Reason(err)}
		}
		if !errors.As(err, &no) {
			p.drop(key, l)
		}
	}
}

// link returns the connection, and makes it if there is none; leave must follow
// if there is no error.
func (p *pool) link(ctx context.Context, key string, src *config.Source, url config.SourceURL) (*link, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errors.New("the server stops")
	}
	l := p.links[key]
	if l == nil {
		own, stop := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
		l = &link{ready: make(chan struct{}), over: make(chan struct{}), places: make(chan struct{}, channels), stop: stop}
		p.links[key], p.alive[l] = l, true
		p.tasks.Go(func() { p.connect(own, key, l, src, url) })
	}
	l.users++
	if l.idle != nil {
		l.idle.Stop()
		l.idle = nil
	}
	p.mu.Unlock()
	select {
	case <-l.ready:
		if l.err == nil {
			return l, nil
		}
		p.leave(key, l)
		return nil, l.err
	case <-ctx.Done():
		p.leave(key, l)
		return nil, context.Cause(ctx)
	}
}

// connect makes the connection and stays with it to its end. An error is for
// those who wait now, and is not kept.
func (p *pool) connect(ctx context.Context, key string, l *link, src *config.Source, url config.SourceURL) {
	l.client, l.err = dial(ctx, src, url, p.now)
	l.stop()
	if l.err != nil {
		p.bury(key, l)
		close(l.over)
		close(l.ready)
		return
	}
	p.tasks.Go(func() {
		_ = l.client.Wait() // how it ended is of no use to anyone
		p.bury(key, l)
		close(l.over)
	})
	close(l.ready)
	sshclient.KeepAlive(l.over, l.client, aliveTime)
}

// open waits for a place and opens a session. Where the server allows fewer
// sessions than we have places, those that it refuses are given up for good.
func (p *pool) open(ctx context.Context, l *link) (*ssh.Session, error) {
	for {
		select {
		case l.places <- struct{}{}:
		case <-l.over:
			return nil, errors.New("the connection was cut")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		s, err := l.client.NewSession()
		var no *ssh.OpenChannelError
		p.mu.Lock()
		others := l.open > 0
		if err == nil {
			l.open++
		}
		p.mu.Unlock()
		switch {
		case err == nil:
			return s, nil
		case errors.As(err, &no) && others && len(l.places) > 1:
			continue // our place stays taken
		}
		<-l.places
		return nil, err
	}
}

func (p *pool) closeSession(key string, l *link) {
	p.mu.Lock()
	l.open--
	p.mu.Unlock()
	<-l.places
	p.leave(key, l)
}

func (p *pool) leave(key string, l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.users--
	if l.users > 0 {
		return
	}
	if p.links[key] != l || !l.isReady() {
		if p.links[key] == l {
			delete(p.links, key) // nobody waits for it any more
		}
		p.end(l)
		return
	}
	l.idle = time.AfterFunc(idleTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.users == 0 && p.links[key] == l {
			delete(p.links, key)
			p.end(l)
		}
	})
}

// end closes a connection that nobody has; the caller has the lock.
func (p *pool) end(l *link) {
	switch {
	case !l.isReady():
		l.stop()
	case l.client != nil:
		l.client.Close()
	}
}

func (l *link) isReady() bool {
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

// drop closes a connection that has failed.
func (p *pool) drop(key string, l *link) {
	p.bury(key, l)
	l.client.Close()
}

// bury forgets a connection that has ended.
func (p *pool) bury(key string, l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.alive, l)
	if p.links[key] == l {
		delete(p.links, key)
	}
}

// retire has a new connection made for what comes after; the one that is there
// ends with its last session.
func (p *pool) retire(src *config.Source, url config.SourceURL) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := linkKey(src, url)
	if l := p.links[key]; l != nil {
		p.retireLink(l)
		delete(p.links, key)
	}
}

func (p *pool) retireLink(l *link) {
	if l.idle != nil {
		l.idle.Stop()
	}
	if l.users == 0 {
		p.end(l)
	}
}

// forget retires every connection.
func (p *pool) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		p.retireLink(l)
	}
	p.links = map[string]*link{}
}

// close ends every connection, and returns when all has ended.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for l := range p.alive {
		if l.idle != nil {
			l.idle.Stop()
		}
		p.end(l)
	}
	p.mu.Unlock()
	p.tasks.Wait()
}
