package receiver

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	gossh "golang.org/x/crypto/ssh"

	"slipway/config"
)

// channel is one session of a connection. Its fields are set by the goroutine
// that reads the client's requests, before it lets the first exec or shell
// through, and only read after that.
type channel struct {
	conn     *conn
	cancel   context.CancelCauseFunc // ends the session's context
	out, err *sink
	in       io.Reader
	console  *console // in, where there is a terminal
	tty      *terminal
	protocol string      // from GIT_PROTOCOL
	git      atomic.Bool // a git service runs; its client has no pager
	push     atomic.Bool // it is receive-pack
	exec     bool        // a command was given; else the client asked for a shell
	raw      string      // that command

	started bool          // what was asked for is running, or has run
	done    chan struct{} // closed when it has ended
	pumped  chan struct{} // closed when the console's pump has ended
}

func newChannel(c *conn, cancel context.CancelCauseFunc) *channel {
	return &channel{
		conn: c, cancel: cancel, out: &sink{}, err: &sink{},
		done: make(chan struct{}), pumped: make(chan struct{}),
	}
}

// offeredChannel is one that the client wants to open. Accept gives it to the
// library with those requests alone that the library may see: one exec or
// shell. Everything else is answered here, as the library accepts some that
// must be refused and blocks or grows on others.
type offeredChannel struct {
	gossh.NewChannel
	ch *channel
}

func (o offeredChannel) Accept() (gossh.Channel, <-chan *gossh.Request, error) {
	c, requests, err := o.NewChannel.Accept()
	if err != nil {
		return nil, nil, err
	}
	o.ch.out.w, o.ch.err.w, o.ch.in = c, c.Stderr(), c
	passed := make(chan *gossh.Request)
	go o.ch.filter(c, requests, passed)
	return c, passed, nil
}

// filter ends when the channel does; the library's loop then ends too.
func (ch *channel) filter(c gossh.Channel, requests <-chan *gossh.Request, passed chan<- *gossh.Request) {
	defer close(passed)
	for r := range requests {
		if !ch.conn.request() {
			continue // the connection is closed; what is left is drained
		}
		if ch.take(c, r) {
			passed <- r
		}
	}
	if ch.tty != nil {
		close(ch.tty.resize)
	}
}

// take answers a request, or says that the library is to have it.
func (ch *channel) take(c gossh.Channel, r *gossh.Request) (pass bool) {
	ok := false
	switch r.Type {
	case "exec":
		var exec struct{ Command string }
		if !ch.started && gossh.Unmarshal(r.Payload, &exec) == nil {
			ch.exec, ch.raw = true, exec.Command
			ch.start(c)
			return true
		}
	case "shell":
		if !ch.started && len(r.Payload) == 0 {
			ch.start(c)
			return true
		}
	case "env":
		var env struct{ Name, Value string }
		if !ch.started && gossh.Unmarshal(r.Payload, &env) == nil && env.Name == "GIT_PROTOCOL" {
			ch.protocol, ok = gitProtocol(env.Value)
		}
	case "pty-req":
		ok = ch.terminal(r.Payload)
	case "window-change":
		var size struct{ Columns, Rows, Width, Height uint32 }
		if ch.tty != nil && gossh.Unmarshal(r.Payload, &size) == nil {
			ch.tty.resized(clampSize(size.Rows), clampSize(size.Columns))
			ok = true
		}
	case "eow@openssh.com":
		// OpenSSH's client says that nobody reads its output any more: the git
		// that it was started by has ended, and it only waits for us.
		ch.cancel(errGone)
		return false // it asks for no answer
	case "signal":
		var signal struct{ Name string }
		if gossh.Unmarshal(r.Payload, &signal) == nil {
			switch signal.Name {
			case "INT", "TERM", "HUP", "QUIT", "KILL":
				ch.cancel(errInterrupted)
				ok = true
			}
		}
	}
	// A failed answer means a connection that has ended, which ends this loop.
	_ = r.Reply(ok, nil)
	return false
}

func (ch *channel) start(c gossh.Channel) {
	ch.started = true
	ch.conn.run(+1)
	if ch.tty == nil {
		close(ch.pumped)
		return
	}
	ch.console = newConsole(ch.cancel)
	ch.in = ch.console
	ch.out.crlf, ch.err.crlf = true, true
	go func() {
		defer close(ch.pumped)
		ch.console.pump(c)
	}()
}

// closeStalled closes the channel of a client that does not read: a client
// that multiplexes answers that, which ends the write that waits, and keeps its
// other sessions.
func (ch *channel) closeStalled(ctx context.Context, c gossh.Channel) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), errStalled) {
			_ = c.Close() // the connection follows if this does not help
		}
	})
}

// ended waits for what was started; the client has closed the channel.
func (ch *channel) ended() {
	if !ch.started {
		return
	}
	<-ch.done
	<-ch.pumped
}

// terminal notes that the client asks for a terminal. Whether there is use
// for one is known at the exec alone, so a git service refuses it then.
func (ch *channel) terminal(payload []byte) bool {
	var pty struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if ch.started || ch.tty != nil || gossh.Unmarshal(payload, &pty) != nil {
		return false
	}
	if pty.Term == "" {
		pty.Term = "dumb" // what ssh -tt has to say where TERM is not set
	}
	if !termName.MatchString(pty.Term) {
		return false
	}
	ch.tty = &terminal{
		term: pty.Term, rows: clampSize(pty.Rows), columns: clampSize(pty.Columns),
		resize: make(chan [2]int, 1),
	}
	return true
}

var (
	// termName is a name that may stand in an environment and name a file of
	// terminfo.
	termName    = config.NewPattern(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
	gitVersions = config.NewPattern(`^(version=[012])(:[a-z0-9.=-]{1,64}){0,4}$`)
)

// gitProtocol takes the version out of GIT_PROTOCOL, the one variable that a
// client may set; what else a newer git may say there is left out.
func gitProtocol(value string) (protocol string, ok bool) {
	m := gitVersions.FindStringSubmatch(value)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// clampSize keeps a terminal's size to what a kernel's takes.
func clampSize(n uint32) int { return int(min(n, 65535)) }
