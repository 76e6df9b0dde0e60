package hooks

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

// Request is a deploy that is not a push.
type Request struct {
	Caller   store.Caller
	AppEnv   config.AppEnv
	Reason   store.Reason  // Redeploy, Rollback, Promote
	Number   int           // Rollback: the release to make live; 0 is the previous good one
	KeepVars bool          // Rollback: with the vars of now, not those of then
	From     config.AppEnv // Promote: whose live plan
	Commit   string        // Redeploy: "" is the live commit
	NoCache  bool
	NoWait   bool
}

// Deploy runs a request from the queue to live; out gets what a pusher would
// see, but for the error, which is returned. The release is the new one.
func (s *Server) Deploy(ctx context.Context, r Request, out io.Writer) (store.Release, error) {
	var choose func(context.Context, *deploy) error
	switch r.Reason {
	case store.Redeploy:
		choose = func(ctx context.Context, d *deploy) error { return d.chooseCommit(ctx, r.Commit) }
	case store.Rollback:
		choose = func(ctx context.Context, d *deploy) error { return d.chooseRelease(ctx, r.Number, r.KeepVars) }
	case store.Promote:
		if err := s.May(r.Caller, r.From); err != nil {
			return store.Release{}, err
		}
		if r.From.App() != r.AppEnv.App() || r.From == r.AppEnv {
			return store.Release{}, s.wrongPromotion(r.From, r.AppEnv)
		}
		choose = func(ctx context.Context, d *deploy) error { return d.choosePromoted(ctx, r.From) }
	default:
		return store.Release{}, fmt.Errorf("deploy: unknown reason %q", r.Reason)
	}
	return s.deploy(ctx, r, choose, out)
}

