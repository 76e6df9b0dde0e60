package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"slipway/builder"
	"slipway/hooks/socket"
	"slipway/store"
	"slipway/store/fault"
)

// Environment variables by which a hook finds its server and its push.
const (
	envDir   = "SLIPWAY_DIR"
	envToken = "SLIPWAY_TOKEN"
)

// HookMain is the client: it relays a hook's streams to the server. It fails
// closed: whatever goes wrong is a refusal.
func HookMain(name string, in io.Reader, out, errs io.Writer) int {
	name = filepath.Base(name)
	conn, err := socket.Dial(os.Getenv(envDir))
	if err != nil {
		fmt.Fprintln(errs, "error: the deploy cannot start: Slipway's server does not answer")
		return 1
	}
	hello := socket.Hello{Hook: name, Token: os.Getenv(envToken), Env: map[string]string{}}
	for _, v := range os.Environ() {
		if k, value, _ := strings.Cut(v, "="); strings.HasPrefix(k, "GIT_") && !strings.HasPrefix(k, "GIT_CONFIG") {
			hello.Env[k] = value
		}
	}
	status, err := socket.Call(conn, hello, in, out, errs, nil)
	if err != nil {
		fmt.Fprintln(errs, "error: the deploy was cut off: Slipway's server went away")
		return 1
	}
	return status
}

// Hook answers one hook of a push and returns its exit status.
func (s *Server) Hook(ctx context.Context, call *socket.Session) int {
	s.mu.Lock()
	p := s.pushes[call.Hello.Token]
	s.mu.Unlock()
	name := call.Hello.Hook
	// The hook's process and the pusher can each end the work.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if p == nil || !p.take(name, cancel) {
		fmt.Fprintln(call.Err, "error: this hook belongs to no running push")
		return 1
	}
	defer p.running.Done()
	status := 1
	err := s.Guarded(func() error { status = p.hook(ctx, name, call); return nil })
	if err != nil {
		builder.NewProgress(builder.ProgressOptions{Pusher: call.Err, Now: s.o.Now}).Fail(err)
	}
	return status
}

func (p *Push) hook(ctx context.Context, name string, call *socket.Session) int {
	switch name {
	case "pre-receive":
		return p.preReceive(ctx, call)
	case "proc-receive":
		return p.procReceive(ctx, call)
	default:
		if fault.Hit("post.start") != nil {
			return 1
		}
		return 0 // post-receive: the deploy cleans up by itself, whether git gets this far or not
	}
}

// take lets each hook of a push run once; cancel ends it when the pusher goes.
func (p *Push) take(hook string, cancel context.CancelCauseFunc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.used[hook] {
		return false
	}
	p.running.Add(1)
	p.used[hook] = true
	p.cancel = append(p.cancel, cancel)
	if p.gone != nil {
		cancel(p.gone)
	}
	return true
}

func (p *Push) preReceive(ctx context.Context, call *socket.Session) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	progress := builder.NewProgress(builder.ProgressOptions{Pusher: call.Err, Now: p.s.o.Now, Gone: func(err error) { cancel(err) }})
	progress.Blank()
	d, detail, err := p.plan(ctx, call, progress)
	if err == nil {
		if err = p.s.Guarded(func() error { return fault.Hit("pre.end") }); err != nil {
			d.abandon(ctx, err)
		}
	}
	if err == nil {
		p.mu.Lock()
		p.d = d
		p.mu.Unlock()
		return 0
	}
	if errors.Is(err, errDryRun) {
		return 1
	}
	p.s.audit(ctx, p.caller, p.ae, "push", detail, err)
	if d == nil || !d.begun { // else it stands in the log already, and with that on the screen
		progress.Fail(err)
	}
	return 1
}

// errDryRun ends a push that asked for a dry run; it has said so itself.
var errDryRun = errors.New("dry run")

// plan takes the push from its words to a staged release.
func (p *Push) plan(ctx context.Context, call *socket.Session, progress *builder.Progress) (*deploy, string, error) {
	if err := fault.Hit("pre.start"); err != nil {
		return nil, "", err
	}
	updates, err := parseUpdates(call.In)
	if err != nil {
		return nil, "", err
	}
	words, err := optionWords(call.Hello.Env)
	if err != nil {
		return nil, "", err
	}
	options, err := parseOptions(words)
	if err != nil {
		return nil, "", err
	}
	quarantine := map[string]string{}
	for _, k := range []string{"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH", "GIT_SHALLOW_FILE"} {
		if v := call.Hello.Env[k]; v != "" {
			quarantine[k] = v
		}
	}
	repo := openRepository(ctx, p.Dir(), quarantine)
	defer repo.close()
	accepted, err := p.s.checkRefs(ctx, p.ae, updates, repo)
	if err != nil {
		return nil, "", err
	}
	detail := fmt.Sprintf("%s %s..%s", accepted.branch.ref, accepted.branch.old.Short(), accepted.branch.new.Short())
	d := &deploy{
		s: p.s, caller: p.caller, ae: p.ae, reason: store.Push, progress: progress,
		ref: accepted.branch.ref, old: accepted.branch.old, commit: accepted.branch.new, tags: accepted.tags,
		quarantine: quarantine, repo: repo, options: options, cancel: p.leave,
	}
	return d, detail, d.prepare(ctx)
}

// optionWords collects the push options out of a hook's environment.
func optionWords(env map[string]string) ([]string, error) {
	n, err := strconv.Atoi(env["GIT_PUSH_OPTION_COUNT"])
	if env["GIT_PUSH_OPTION_COUNT"] == "" {
		return nil, nil
	}
	if err != nil || n < 0 {
		return nil, fmt.Errorf("git counts %s push options", quote(env["GIT_PUSH_OPTION_COUNT"]))
	}
	words := make([]string, 0, min(n, maxOptions+1))
	for i := range min(n, maxOptions+1) {
		words = append(words, env["GIT_PUSH_OPTION_"+strconv.Itoa(i)])
	}
	return words, nil
}
