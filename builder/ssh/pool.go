package ssh

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"slipway/builder/agent"
	"slipway/builder/sshclient"
)

const (
	connectTime = 90 * time.Second // with an agent to be put there
	idleTime    = time.Minute      // without a call
)

// PoolOptions wire a Pool.
type PoolOptions struct {
	// Executable is this program, which is its own agent.
	Executable string

	// Agents are directories where the programs for other machines may lie, as
	// slipway-linux-ARCH.
	Agents []string
}

// Pool has one connection to each host, which all deploys share. It is made at
// the first call, and ends when none has come for a while.
type Pool struct {
	programs *programs

	mu     sync.Mutex
	links  map[login]*link
	closed bool
}

// login is what a connection is for: as whom, on which machine, by which way.
type login struct {
	host, via            string
	identity, knownHosts string
	sudo                 bool
}

// NewPool returns a Pool without connections.
func NewPool(o PoolOptions) *Pool {
	return &Pool{programs: newPrograms(o), links: map[login]*link{}}
}

// Forget has new connections made for what comes from now on, as the files
// that they hang on may have changed.
func (p *Pool) Forget() { p.end(false) }

// Close ends every connection.
func (p *Pool) Close() error { return p.end(true) }

func (p *Pool) end(closed bool) error {
	p.mu.Lock()
	links := p.links
	p.links, p.closed = map[login]*link{}, p.closed || closed
	p.mu.Unlock()
	var errs []error
	for _, l := range links {
		errs = append(errs, l.retire(closed))
	}
	return errors.Join(errs...)
}

func (p *Pool) link(l login) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("the server stops")
	}
	if p.links[l] == nil {
		p.links[l] = &link{turn: make(chan struct{}, 1)}
	}
	return p.links[l], nil
}

// link is the connection to one host.
type link struct {
	turn chan struct{} // held by who makes the connection

	mu      sync.Mutex
	client  *agent.Client
	conn    io.Closer // the SSH connection below it
	users   int
	idle    *time.Timer
	retired bool // it ends with its last user
}

// use returns the connection, and makes it if there is none; done must be
// called when the call has ended.
func (l *link) use(ctx context.Context, connect func(context.Context) (*agent.Client, io.Closer, error)) (c *agent.Client, done func(), err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	l.mu.Lock()
	if l.client != nil && !ended(l.client) {
		defer l.mu.Unlock()
		return l.client, l.enter(), nil
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	client, conn, err := connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client, l.conn = client, conn
	return client, l.enter(), nil
}

func ended(c *agent.Client) bool {
	select {
	case <-c.Closed():
		return true
	default:
		return false
	}
}

// enter counts a user; the caller holds the lock.
func (l *link) enter() (done func()) {
	l.users++
	if l.idle != nil {
		l.idle.Stop()
		l.idle = nil
	}
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.users--; l.users > 0 {
			return
		}
		if l.retired {
			l.drop()
			return
		}
		l.idle = time.AfterFunc(idleTime, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.users == 0 {
				l.drop()
			}
		})
	})
}

// drop ends the connection; the caller holds the lock.
func (l *link) drop() error {
	if l.idle != nil {
		l.idle.Stop()
		l.idle = nil
	}
	if l.client == nil {
		return nil
	}
	err := l.client.Close()
	// An SSH connection that has ended already says so; that is no news.
	_ = l.conn.Close()
	l.client = nil
	return err
}

func (l *link) retire(now bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
	if now || l.users == 0 {
		return l.drop()
	}
	return nil
}

// start starts the agent on a machine, and puts it there where it is not.
func (p *Pool) start(ctx context.Context, ep sshclient.Endpoint, via *sshclient.Endpoint, sudo bool) (*agent.Client, io.Closer, error) {
	conn, err := sshclient.Dial(ctx, ep, via, sshclient.Options{})
	if err != nil {
		return nil, nil, err
	}
	m := machine{conn: conn, name: ep.Host.Name, user: ep.Host.User, sudo: sudo, programs: p.programs}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	client, err := m.agent(ctx)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close() // it may have ended, which is why
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, err
	}
	go func() { // the agent notices a silence for both
		<-client.Closed()
		conn.Close()
	}()
	return client, conn, nil
}
