package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"slipway/builder"
	"slipway/config"
)

// maxNoise bounds what a login shell may write before the agent greets.
const maxNoise = 64 << 10

// afterCancel is how long a call that was cancelled may take to end.
const afterCancel = 15 * time.Second

// CutError is a connection that ended before a call did.
type CutError struct {
	Err   error
	early bool // before the call had begun
}

func (e *CutError) Error() string { return "the connection was cut" }
func (e *CutError) Unwrap() error { return e.Err }

// Client is the server's side of a connection to an agent. It may be used
// concurrently.
type Client struct {
	mux    *yamux.Session
	number atomic.Uint64

	// Sum is the SHA-256 of the agent's program, in hexadecimal.
	Sum string
}

// ErrNoAgent says that what is at the other end is no agent.
var ErrNoAgent = errors.New("no agent answers")

// Connect takes the agent's greeting and makes a Client of the connection,
// which owns it from then on.
func Connect(in io.ReadCloser, out io.WriteCloser) (*Client, error) {
	r := bufio.NewReader(in)
	for read := 0; read < maxNoise; {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) { // a greeting is shorter
			return nil, errors.Join(ErrNoAgent, err)
		}
		read += len(line)
		words := strings.Fields(string(line))
		if len(words) != 3 || words[0] != Greeting {
			continue
		}
		if words[1] != strconv.Itoa(Protocol) {
			return nil, &OtherError{Protocol: words[1], Sum: words[2]}
		}
		mux, err := yamux.Client(duplex{readCloser{r, in}, out}, settings())
		if err != nil {
			return nil, err
		}
		return &Client{mux: mux, Sum: words[2]}, nil
	}
	return nil, ErrNoAgent
}

// OtherError is something else that greets as an agent does.
type OtherError struct{ Protocol, Sum string }

func (e *OtherError) Error() string { return "an agent that speaks protocol " + e.Protocol }

type readCloser struct {
	io.Reader
	io.Closer
}

// Close ends the connection, and with it every call.
func (c *Client) Close() error { return c.mux.Close() }

// Closed is closed when the connection has ended.
func (c *Client) Closed() <-chan struct{} { return c.mux.CloseChan() }

// exchange is one call, seen by the server.
type exchange struct {
	request request
	out     io.Writer // of the command; nil drops it
	errs    io.Writer
	resize  <-chan [2]int

	// body, if it is not nil, sends the call's own bytes on a second stream
	// and closes that. answer is what the agent says before the result; ctx
	// ends with the call, and so does the stream.
	body func(ctx context.Context, w io.WriteCloser, answer <-chan []byte)
}

// call makes a call, and returns when it has ended. When ctx ends the agent is
// told, and given the time to end what runs.
func (c *Client) call(ctx context.Context, x exchange) (result, error) {
	conn, err := c.mux.OpenStream()
	if err != nil {
		return result{}, &CutError{Err: err, early: true}
	}
	defer conn.Close()
	st := &stream{conn: conn}
	x.request.Number, x.request.Now = c.number.Add(1), time.Now()
	if err := st.sendJSON(kindRequest, x.request); err != nil {
		return result{}, &CutError{Err: err, early: true}
	}
	ended := make(chan struct{})
	defer close(ended)
	stop := context.AfterFunc(ctx, func() {
		if st.send(kindCancel, []byte(context.Cause(ctx).Error())) != nil {
			return
		}
		late := time.NewTimer(afterCancel)
		defer late.Stop()
		select {
		case <-ended:
		case <-late.C:
			conn.Close()
			conn.SetDeadline(time.Now())
		}
	})
	defer stop()
	if x.resize != nil {
		go relay(st, x.resize, ended)
	}
	answers := make(chan []byte, 1)
	if x.body != nil {
		body, err := c.openBody(x.request.Number)
		if err != nil {
			return result{}, &CutError{Err: err, early: true}
		}
		defer body.Close()
		own, over := context.WithCancel(ctx)
		defer over()
		go x.body(own, body, answers)
	}
	r, err := x.listen(st, answers)
	var strange *strangeError
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case errors.As(err, &strange):
		return r, config.Errorf(config.Failed, "an admin looks at that host: what answers there does not speak as an agent does", "%w", err)
	}
	return r, &CutError{Err: err}
}

// openBody opens the stream of a call's own bytes.
func (c *Client) openBody(number uint64) (*yamux.Stream, error) {
	conn, err := c.mux.OpenStream()
	if err != nil {
		return nil, err
	}
	st := &stream{conn: conn}
	if err := st.sendJSON(kindBody, number); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func relay(st *stream, sizes <-chan [2]int, ended <-chan struct{}) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok || st.sendJSON(kindResize, size) != nil {
				return
			}
		case <-ended:
			return
		}
	}
}

// maxAnswer bounds what an agent may answer before its result.
const maxAnswer = 64 << 20

// listen takes what the agent says until the result.
func (x *exchange) listen(st *stream, answers chan<- []byte) (r result, err error) {
	var answer bytes.Buffer
	write := func(w io.Writer, b []byte) {
		if w != nil {
			_, _ = w.Write(b) // who reads it may be gone; the call goes on until it is cancelled
		}
	}
	for {
		k, text, err := st.receive()
		if err != nil {
			return r, err
		}
		switch k {
		case kindOutput:
			write(x.out, text)
		case kindErrors:
			write(x.errs, text)
		case kindAnswer:
			if answer.Len()+len(text) > maxAnswer {
				return r, strangef("says too much")
			}
			answer.Write(text)
		case kindEnd:
			select {
			case answers <- answer.Bytes():
			default:
				return r, strangef("answers twice")
			}
		case kindResult:
			if err := json.Unmarshal(text, &r); err != nil {
				return result{}, strangef("sends a result that cannot be read: %w", err)
			}
			return r, nil
		}
	}
}

