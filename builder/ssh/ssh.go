// Package ssh is the target of hosts that are reached by SSH: each does the
// work of builder/host by an agent of ours, and all of them go live or none.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway/builder"
	"slipway/builder/agent"
	"slipway/builder/sshclient"
	"slipway/config"
)

// Options wire the target. All fields are required.
type Options struct {
	Pool   *Pool
	Env    *config.Environment
	Limits config.Limits
	UID    func(context.Context, config.AppEnv) (int, error) // of builds on hosts that are logged in to as root
}

// Target is the hosts of an environment.
type Target struct {
	o     Options
	hosts []*node
}

// node is one of them.
type node struct {
	name  string // as people are told
	index int    // SLIPWAY_HOST
	root  string
	login login
	ep    sshclient.Endpoint
	via   *sshclient.Endpoint
}

// New returns the target; nothing is connected yet.
func New(o Options) (*Target, error) {
	t := &Target{o: o}
	var via *sshclient.Endpoint
	if o.Env.Via != "" {
		h, err := config.ParseHost(o.Env.Via)
		if err != nil {
			return nil, err
		}
		ep := endpoint(o.Env, h, "jump host")
		via = &ep
	}
	named := map[string]int{}
	var parsed []config.Host
	for _, s := range o.Env.Hosts {
		h, err := config.ParseHost(s)
		if err != nil {
			return nil, err
		}
		named[h.Name]++
		parsed = append(parsed, h)
	}
	for i, h := range parsed {
		name := h.Name
		if named[name] > 1 {
			name = h.Addr()
		}
		ep := endpoint(o.Env, h, "host")
		sudo := o.Env.User != "" && ep.Host.User != o.Env.User && ep.Host.User != "root"
		t.hosts = append(t.hosts, &node{
			name: name, index: i, root: o.Env.Root, ep: ep, via: via,
			login: login{
				host: ep.Host.User + "@" + ep.Host.Addr(), via: o.Env.Via,
				identity: ep.Identity, knownHosts: ep.KnownHosts, sudo: sudo,
			},
		})
	}
	return t, nil
}

func endpoint(env *config.Environment, h config.Host, what string) sshclient.Endpoint {
	if h.User == "" {
		h.User = "deploy"
	}
	return sshclient.Endpoint{
		Host: h, Identity: env.Identity, KnownHosts: env.KnownHosts,
		What: what, Whose: "environment " + env.Name.String(),
		NoIdentity: `an admin sets identity = "keys/NAME" in [environments.` + env.Name.String() + `]`,
	}
}

// Describe names the hosts.
func (t *Target) Describe() string {
	names := make([]string, len(t.hosts))
	for i, h := range t.hosts {
		names[i] = h.name
	}
	return strings.Join(names, ", ")
}

// Close has nothing to do: connections are the Pool's.
func (t *Target) Close() error { return nil }

// Only is the target of some of the hosts, by name, each as it was.
func (t *Target) Only(names ...string) builder.Target {
	return &Target{o: t.o, hosts: slices.DeleteFunc(slices.Clone(t.hosts), func(h *node) bool { return !slices.Contains(names, h.name) })}
}

// remote is the place of ae on a host.
func (t *Target) remote(ctx context.Context, h *node, ae config.AppEnv, c *agent.Client) (agent.Remote, error) {
	m := agent.Remote{Client: c, At: agent.Place{
		Root: h.root, Index: h.index, Limits: t.o.Limits, User: t.o.Env.User,
	}}
	if len(t.o.Env.Hosts) > 1 {
		m.Name = h.name
	}
	if h.ep.Host.User == t.o.Env.User {
		m.At.User = ""
	}
	if m.At.User == "" && h.ep.Host.User == "root" && ae != (config.AppEnv{}) {
		uid, err := t.o.UID(ctx, ae)
		if err != nil {
			return m, err
		}
		m.At.UID = uid
	}
	return m, nil
}

// tries is how often what may be repeated is tried where connections are cut.
const (
	tries      = 4
	placeTries = 6
	firstTries = 3           // at a host that has not answered at all
	tryAgain   = time.Second // then twice that, and so on
)

