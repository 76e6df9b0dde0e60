package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"slipway/hooks"
	"slipway/store/git"
)

// ServeGit returns the Options.Git that serves git over the deploys of h.
func ServeGit(h *hooks.Server) func(context.Context, GitRequest, Stdio) int {
	return func(ctx context.Context, r GitRequest, io Stdio) int {
		if r.Service == ReceivePack {
			return receivePack(ctx, h, r, io)
		}
		return uploadPack(ctx, h, r, io)
	}
}

// receivePack takes a push. A client that goes away does not end git: its
// hooks are told, and they alone know whether there is still a way back. So
// git's output is drained to the end, and its status is the answer: once the
// ref has moved, anything but 0 would be untrue.
func receivePack(ctx context.Context, h *hooks.Server, r GitRequest, s Stdio) int {
	p, err := h.OpenPush(ctx, r.Caller, r.Repo)
	if err != nil {
		return Refuse(s.Out, err)
	}
	defer p.Close(ctx)
	in := &counter{r: s.In}
	s.In = in
	said := &tail{}
	c := git.Cmd{
		Dir: p.Dir(), Args: []git.Opt{"receive-pack"}, Data: []string{p.Dir()},
		Env: withProtocol(p.Environ(), r.Protocol), Config: p.Config(),
		Stdout: &drain{w: io.MultiWriter(said, s.Out)}, Stderr: &drain{w: io.MultiWriter(said, s.Err)}, Files: p.Files(),
	}
	status := run(context.WithoutCancel(ctx), ctx, c, s)
	if err := p.Unreceived(ctx, said.String(), in.n.Load()); err != nil {
		return max(status, complain(s.Err, err))
	}
	if errors.Is(context.Cause(ctx), errSlow) {
		fmt.Fprintf(s.Err, "error: the push came in at less than %d KiB/s for a minute\n", slowest>>10)
		fmt.Fprintln(s.Err, "hint: push again over a faster line")
	}
	if in.n.Load() == 0 {
		// Every client that understands what was advertised sends something,
		// if only that it wants nothing. One with another object format dies.
		fmt.Fprintln(s.Err, "error: the client understood nothing of this SHA-1 repository")
		fmt.Fprintln(s.Err, "hint: repositories in SHA-256 format are not supported: git rev-parse --show-object-format")
	}
	return status
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// uploadPack serves a fetch or a clone of what was deployed.
func uploadPack(ctx context.Context, h *hooks.Server, r GitRequest, s Stdio) int {
	dir, env, err := h.OpenFetch(ctx, r.Caller, r.Repo)
	if err != nil {
		return Refuse(s.Out, err)
	}
	c := git.Cmd{
		Dir: dir, Args: []git.Opt{"upload-pack", "--strict"}, Data: []string{dir},
		Env: withProtocol(env, r.Protocol), Stdout: s.Out, Stderr: s.Err,
	}
	return run(ctx, ctx, c, s)
}

// run starts git with a copier of its input that nobody waits for: a client
// that keeps its side open must not keep a process that has ended. The input
// ends with the context input at the latest.
func run(ctx, input context.Context, c git.Cmd, s Stdio) int {
	cmd := c.Command(ctx)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return Refuse(s.Out, err)
	}
	stop := context.AfterFunc(input, func() { in.Close() }) // a second close is an error of no interest
	defer stop()
	go func() {
		_, _ = io.Copy(in, s.In) // either side may end first
		in.Close()
	}()
	if err := cmd.Wait(); err != nil {
		return max(cmd.ProcessState.ExitCode(), 1)
	}
	return 0
}

func withProtocol(env map[string]string, protocol string) map[string]string {
	if protocol != "" {
		env["GIT_PROTOCOL"] = protocol
	}
	return env
}

// tail keeps the end of what git prints: its last words, and its verdict.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b[max(0, len(b)-tailSize):]...)
	t.b = t.b[max(0, len(t.b)-tailSize):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// drain writes until its writer fails, and from then on nowhere.
type drain struct {
	w    io.Writer
	gone bool
}

func (d *drain) Write(b []byte) (int, error) {
	if !d.gone {
		_, err := d.w.Write(b)
		d.gone = err != nil
	}
	return len(b), nil
}