// Remote is one place on the agent's machine. Its methods are those of a
// builder.Target, for that one machine; Name is how errors call it, "" where
// there is no other.
type Remote struct {
	Client *Client
	At     Place
	Name   string
}

func (m Remote) request(what method, ae config.AppEnv, n int) request {
	return request{Method: what, Place: m.At, AppEnv: ae.String(), Ref: n}
}

func (m Remote) call(ctx context.Context, x exchange) (result, error) {
	r, err := m.Client.call(ctx, x)
	if err == nil {
		err = r.Error.unpack(m.Name)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // and not what the agent has made of it
	}
	return r, err
}

// Stage builds a release.
func (m Remote) Stage(ctx context.Context, s builder.Stage, out io.Writer) error {
	return m.staged(ctx, stage, s, out)
}

// RunOnce runs [deploy] release.
func (m Remote) RunOnce(ctx context.Context, s builder.Stage, out io.Writer) error {
	return m.staged(ctx, runOnce, s, out)
}

// Health runs [deploy] health.
func (m Remote) Health(ctx context.Context, s builder.Stage, out io.Writer) error {
	return m.staged(ctx, health, s, out)
}

// Restart runs [deploy] restart.
func (m Remote) Restart(ctx context.Context, s builder.Stage, out io.Writer) error {
	return m.staged(ctx, restart, s, out)
}

func (m Remote) staged(ctx context.Context, what method, s builder.Stage, out io.Writer) error {
	q := m.request(what, s.AppEnv, s.Number)
	q.Stage = packStage(s)
	_, err := m.call(ctx, exchange{request: q, out: out, errs: out})
	return err
}

// Activate switches.
func (m Remote) Activate(ctx context.Context, sw builder.Switch) error {
	q := m.request(activate, sw.AppEnv, 0)
	q.Switch = &switchSpec{Generation: sw.Generation, From: sw.From, To: sw.To}
	_, err := m.call(ctx, exchange{request: q})
	return err
}

// Record keeps a release's description beside it.
func (m Remote) Record(ctx context.Context, r builder.Ref, manifest []byte) error {
	q := m.request(record, r.AppEnv, r.Number)
	q.Manifest = manifest
	_, err := m.call(ctx, exchange{request: q})
	return err
}

// Discard removes a release that is not live.
func (m Remote) Discard(ctx context.Context, r builder.Ref) error {
	_, err := m.call(ctx, exchange{request: m.request(discard, r.AppEnv, r.Number)})
	return err
}

// Prune removes the releases that keep does not list.
func (m Remote) Prune(ctx context.Context, ae config.AppEnv, keep []int) ([]int, error) {
	q := m.request(prune, ae, 0)
	q.Keep = keep
	r, err := m.call(ctx, exchange{request: q})
	// What counts as removed cannot be rolled back to: that is not a host's to say.
	return slices.DeleteFunc(r.Removed, func(n int) bool { return n <= 0 || slices.Contains(keep, n) }), err
}

// Status says what is live.
func (m Remote) Status(ctx context.Context, ae config.AppEnv) (builder.Status, error) {
	r, err := m.call(ctx, exchange{request: m.request(status, ae, 0)})
	if err == nil && len(r.Status) != 1 {
		err = errors.New("the agent says nothing of what is live")
	}
	if err != nil {
		return builder.Status{}, err
	}
	return r.Status[0], nil
}

// Destroy removes all of an app.
func (m Remote) Destroy(ctx context.Context, ae config.AppEnv) error {
	_, err := m.call(ctx, exchange{request: m.request(destroy, ae, 0)})
	return err
}

// Sweep removes what no app of env accounts for.
func (m Remote) Sweep(ctx context.Context, env config.Env, known []config.AppEnv) error {
	q := request{Method: sweep, Place: m.At, Env: env.String()}
	for _, ae := range known {
		q.Known = append(q.Known, ae.String())
	}
	_, err := m.call(ctx, exchange{request: q})
	return err
}

// Doctor checks the machine, and says by how much its clock is ahead of ours.
func (m Remote) Doctor(ctx context.Context) (checks []builder.Check, ahead time.Duration, err error) {
	began := time.Now()
	r, err := m.call(ctx, exchange{request: request{Method: doctor, Place: m.At}})
	if err != nil {
		return nil, 0, err
	}
	// It read its clock when it had the answer: about now.
	ahead = r.Clock.Sub(began)
	if took := time.Since(began); ahead > 0 {
		ahead = max(0, ahead-took)
	}
	return r.Checks, ahead, nil
}

// Run runs a command in a release.
func (m Remote) Run(ctx context.Context, s builder.Stage, argv []string, stdio builder.Stdio, tty *builder.Terminal) (int, error) {
	q := m.request(run, s.AppEnv, s.Number)
	q.Stage, q.Command = packStage(s), &commandSpec{Argv: argv, Input: stdio.In != nil}
	x := exchange{request: q, out: stdio.Out, errs: stdio.Err}
	if tty != nil {
		q.Command.TTY, q.Command.Term, q.Command.Rows, q.Command.Columns = true, tty.Term, tty.Rows, tty.Columns
		x.resize = tty.Resize
	}
	if stdio.In != nil {
		x.body = func(_ context.Context, w io.WriteCloser, _ <-chan []byte) {
			io.Copy(w, stdio.In) // the command may have closed its end
			w.Close()
		}
	}
	r, err := m.call(ctx, x)
	if err == nil && (r.Exit < 0 || r.Exit > 255) {
		return 0, fmt.Errorf("the agent says that the command exited %d", r.Exit)
	}
	return r.Exit, err
}

func formatID(id [32]byte) string { return hex.EncodeToString(id[:]) }
