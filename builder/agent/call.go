package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"slipway/builder"
	"slipway/builder/host"
	"slipway/config"
)

// call is one call, seen by the agent.
type call struct {
	server  *server
	stream  *stream
	request request
	sizes   chan [2]int

	host *host.Host
	ae   config.AppEnv

	// claim says that the release that is being made is this call's to take
	// back; "" if it makes none.
	claim string
}

// serve runs the call, and tells its end. A fault of ours is the call's
// failure, not the end of what others do.
func (c *call) serve(connection context.Context) {
	ctx, cancel := context.WithCancelCause(connection)
	defer cancel(nil)
	go c.listen(cancel)
	r, err := guarded(func() (result, error) { return c.run(ctx) })
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if errors.Is(err, errCut) {
		c.clean(context.WithoutCancel(ctx))
		return
	}
	r.Error, r.Clock = packError(err), time.Now()
	_ = c.stream.sendJSON(kindResult, r) // nobody is there any more if that fails
	if err == nil && c.request.Method == prune {
		_, _ = guarded(func() (result, error) { c.makeSpare(connection); return result{}, nil }) // nobody waits for it
	}
}

func guarded(f func() (result, error)) (r result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the agent is broken: %v", p)
		}
	}()
	return f()
}

// listen takes what the server says while the call runs.
func (c *call) listen(cancel context.CancelCauseFunc) {
	for {
		k, text, err := c.stream.receive()
		switch {
		case err != nil:
			cancel(errCut) // after the result there is nobody left to cancel
			return
		case k == kindCancel:
			cancel(errors.New(string(text)))
		case k == kindResize:
			var size [2]int
			if json.Unmarshal(text, &size) != nil {
				continue
			}
			select { // the last one counts
			case <-c.sizes:
			default:
			}
			c.sizes <- size
		}
	}
}

// clean takes back what a call has begun that nobody waits for any more, and
// that was never reported as done. Where it cannot, the server does so when it
// is back.
func (c *call) clean(ctx context.Context) {
	if c.claim == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	_ = c.host.Abandon(ctx, c.ref(), c.claim)
}

func (c *call) ref() builder.Ref { return builder.Ref{AppEnv: c.ae, Number: c.request.Ref} }

// body waits for the stream of the call's own bytes; the caller closes it.
func (c *call) body(ctx context.Context) (net.Conn, error) {
	late := time.NewTimer(bodyTime)
	defer late.Stop()
	select {
	case conn := <-c.server.body(c.request.Number):
		return conn, nil
	case <-late.C:
		return nil, errors.New("the server sends nothing")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// open makes the host that the call is for.
func (c *call) open() error {
	p := c.request.Place
	if !filepath.IsAbs(p.Root) || filepath.Clean(p.Root) != p.Root || p.Root == "/" {
		return fmt.Errorf("%q is not a place for releases", p.Root)
	}
	hidden, err := ownFiles()
	if err != nil {
		return err
	}
	c.host = host.New(host.Options{
		Root: p.Root, Index: p.Index, Limits: p.Limits, User: p.User, Hidden: hidden,
		UID: func(context.Context, config.AppEnv) (int, error) { return p.UID, nil },
	})
	if c.request.AppEnv != "" {
		c.ae, err = config.ParseAppEnv(c.request.AppEnv)
	}
	return err
}

// ownFiles is what code that was pushed must not see: where this program and
// the login have their files.
func ownFiles() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	hidden := []string{filepath.Dir(filepath.Dir(self))}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) && filepath.Clean(home) != "/" {
		hidden = append(hidden, home)
	}
	return hidden, nil
}

// run does what the method says.
func (c *call) run(ctx context.Context) (r result, err error) {
	if err := c.open(); err != nil {
		return r, err
	}
	q, out := c.request, c.stream.writer(kindOutput)
	s := builder.Stage{}
	if q.Stage != nil {
		s = q.Stage.unpack(c.ref())
	}
	switch q.Method {
	case place:
		return c.place(ctx)
	case stage:
		if c.claim, err = c.host.Claim(c.ref()); err != nil {
			return r, err
		}
		return r, c.host.Stage(ctx, s, out)
	case runOnce:
		return r, c.host.RunOnce(ctx, s, out)
	case health:
		return r, c.host.Health(ctx, s, out)
	case restart:
		return r, c.host.Restart(ctx, s, out)
	case activate:
		if q.Switch == nil {
			return r, errors.New("a switch to nothing")
		}
		return r, c.host.Activate(ctx, builder.Switch{AppEnv: c.ae, Generation: q.Switch.Generation, From: q.Switch.From, To: q.Switch.To})
	case record:
		return r, c.host.Record(ctx, c.ref(), q.Manifest)
	case discard:
		return r, c.host.Discard(ctx, c.ref())
	case prune:
		r.Removed, err = c.host.Prune(ctx, c.ae, q.Keep)
		return r, err
	case status:
		r.Status, err = c.host.Status(ctx, c.ae)
		return r, err
	case run:
		return c.command(ctx, s)
	case destroy:
		return r, c.host.Destroy(ctx, c.ae)
	case sweep:
		return r, c.sweep(ctx)
	case doctor:
		r.Checks = c.host.Doctor(ctx)
		return r, nil
	}
	return r, fmt.Errorf("this agent does not know %q", q.Method)
}

func (c *call) sweep(ctx context.Context) error {
	env, err := config.ParseEnv(c.request.Env)
	if err != nil {
		return err
	}
	known := make([]config.AppEnv, 0, len(c.request.Known))
	for _, name := range c.request.Known {
		ae, err := config.ParseAppEnv(name)
		if err != nil {
			return err
		}
		known = append(known, ae)
	}
	return c.host.Sweep(ctx, env, known)
}

// command runs a command of a person's, with standard input and a terminal
// where there is one.
func (c *call) command(ctx context.Context, s builder.Stage) (r result, err error) {
	q := c.request.Command
	if q == nil || len(q.Argv) == 0 {
		return r, errors.New("no command")
	}
	stdio := builder.Stdio{Out: c.stream.writer(kindOutput), Err: c.stream.writer(kindErrors)}
	if q.Input {
		body, err := c.body(ctx)
		if err != nil {
			return r, err
		}
		defer body.Close()
		stdio.In = body
	}
	var tty *builder.Terminal
	if q.TTY {
		tty = &builder.Terminal{Term: q.Term, Rows: q.Rows, Columns: q.Columns, Resize: c.sizes}
	}
	r.Exit, err = c.host.Run(ctx, s, q.Argv, stdio, tty)
	return r, err
}
