package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
	"slipway/store/fault"
)

// build makes the release in the target: services, postinstall, the run-once
// command, the health check.
func (d *deploy) build(ctx context.Context) error {
	if err := d.provide(ctx); err != nil {
		return err
	}
	d.stage = d.stageOf()
	if err := d.s.o.Store.UpdateRelease(ctx, d.rel); err != nil {
		return err
	}
	what := d.buildText()
	if what != "" {
		d.progress.Step("Build", what, -1)
	}
	out := d.progress.Builder(d.cfg.Limits.LogBytes)
	took := d.step("build", "building")
	err := d.target.Stage(ctx, d.stage, out)
	out.Close()
	if d.reuse != nil {
		what = "" // it ran for another release
	}
	err = d.ended(what, err, took())
	if err == nil && d.reuse == nil && d.app.Deploy.Release != "" {
		err = d.command(ctx, "release", d.app.Deploy.Release, d.target.RunOnce)
	}
	if d.reuse == nil {
		if failed := d.shutDatabases(ctx); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		return err
	}
	if d.app.Deploy.Health.Command != "" {
		if err := d.command(ctx, "health", d.app.Deploy.Health.Command, d.target.Health); err != nil {
			return err
		}
	}
	d.rel.Steps = maps.Clone(d.steps)
	if err := fault.Hit("stage.record"); err != nil {
		return err
	}
	if err := d.s.o.Store.UpdateRelease(ctx, d.rel); err != nil {
		return err
	}
	return d.reach(ctx, "stage.journal", store.Staged)
}

func (d *deploy) stageOf() builder.Stage {
	n := d.rel.Build
	if n == 0 {
		n = d.rel.Number
		d.rel.Build = n
	}
	vars := map[string]config.Secret{}
	for name, v := range d.app.Vars {
		vars[name] = config.NewSecret(v)
	}
	for name, v := range d.app.EnvVars[d.ae.Env()] {
		vars[name] = config.NewSecret(v)
	}
	maps.Copy(vars, d.vars)
	maps.Copy(vars, d.services)
	return builder.Stage{
		Ref:   builder.Ref{AppEnv: d.ae, Number: d.rel.Number},
		Build: n, Commit: d.commit, App: d.app, Vars: vars,
		Services: d.app.Services, NoCache: d.options.noCache, Given: d.given,
	}
}

// buildText names what runs, "" if nothing does.
func (d *deploy) buildText() string {
	switch {
	case d.reuse != nil:
		return fmt.Sprintf("that of release %d, with %s", d.rel.Build, count(len(d.vars), "var"))
	case d.app.Build.Postinstall != "":
		return quoteCommand(d.app.Build.Postinstall) + " on " + d.target.Describe()
	case d.postinstall:
		return "./postinstall on " + d.target.Describe()
	}
	return ""
}

// quoteCommand shows a command line from an app's file.
func quoteCommand(s string) string {
	s = plainly(builder.Clean(s))
	if len(s) > 40 {
		s = s[:37] + "..."
	}
	return s
}

// ended shows how a build step ended.
func (d *deploy) ended(what string, err error, t time.Duration) error {
	var exit *builder.ExitError
	switch {
	case err == nil && what != "":
		d.progress.Detail("exit 0", t)
	case errors.As(err, &exit) && exit.Signal == "":
		d.progress.Detail(fmt.Sprintf("exit %d", exit.Status), t)
	case err != nil:
		d.progress.Detail("ended", t)
	}
	return err
}

// command runs one of the app's own commands as a step of the build.
func (d *deploy) command(ctx context.Context, name, line string, run func(context.Context, builder.Stage, io.Writer) error) error {
	d.progress.Step("", name+": "+quoteCommand(line), -1)
	out := d.progress.Builder(d.cfg.Limits.LogBytes)
	took := d.step(name, name)
	err := run(ctx, d.stage, out)
	out.Close()
	return d.ended(name, err, took())
}