func (s *Server) deploy(ctx context.Context, r Request, choose func(context.Context, *deploy) error, out io.Writer) (store.Release, error) {
	if err := s.May(r.Caller, r.AppEnv); err != nil {
		return store.Release{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &deploy{
		s: s, caller: r.Caller, ae: r.AppEnv, reason: r.Reason, cancel: cancel, choose: choose,
		options:  pushOptions{noCache: r.NoCache, noWait: r.NoWait},
		progress: builder.NewProgress(builder.ProgressOptions{Pusher: out, Now: s.o.Now, Gone: func(err error) { cancel(err) }}),
	}
	if err := d.prepare(ctx); err != nil {
		return store.Release{}, err
	}
	return d.rel, d.commitLive(ctx)
}

// wrongPromotion says what is wrong with a promotion, and what would do.
func (s *Server) wrongPromotion(from, to config.AppEnv) error {
	if from != to {
		return config.Errorf(config.Usage, "promote "+from.String()+" "+to.Env().String(), "%s cannot be promoted to %s, another app", from, to)
	}
	hint := "an admin declares another environment in server.toml"
	var others []string
	for env := range s.o.Config().Environments {
		if env != to.Env() {
			others = append(others, env.String())
		}
	}
	if slices.Sort(others); len(others) > 0 {
		hint = "name another environment: " + strings.Join(others, ", ")
	}
	return config.Errorf(config.Usage, hint, "%s cannot be promoted to itself", from)
}

// liveOrError returns ae's live release.
func (s *Server) liveOrError(ctx context.Context, ae config.AppEnv) (*store.Release, error) {
	live, err := s.o.Store.LiveRelease(ctx, ae)
	if err == nil && live == nil {
		err = noRelease(ae)
	}
	return live, err
}

// chooseCommit builds a commit again, or for the first time.
func (d *deploy) chooseCommit(ctx context.Context, commit string) error {
	if d.live == nil {
		return noRelease(d.ae)
	}
	d.ref, d.commit = d.live.Ref, d.live.Commit
	if commit != "" {
		c, err := d.s.commit(ctx, d.ae, commit)
		if err != nil {
			return err
		}
		d.commit = c
	}
	return d.aim(ctx)
}

// aim notes where the ref is, so that the deploy moves it to its commit.
func (d *deploy) aim(ctx context.Context) (err error) {
	if d.old, err = d.s.o.Store.Ref(ctx, d.ae, d.ref); err != nil {
		return err
	}
	d.ticket.update(func(r *Running) { r.Commit = d.commit })
	return nil
}

// chooseRelease makes an earlier build live again.
func (d *deploy) chooseRelease(ctx context.Context, n int, keepVars bool) error {
	if d.live == nil {
		return noRelease(d.ae)
	}
	to, err := d.s.rollbackTo(ctx, d.ae, d.live, n)
	if err != nil {
		return err
	}
	d.reuse, d.ref, d.commit = to, d.live.Ref, to.Commit
	if !keepVars {
		if d.vars, err = d.s.o.Store.ReleaseVars(ctx, d.ae, to.Number); err != nil {
			return err
		}
		d.keepVars = true
	}
	return d.aim(ctx)
}

// rollbackTo finds the release to go back to: number n, or the last one before
// the live one that was good and ran something else.
func (s *Server) rollbackTo(ctx context.Context, ae config.AppEnv, live *store.Release, n int) (*store.Release, error) {
	all, err := s.o.Store.Releases(ctx, ae)
	if err != nil {
		return nil, err
	}
	for i, r := range all {
		good := r.State == store.Retired || r.State == store.Live && n != 0
		switch {
		case n != 0 && r.Number != n, n == 0 && r.Number >= live.Number:
			continue
		case n != 0 && r.Number == live.Number:
			return nil, config.Errorf(config.Usage, "releases "+ae.String()+" lists them", "release %d is live already", n)
		case n == 0 && !good:
			continue
		case !good:
			return nil, config.Errorf(config.Usage, "releases "+ae.String()+" lists them", "release %d was never live: it is %s", r.Number, r.State)
		case r.Pruned:
			return nil, config.Errorf(config.NotFound, fmt.Sprintf("redeploy %s --commit %s builds it again", ae, r.Commit.Short()),
				"the build of release %d (%s) is no longer kept", r.Number, r.Commit.Short())
		}
		return &all[i], nil
	}
	if n != 0 {
		return nil, config.Errorf(config.NotFound, "releases "+ae.String()+" lists them", "%s has no release %d", ae, n)
	}
	return nil, config.Errorf(config.NotFound, "releases "+ae.String()+" lists them", "no good release is there to go back to before release %d", live.Number)
}

// choosePromoted deploys another environment's live plan.
func (d *deploy) choosePromoted(ctx context.Context, from config.AppEnv) error {
	source, err := d.s.liveOrError(ctx, from)
	if err != nil {
		return err
	}
	branches, err := d.s.branches(ctx, d.ae, d.env)
	if err != nil {
		return err
	}
	d.ref, d.commit, d.plan, d.treeID = heads+branches[0], source.Commit, &source.Plan, source.Tree.ID
	if d.env.Branch == "" && d.live == nil {
		d.ref = source.Ref
	}
	if err := d.aim(ctx); err != nil || d.old == store.ZeroOID || !d.env.Protected {
		return err
	}
	forward, err := d.repo.forward(ctx, d.old, d.commit)
	if err == nil && !forward {
		err = config.Errorf(config.Denied, fmt.Sprintf("rollback %s goes back on purpose", d.ae),
			"%s is protected, and %s lacks commits that are live there", d.ae.Env(), from)
	}
	return err
}

// ChangeVars sets and unsets vars and, unless stage is true or nothing is live
// yet, makes a new release of the live build with them. If that does not go
// live, the vars are as they were.
func (s *Server) ChangeVars(ctx context.Context, by store.Caller, ae config.AppEnv,
	set map[string]config.Secret, unset []string, stage bool, out io.Writer,
) error {
	if err := s.May(by, ae); err != nil {
		return err
	}
	live, err := s.o.Store.LiveRelease(ctx, ae)
	if err != nil {
		return err
	}
	if stage || live == nil {
		if err := s.o.Store.ChangeVars(ctx, ae, by.Name, set, unset); err != nil {
			return err
		}
		when := "with the next deploy"
		if live == nil {
			when = "with the first deploy"
		}
		_, err := fmt.Fprintf(out, "%s: %d set, %d unset; they take effect %s\n", ae, len(set), len(unset), when)
		return err
	}
	choose := func(ctx context.Context, d *deploy) error {
		if d.live == nil {
			return noRelease(ae)
		}
		vars, err := s.varsNow(ctx, ae)
		if err != nil {
			return err
		}
		maps.Copy(vars, set)
		for _, name := range unset {
			delete(vars, name)
		}
		d.vars, d.keepVars, d.reuse = vars, true, d.live
		d.ref, d.old, d.commit = d.live.Ref, d.live.Commit, d.live.Commit
		return nil
	}
	_, err = s.deploy(ctx, Request{Caller: by, AppEnv: ae, Reason: store.VarsSet}, choose, out)
	return err
}

// setVars makes vars those of now.
func (s *Server) setVars(ctx context.Context, ae config.AppEnv, by string, vars map[string]config.Secret) error {
	now, err := s.varsNow(ctx, ae)
	if err != nil {
		return err
	}
	set := map[string]config.Secret{}
	for name, v := range vars {
		if old, ok := now[name]; !ok || old != v {
			set[name] = v
		}
	}
	var unset []string
	for name := range now {
		if _, ok := vars[name]; !ok {
			unset = append(unset, name)
		}
	}
	slices.Sort(unset)
	if len(set)+len(unset) == 0 {
		return nil
	}
	return s.o.Store.ChangeVars(ctx, ae, by, set, unset)
}

// cancelledError is a deploy that somebody has stopped.
type cancelledError struct{ by string }

func (e *cancelledError) Error() string { return "cancelled by " + e.by }

// Cancel stops the running deploy of ae; NotFound if there is none.
func (s *Server) Cancel(ctx context.Context, by store.Caller, ae config.AppEnv) error {
	if err := s.May(by, ae); err != nil {
		return err
	}
	t, _ := s.queue.of(ae)
	if t == nil {
		return config.Errorf(config.NotFound, "releases "+ae.String(), "nothing is being deployed to %s", ae)
	}
	late := config.Errorf(config.Failed, "rollback "+ae.String()+" goes back to the release before",
		"the switch of %s has begun; it completes", ae)
	if info, quiet := t.snapshot(); quiet || info.Step == "switch" {
		return late
	}
	t.cancel(&cancelledError{by.Name})
	select {
	case <-t.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, live := t.snapshot(); live { // it went on to the switch while we spoke
		return late
	}
	return nil
}

// Running is the deploy that holds ae now; nil if nothing does.
func (s *Server) Running(ae config.AppEnv) *Running {
	t, waiting := s.queue.of(ae)
	if t == nil {
		return nil
	}
	info, quiet := t.snapshot()
	if quiet {
		return nil
	}
	info.Waiting = waiting
	return &info
}

// stageOfLive is what a target needs to run something in a release.
func (s *Server) stageOfLive(ctx context.Context, r *store.Release) (builder.Stage, error) {
	d := deploy{s: s, ae: r.AppEnv, rel: *r, commit: r.Commit, app: &config.AppFile{}}
	if err := json.Unmarshal(r.App, d.app); err != nil {
		return builder.Stage{}, fmt.Errorf("read the settings of release %d: %w", r.Number, err)
	}
	var err error
	if d.vars, err = s.o.Store.ReleaseVars(ctx, r.AppEnv, r.Number); err != nil {
		return builder.Stage{}, err
	}
	if d.services, _, err = s.knownServiceVars(ctx, r.AppEnv, d.app); err != nil {
		return builder.Stage{}, err
	}
	return d.stageOf(), nil
}

// Run runs a command in the environment of ae's live release.
func (s *Server) Run(ctx context.Context, by store.Caller, ae config.AppEnv, argv []string,
	stdio builder.Stdio, tty *builder.Terminal,
) (exit int, err error) {
	if err := s.May(by, ae); err != nil {
		return 0, err
	}
	live, err := s.liveOrError(ctx, ae)
	if err != nil {
		return 0, err
	}
	defer s.use(ae, live.Build)()
	defer s.use(ae, live.Number)()
	target, err := s.o.Target(ctx, ae.Env())
	if err != nil {
		return 0, err
	}
	stage, err := s.stageOfLive(ctx, live)
	if err != nil {
		return 0, err
	}
	return target.Run(ctx, stage, argv, stdio, tty)
}
