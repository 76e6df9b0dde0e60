package receiver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/gliderlabs/ssh"
	"github.com/rs/zerolog"
	gossh "golang.org/x/crypto/ssh"

	"slipway/config"
	"slipway/store"
)

// maxSessions is how many sessions may be open on one connection, as a
// client's ControlMaster opens them.
const maxSessions = 10

// sessionContext is what the library hands to the handler as the context of a
// session: its own is the connection's, and outlives a session that a
// multiplexing client has closed.
type sessionContext struct {
	ssh.Context
	session context.Context
	channel *channel
}

func (c *sessionContext) Done() <-chan struct{}       { return c.session.Done() }
func (c *sessionContext) Err() error                  { return c.session.Err() }
func (c *sessionContext) Deadline() (time.Time, bool) { return c.session.Deadline() }

// connKey finds a connection's *conn in its ssh.Context.
type connKey struct{}

func connOf(cx ssh.Context) *conn { return cx.Value(connKey{}).(*conn) }

// openSession serves one channel of type session until the client closes it
// and what ran on it has ended. base ends when the server does.
func (s *Server) openSession(base context.Context) ssh.ChannelHandler {
	return func(srv *ssh.Server, sc *gossh.ServerConn, offered gossh.NewChannel, cx ssh.Context) {
		c := connOf(cx)
		defer s.rescueConn(c)
		if !c.request() {
			return
		}
		ctx, cancel := context.WithCancelCause(base)
		defer cancel(nil)
		ch := newChannel(c, cancel)
		if !s.enter() {
			s.reject(offered, gossh.ResourceShortage, errStopping.Error())
			return
		}
		defer s.sessions.Done()
		if !c.open(sc, ch, maxSessions) {
			s.reject(offered, gossh.ResourceShortage, "too many sessions on one connection")
			return
		}
		defer c.shut(ch)
		ssh.DefaultSessionHandler(srv, sc, offeredChannel{offered, ch}, &sessionContext{cx, ctx, ch})
		cancel(c.why())
		ch.ended()
	}
}

// refuseChannel answers for every other type of channel: forwardings, X11,
// agents.
func (s *Server) refuseChannel(_ *ssh.Server, _ *gossh.ServerConn, offered gossh.NewChannel, cx ssh.Context) {
	c := connOf(cx)
	defer s.rescueConn(c)
	if c.request() {
		s.reject(offered, gossh.Prohibited, "administratively prohibited")
		c.refuse()
	}
}

func (s *Server) reject(offered gossh.NewChannel, why gossh.RejectionReason, text string) {
	if err := offered.Reject(why, text); err != nil {
		s.o.Log.Debug().Err(err).Msg("cannot refuse a channel")
	}
}

// refuseRequest answers every request that concerns a whole connection. A
// client's keepalive wants no more than an answer, and for as long as it
// likes.
func (s *Server) refuseRequest(cx ssh.Context, _ *ssh.Server, r *gossh.Request) (bool, []byte) {
	if r.Type != "keepalive@openssh.com" {
		connOf(cx).request()
	}
	return false, nil
}

// handle runs what the client asked for and ends the session with its status.
// It is the one place where a session ends: a return without a status would
// tell the client 0.
func (s *Server) handle(sess ssh.Session) {
	cx := sess.Context().(*sessionContext)
	ch := cx.channel
	stop := ch.closeStalled(cx.session, sess)
	status := int(config.Failed) // of one that ends its goroutine
	defer func() {
		stop()
		if ch.console != nil {
			ch.console.end()
		}
		if err := sess.Exit(status); err != nil {
			s.o.Log.Debug().Err(err).Msg("the client did not wait for its exit status")
		}
		ch.conn.run(-1)
		close(ch.done)
	}()
	status = s.run(cx.session, ch, connection(cx))
}

func connection(cx ssh.Context) *gossh.ServerConn {
	return cx.Value(ssh.ContextKeyConn).(*gossh.ServerConn)
}

// run is handle's work: from the proved key to the exit status.
func (s *Server) run(ctx context.Context, ch *channel, sc *gossh.ServerConn) (status int) {
	began := s.o.Now()
	log := s.o.Log.With().Str("addr", ch.conn.RemoteAddr().String()).Logger()
	what := "greeting"
	defer func() {
		if p := recover(); p != nil {
			status = s.internal(log, ch, fmt.Errorf("panic: %v", p), debug.Stack())
		}
		if status < 0 || status > 255 {
			status = int(config.Failed)
		}
		log.Info().Str("what", what).Int("status", status).Dur("took", s.o.Now().Sub(began)).
			Func(func(e *zerolog.Event) {
				if ctx.Err() != nil {
					e.Str("ended_by", context.Cause(ctx).Error())
				}
			}).Msg("session")
	}()

	refuse := func(err error) int {
		what += " refused"
		if looksLikeGit(ch.raw) {
			return Refuse(ch.out, err)
		}
		return complain(ch.err, err)
	}
	who, err := s.who(ctx, sc, ch.conn)
	if err != nil {
		if known := (*config.Error)(nil); errors.As(err, &known) {
			return refuse(err)
		}
		return s.internal(log, ch, err, nil)
	}
	log = log.With().Str("key", who.Name).Logger()

	var r request
	if ch.exec {
		if r, err = parseRequest(ch.raw); err != nil {
			what = "request"
			log.Info().Err(err).Msg("refused a request")
			return refuse(err)
		}
	}
	what = r.describe()
	if r.service == "" {
		return s.o.Command(ctx, who, r.words, Stdio{In: ch.in, Out: ch.out, Err: ch.err}, ch.tty.builder())
	}
	if ch.tty != nil {
		return refuse(config.Errorf(config.Usage, "leave out -t, or set RequestTTY no for this host in ~/.ssh/config",
			"git uses no terminal"))
	}
	ch.git.Store(true)
	ch.push.Store(r.service == ReceivePack)
	return s.o.Git(ctx, GitRequest{Caller: who, Service: r.service, Repo: r.repo, Protocol: ch.protocol},
		Stdio{In: ch.in, Out: ch.out, Err: ch.err})
}

// who is the caller with the rights of this moment.
func (s *Server) who(ctx context.Context, sc *gossh.ServerConn, c *conn) (store.Caller, error) {
	id, err := identityOf(sc)
	if err != nil {
		return store.Caller{}, err
	}
	return s.caller(ctx, id, c.RemoteAddr())
}

// internal logs what nobody foresaw and gives the user an id to ask for.
func (s *Server) internal(log zerolog.Logger, ch *channel, err error, stack []byte) int {
	id := rand.Text()[:12]
	log.Error().Str("id", id).Err(err).Bytes("stack", stack).Msg("internal error")
	return complain(ch.err, config.Errorf(config.Failed, "an admin finds what happened in the server's log by that id",
		"internal error, id %s", id))
}

// rescueConn keeps a panic in one connection's goroutine from ending all.
func (s *Server) rescueConn(c *conn) {
	if p := recover(); p != nil {
		err := fmt.Errorf("panic: %v", p)
		s.o.Log.Error().Str("addr", c.RemoteAddr().String()).Err(err).Bytes("stack", debug.Stack()).
			Msg("internal error on a connection")
		c.kill(err)
	}
}

// describe names a request for the log: never its arguments, which may be
// secret.
func (r request) describe() string {
	if r.service != "" {
		return string(r.service) + " " + r.repo.String()
	}
	if len(r.words) == 0 {
		return "greeting"
	}
	return clip(oneLine(r.words[0]), 20)
}
