package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/submodule"
	"slipway/hooks/tree"
	"slipway/store"
)

// hosted is a target of several machines.
type hosted interface {
	builder.Target

	// Only is the target of some of the machines, by the names that Status
	// gives them.
	Only(names ...string) builder.Target
}

// statusTime bounds how long hosts may take to say what is live.
const statusTime = 5 * time.Second

// Hosts says what is live on each host of ae; nil for a target of one place.
func (s *Server) Hosts(ctx context.Context, by store.Caller, ae config.AppEnv) ([]builder.Status, error) {
	if err := s.May(by, ae); err != nil {
		return nil, err
	}
	target, err := s.o.Target(ctx, ae.Env())
	if err != nil {
		return nil, err
	}
	if _, ok := target.(hosted); !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	return target.Status(ctx, ae)
}

// SyncHosts brings the live release to every host that runs another, or none:
// one that was away when it went live, or that is new. It is built there again,
// of the same plan, and switched to. out gets what people see.
func (s *Server) SyncHosts(ctx context.Context, by store.Caller, ae config.AppEnv, out io.Writer) error {
	if err := s.May(by, ae); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := s.queue.enterBeside(ae, by.Name, cancel)
	if err := t.wait(ctx, nil); err != nil {
		return err
	}
	defer t.leave("the hosts were brought to what is live")
	if err := s.looked(ctx, ae.Env()); err != nil {
		return err
	}
	if err := s.settleOpen(ctx, ae); err != nil {
		return err
	}
	live, err := s.liveOrError(ctx, ae)
	if err != nil {
		return err
	}
	target, err := s.o.Target(ctx, ae.Env())
	if err != nil {
		return err
	}
	all, ok := target.(hosted)
	if !ok {
		return config.Errorf(config.Usage, "releases "+ae.String(), "%s is not on hosts of its own", ae.Env())
	}
	status, err := all.Status(ctx, ae)
	if err != nil {
		return err
	}
	progress := builder.NewProgress(builder.ProgressOptions{Pusher: out, Now: s.o.Now, Gone: func(err error) { cancel(err) }})
	failed := &builder.HostsError{}
	for _, h := range status {
		err := h.Err
		if err == nil && h.Live == live.Number {
			progress.Detail(fmt.Sprintf("%s is at release %d already", h.Host, live.Number), -1)
			failed.Done = append(failed.Done, h.Host)
			continue
		}
		if err == nil {
			began := s.o.Now()
			err = s.syncHost(ctx, all.Only(h.Host), h, live, progress)
			if err == nil {
				progress.Step("Switch", fmt.Sprintf("%s: release %d -> %d", h.Host, h.Live, live.Number), s.o.Now().Sub(began))
				failed.Done = append(failed.Done, h.Host)
				continue
			}
		}
		failed.Failed = append(failed.Failed, builder.HostError{Host: h.Host, Err: err})
	}
	if len(failed.Failed) == 0 {
		progress.Head("Success: %s is at release %d (%s) on %s", ae, live.Number, live.Commit.Short(), strings.Join(failed.Done, ", "))
		return nil
	}
	hint := config.Hint(failed.Failed[0].Err)
	if hint == "" {
		hint = "host sync " + ae.String() + " does it again"
	}
	return &config.Error{Err: failed, Hint: hint}
}

// syncHost makes the live release on one host, and switches that to it.
func (s *Server) syncHost(ctx context.Context, target builder.Target, h builder.Status, live *store.Release, progress *builder.Progress) error {
	build := live
	if live.Build != live.Number {
		var err error
		if build, err = s.o.Store.Release(ctx, live.AppEnv, live.Build); err != nil {
			return err
		}
		if build == nil {
			return fmt.Errorf("release %d, the build of release %d, is not known any more", live.Build, live.Number)
		}
	}
	if h.Live != build.Number { // what is live there is whole
		if err := s.makeAgain(ctx, target, build, progress); err != nil {
			return err
		}
	}
	stage, err := s.stageOfLive(ctx, live)
	if err != nil {
		return err
	}
	out := progress.Builder(s.o.Config().Limits.LogBytes)
	if build != live {
		if err := errors.Join(target.Stage(ctx, stage, out), out.Close()); err != nil {
			return err
		}
	}
	if stage.App.Deploy.Health.Command != "" {
		if err := errors.Join(target.Health(ctx, stage, out), out.Close()); err != nil {
			return err
		}
	}
	s.still.RLock()
	defer s.still.RUnlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), switchTime)
	defer cancel()
	gen, err := s.o.Store.NextGeneration(ctx, live.AppEnv)
	if err != nil {
		return err
	}
	if err := target.Activate(ctx, builder.Switch{AppEnv: live.AppEnv, Generation: gen, From: h.Live, To: live.Number}); err != nil {
		return err
	}
	if text, err := manifestOf(*live, store.Live); err != nil {
		return err
	} else if err := target.Record(ctx, builder.Ref{AppEnv: live.AppEnv, Number: live.Number}, text); err != nil {
		return err
	}
	if stage.App.Deploy.Restart == "" {
		return nil
	}
	return errors.Join(target.Restart(ctx, stage, out), out.Close())
}

// makeAgain makes a build that other hosts have, of the same plan.
func (s *Server) makeAgain(ctx context.Context, target builder.Target, r *store.Release, progress *builder.Progress) error {
	cfg := s.o.Config()
	d := &deploy{s: s, ae: r.AppEnv, cfg: cfg, env: cfg.Environments[r.AppEnv.Env()], commit: r.Commit, app: &config.AppFile{}}
	if err := json.Unmarshal(r.App, d.app); err != nil {
		return fmt.Errorf("read the settings of release %d: %w", r.Number, err)
	}
	base, err := d.base(ctx)
	if err != nil {
		return err
	}
	resolved, err := s.o.Resolver.Resolve(ctx, submodule.Request{
		AppEnv: r.AppEnv, Repo: submodule.Repo{Dir: d.gitDir()}, Commit: r.Commit, Upstream: base, Skip: r.Plan.Skipped,
	})
	if resolved.Close != nil {
		defer resolved.Close()
	}
	if err != nil {
		return err
	}
	parts := partsOf(tree.Part{Dir: d.gitDir(), Commit: r.Commit}, resolved)
	if d.manifest, err = d.readTree(ctx, parts, resolved.Plan.Skipped); err != nil {
		return err
	}
	if d.manifest.ID != r.Tree.ID {
		return fmt.Errorf("the tree of release %d does not come out as it was", r.Number)
	}
	source := &tree.Source{Manifest: d.manifest, Parts: parts, Options: tree.Options{Workers: treeWorkers}, Temp: filepath.Join(s.dir, "tmp")}
	ref := builder.Ref{AppEnv: r.AppEnv, Number: r.Number}
	began := s.o.Now()
	sent, err := target.Place(ctx, ref, source)
	if err != nil {
		return err
	}
	progress.Step("Tree", files(r.Tree.Files)+", "+size(r.Tree.Bytes)+"; "+sentText(sent), s.o.Now().Sub(began))
	stage, err := s.stageOfLive(ctx, r)
	if err != nil {
		return err
	}
	progress.Step("Build", "release "+fmt.Sprint(r.Number)+" on "+target.Describe(), -1)
	out := progress.Builder(cfg.Limits.LogBytes)
	if err := errors.Join(target.Stage(ctx, stage, out), out.Close()); err != nil {
		return errors.Join(err, target.Discard(context.WithoutCancel(ctx), ref))
	}
	return nil
}
