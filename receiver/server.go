package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"

	"slipway/config"
)

// Server is the SSH door.
type Server struct {
	o        Options
	timing   timing
	listener net.Listener
	gate     *gate

	failures   *rate.Limiter // log lines and rows about strangers
	suppressed atomic.Int64

	mu       sync.Mutex
	stopping bool
	stop     chan struct{}  // closed when stopping begins
	sessions sync.WaitGroup // channels that are open, with what runs on them
	conns    sync.WaitGroup
}

// timing is every time that the door goes by, beside the handshake's.
type timing struct {
	tick        time.Duration // between two looks at a connection
	ask         time.Duration // between two keepalive requests
	dead        time.Duration // without a sign of life; ends the connection
	firstOpen   time.Duration // from the proved key to the first session
	idle        time.Duration // with nothing running
	slow        time.Duration // in which a push comes in at less than slowest
	gitStall    time.Duration // of a write to a git client
	otherStall  time.Duration // of a write to a person, who may have paused a pager
	stalledShut time.Duration // from ending a stalled session to ending its connection
	farewell    time.Duration // for clients to hang up by themselves at the end
	lastCall    time.Duration // for what runs to end after it was cancelled
}

// defaults let a dead client be noticed within 15 s: silent for 12.5 s, looked
// at every 2.5 s.
func defaults() timing {
	return timing{
		tick: 2500 * time.Millisecond, ask: 5 * time.Second, dead: 12500 * time.Millisecond,
		firstOpen: 30 * time.Second, idle: 10 * time.Minute,
		slow: time.Minute, gitStall: time.Minute, otherStall: 10 * time.Minute, stalledShut: 5 * time.Second,
		farewell: 5 * time.Second, lastCall: 10 * time.Second,
	}
}

// New checks the options and opens the listener.
func New(o Options) (*Server, error) {
	if o.HostKey == nil || o.Limits == nil || o.Keys == nil || o.Git == nil || o.Command == nil || o.Now == nil {
		return nil, errors.New("receiver: an option is missing")
	}
	l := o.Listener
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", o.Listen); err != nil {
			return nil, config.Errorf(config.Failed, "set [ssh] listen in server.toml", "listen for SSH on %s: %w", o.Listen, err)
		}
	}
	return &Server{
		o: o, timing: defaults(), listener: l, gate: newGate(o.Now), stop: make(chan struct{}),
		failures: rate.NewLimiter(5, 50),
	}, nil
}