// on makes a call to a host. Where the connection is cut meanwhile, or the host
// cannot be reached, it is made up to n times.
func (t *Target) on(ctx context.Context, h *node, ae config.AppEnv, n int, f func(m agent.Remote) error) error {
	wait, reached := tryAgain, false
	for try := 1; ; try++ {
		err := t.once(ctx, h, ae, func(m agent.Remote) error { reached = true; return f(m) })
		var cut *agent.CutError
		var away *sshclient.Error
		worth := errors.As(err, &cut) || errors.As(err, &away) && away.Unreachable()
		if errors.As(err, &cut) {
			err = config.Errorf(config.Failed, "when "+h.name+" answers again, do the same once more",
				"the connection to %s was cut", h.name)
		}
		if err == nil || !worth || try >= n || !reached && try >= firstTries {
			return h.named(ctx, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return h.named(ctx, err)
		}
		wait *= 2
	}
}

// named says of an error which host it is of, if it does not say so itself, and
// what to do about one that is away.
func (h *node) named(ctx context.Context, err error) error {
	var exit *builder.ExitError
	var late *builder.TimeoutError
	if err == nil || ctx.Err() != nil || errors.As(err, &exit) || errors.As(err, &late) {
		return err
	}
	hint := config.Hint(err)
	var away *sshclient.Error
	if hint == "" && errors.As(err, &away) && away.Unreachable() {
		hint = `when "doctor" finds it reachable, do the same once more`
	}
	if errors.As(err, &away) && len(away.Detail) > 0 { // the key that it has offered: for an admin to compare
		err = fmt.Errorf("%w; %s", err, strings.Join(away.Detail, " "))
	}
	return &config.Error{Kind: config.KindOf(err), Err: &builder.HostError{Host: h.name, Err: err}, Hint: hint}
}

func (t *Target) once(ctx context.Context, h *node, ae config.AppEnv, f func(m agent.Remote) error) error {
	l, err := t.o.Pool.link(h.login)
	if err != nil {
		return err
	}
	c, done, err := l.use(ctx, func(ctx context.Context) (*agent.Client, io.Closer, error) {
		return t.o.Pool.start(ctx, h.ep, h.via, h.login.sudo)
	})
	if err != nil {
		return err
	}
	defer done()
	m, err := t.remote(ctx, h, ae, c)
	if err != nil {
		return err
	}
	return f(m)
}

// each makes a call to every host at once; the first that fails ends the
// others.
func (t *Target) each(ctx context.Context, ae config.AppEnv, n int, f func(ctx context.Context, i int, m agent.Remote) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, h := range t.hosts {
		g.Go(func() error {
			return t.on(ctx, h, ae, n, func(m agent.Remote) error { return f(ctx, i, m) })
		})
	}
	return g.Wait()
}

// all makes a call to every host at once, and waits for each. The error is a
// *builder.HostsError where there is more than one host.
func (t *Target) all(ctx context.Context, ae config.AppEnv, n int, f func(i int, m agent.Remote) error) error {
	errs := make([]error, len(t.hosts))
	var g errgroup.Group
	for i, h := range t.hosts {
		g.Go(func() error {
			errs[i] = t.on(ctx, h, ae, n, func(m agent.Remote) error { return f(i, m) })
			return nil
		})
	}
	_ = g.Wait() // each has kept its own
	e := &builder.HostsError{}
	for i, h := range t.hosts {
		if errs[i] == nil {
			e.Done = append(e.Done, h.name)
		} else {
			e.Failed = append(e.Failed, builder.HostError{Host: h.name, Err: errs[i]})
		}
	}
	switch {
	case len(e.Failed) == 0:
		return nil
	case len(t.hosts) == 1:
		return e.Failed[0].Err
	}
	return e
}

// Place has the tree laid out on every host.
func (t *Target) Place(ctx context.Context, r builder.Ref, tree builder.Tree) (builder.Sent, error) {
	sent := make([]agent.Sent, len(t.hosts))
	err := t.each(ctx, r.AppEnv, placeTries, func(ctx context.Context, i int, m agent.Remote) error {
		s, err := m.Place(ctx, r, tree)
		sent[i].Contents += s.Contents
		sent[i].Bytes += s.Bytes
		return err
	})
	total := builder.Sent{Hosts: len(t.hosts)}
	for _, s := range sent {
		total.Contents = max(total.Contents, s.Contents)
		total.Bytes += s.Bytes
	}
	return total, err
}

// Stage builds the release on every host.
func (t *Target) Stage(ctx context.Context, s builder.Stage, out io.Writer) error {
	return t.steps(ctx, s, out, agent.Remote.Stage)
}

// RunOnce runs [deploy] release on the first host.
func (t *Target) RunOnce(ctx context.Context, s builder.Stage, out io.Writer) error {
	first := &Target{o: t.o, hosts: t.hosts[:1]}
	return first.steps(ctx, s, out, agent.Remote.RunOnce)
}

// Health runs [deploy] health on every host.
func (t *Target) Health(ctx context.Context, s builder.Stage, out io.Writer) error {
	return t.steps(ctx, s, out, agent.Remote.Health)
}

// Restart runs [deploy] restart on every host.
func (t *Target) Restart(ctx context.Context, s builder.Stage, out io.Writer) error {
	return t.steps(ctx, s, out, agent.Remote.Restart)
}

func (t *Target) steps(ctx context.Context, s builder.Stage, out io.Writer, step func(agent.Remote, context.Context, builder.Stage, io.Writer) error) error {
	var turn sync.Mutex
	return t.each(ctx, s.AppEnv, 1, func(ctx context.Context, i int, m agent.Remote) error {
		if len(t.o.Env.Hosts) == 1 {
			return step(m, ctx, s, out)
		}
		own := &prefixed{out: out, turn: &turn, prefix: t.hosts[i].name + ": "}
		return errors.Join(step(m, ctx, s, own), own.flush())
	})
}

// Activate switches every host, and waits for each.
func (t *Target) Activate(ctx context.Context, sw builder.Switch) error {
	return t.all(ctx, sw.AppEnv, tries, func(_ int, m agent.Remote) error { return m.Activate(ctx, sw) })
}

// Record keeps a release's description on every host.
func (t *Target) Record(ctx context.Context, r builder.Ref, manifest []byte) error {
	return t.all(ctx, r.AppEnv, 2, func(_ int, m agent.Remote) error { return m.Record(ctx, r, manifest) })
}

// Discard removes a release that is not live from every host.
func (t *Target) Discard(ctx context.Context, r builder.Ref) error {
	return t.all(ctx, r.AppEnv, 2, func(_ int, m agent.Remote) error { return m.Discard(ctx, r) })
}

// Prune removes old releases. One that any host has removed counts as removed.
func (t *Target) Prune(ctx context.Context, ae config.AppEnv, keep []int) ([]int, error) {
	gone := make([][]int, len(t.hosts))
	err := t.all(ctx, ae, 2, func(i int, m agent.Remote) (err error) {
		gone[i], err = m.Prune(ctx, ae, keep)
		return err
	})
	removed := slices.Concat(gone...)
	slices.Sort(removed)
	return slices.Compact(removed), err
}

// Status says what is live on each host.
func (t *Target) Status(ctx context.Context, ae config.AppEnv) ([]builder.Status, error) {
	all := make([]builder.Status, len(t.hosts))
	var g errgroup.Group
	for i, h := range t.hosts {
		g.Go(func() error {
			err := t.on(ctx, h, ae, 1, func(m agent.Remote) (err error) {
				all[i], err = m.Status(ctx, ae)
				return err
			})
			all[i].Host, all[i].Err = h.name, err
			return nil
		})
	}
	_ = g.Wait() // each has kept its own
	return all, nil
}

// Run runs a command on the first host.
func (t *Target) Run(ctx context.Context, s builder.Stage, argv []string, io builder.Stdio, tty *builder.Terminal) (exit int, err error) {
	err = t.on(ctx, t.hosts[0], s.AppEnv, 1, func(m agent.Remote) (err error) {
		exit, err = m.Run(ctx, s, argv, io, tty)
		return err
	})
	return exit, err
}

// Destroy removes all of an app from every host.
func (t *Target) Destroy(ctx context.Context, ae config.AppEnv) error {
	return t.all(ctx, ae, 2, func(_ int, m agent.Remote) error { return m.Destroy(ctx, ae) })
}

// Sweep removes what no app of env accounts for.
func (t *Target) Sweep(ctx context.Context, env config.Env, known []config.AppEnv) error {
	return t.all(ctx, config.AppEnv{}, 1, func(_ int, m agent.Remote) error { return m.Sweep(ctx, env, known) })
}