// Addr is where the door listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve lets callers in until Shutdown has ended, then returns nil. When ctx
// is done everything ends at once and Serve returns ctx's cause; the gentle
// end is Shutdown, so ctx should outlive the signal that asks for one.
func (s *Server) Serve(ctx context.Context) error {
	base, end := context.WithCancelCause(ctx)
	defer end(errStopping)
	release := context.AfterFunc(ctx, func() {
		s.beginStop()
		s.killAll(context.Cause(ctx))
	})
	defer release()
	err := s.accept(base, s.library(base))
	if err != nil {
		s.beginStop()
		s.killAll(err)
	}
	s.conns.Wait()
	s.sessions.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// accept lets connections in until the listener is closed on purpose.
func (s *Server) accept(base context.Context, lib *ssh.Server) error {
	for {
		nc, err := s.listener.Accept()
		if err == nil {
			s.welcome(base, lib, nc)
			continue
		}
		select {
		case <-s.stop:
			return nil
		default:
		}
		if !passing(err) {
			return fmt.Errorf("accept SSH connections: %w", err)
		}
		s.o.Log.Error().Err(err).Msg("cannot accept a connection")
		pause := time.NewTimer(100 * time.Millisecond)
		select {
		case <-s.stop:
		case <-pause.C:
		}
		pause.Stop()
	}
}

// passing says whether accept may work again in a moment.
func passing(err error) bool {
	for _, e := range []error{
		syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// welcome starts serving a connection, or closes it.
func (s *Server) welcome(base context.Context, lib *ssh.Server, nc net.Conn) {
	limits := s.o.Limits()
	c, err := newConn(nc, limits.Handshake)
	if err != nil || !s.gate.admit(c, limits.Connections) {
		s.o.Log.Debug().Err(err).Str("addr", nc.RemoteAddr().String()).Msg("connection not taken")
		_ = nc.Close() // there is nothing to lose
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		s.gate.leave(c)
		_ = nc.Close()
		return
	}
	s.conns.Add(1)
	go func() {
		defer s.conns.Done()
		s.serve(base, lib, c)
	}()
}

// serve serves one connection to its end.
func (s *Server) serve(base context.Context, lib *ssh.Server, c *conn) {
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(c)
	}()
	func() {
		defer s.gate.leave(c)
		defer s.rescueConn(c)
		lib.HandleConn(c)
	}()
	_ = c.Close()
	<-watched
	if c.proven.Load() {
		return
	}
	s.turnedAway(base, c)
	if errors.Is(c.why(), errCrowded) || c.read.Load() == 0 && c.quiet() < s.o.Limits().Handshake {
		return // not its fault; or a probe that only looked whether the port is open
	}
	s.gate.failed(c.RemoteAddr())
}

// library configures the SSH library so that nothing of what it does by
// default is left where that would be wrong.
func (s *Server) library(base context.Context) *ssh.Server {
	return &ssh.Server{
		// OpenSSH's client tells only a server of this name (its compat.c) that
		// nobody reads its output any more, which is how we learn that a git
		// was killed whose ssh lives on.
		Version:     "OpenSSH_Slipway",
		HostSigners: []ssh.Signer{s.o.HostKey},
		Handler:     s.handle,
		ConnCallback: func(cx ssh.Context, nc net.Conn) net.Conn {
			cx.SetValue(connKey{}, nc)
			return nc
		},
		// Without a handler here the library would let everyone in without a
		// key. It says whether a key that is merely offered is worth proving.
		PublicKeyHandler: func(cx ssh.Context, key ssh.PublicKey) bool {
			return s.offered(base, connOf(cx), cx.User(), key)
		},
		ServerConfigCallback: func(cx ssh.Context) *gossh.ServerConfig { return s.sshConfig(base, connOf(cx)) },
		ChannelHandlers: map[string]ssh.ChannelHandler{
			"session": s.openSession(base), "default": s.refuseChannel,
		},
		RequestHandlers:   map[string]ssh.RequestHandler{"default": s.refuseRequest},
		SubsystemHandlers: map[string]ssh.SubsystemHandler{},
	}
}

// offered says whether key may be proved.
func (s *Server) offered(ctx context.Context, c *conn, user string, key gossh.PublicKey) bool {
	_, _, err := s.identify(ctx, key, c.RemoteAddr())
	if err == nil {
		return true
	}
	c.offered(offer{key: key, user: user, why: err})
	return false
}

func (s *Server) sshConfig(ctx context.Context, c *conn) *gossh.ServerConfig {
	return &gossh.ServerConfig{
		MaxAuthTries:            maxAuthTries,
		PublicKeyAuthAlgorithms: keyAlgorithms(),
		VerifiedPublicKeyCallback: func(_ gossh.ConnMetadata, key gossh.PublicKey, _ *gossh.Permissions, _ string) (*gossh.Permissions, error) {
			id, _, err := s.identify(ctx, key, c.RemoteAddr())
			if err != nil {
				return nil, err
			}
			if err := c.proved(id.name); err != nil {
				return nil, err
			}
			s.gate.proved(c)
			return proven(id), nil
		},
	}
}

// enter counts a session in, unless the server is stopping.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.sessions.Add(1)
	return true
}

// DropKey ends every connection of the key with that name at once, by whatever
// certificate.
func (s *Server) DropKey(name string) {
	for _, c := range s.gate.all() {
		c.mu.Lock()
		its := c.holder == name
		c.mu.Unlock()
		if its {
			c.kill(errKeyRemoved)
		}
	}
}
