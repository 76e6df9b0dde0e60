package hooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway/config"
	"slipway/store"
)

// DestroyApp removes an app: its releases, shared files, repository and rows,
// and with data its databases on servers, which stay else. The audit log keeps
// its events.
func (s *Server) DestroyApp(ctx context.Context, by store.Caller, app config.App, data bool) error {
	row, err := s.o.Store.App(ctx, app)
	if err != nil {
		return err
	}
	if row == nil {
		return config.Errorf(config.NotFound, "app list", "there is no app %s", app)
	}
	if data {
		if err := s.reachDatabases(ctx, app); err != nil {
			return fmt.Errorf("destroy %s: %w", app, err)
		}
	}
	envs := slices.Collect(maps.Keys(s.o.Config().Environments))
	slices.SortFunc(envs, func(a, b config.Env) int { return strings.Compare(a.String(), b.String()) })
	var errs []error
	for _, env := range envs {
		ae := app.In(env)
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		t := s.queue.enterBeside(ae, by.Name, cancel)
		if err := t.wait(ctx, nil); err != nil {
			return err
		}
		defer t.leave("the app was destroyed")
		if err := s.spares.settle(ctx, ae); err != nil {
			return err
		}
		target, err := s.o.Target(ctx, env)
		if err == nil {
			err = target.Destroy(ctx, ae)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("destroy %s: %w", app, err)
	}
	if data {
		if err := s.dropDatabases(ctx, app); err != nil {
			return fmt.Errorf("destroy %s: %w", app, err)
		}
	}
	return s.WithoutRepack(ctx, func() error {
		// The rows first: what is left of an app without one is swept at a start.
		if err := s.o.Store.DestroyApp(ctx, app); err != nil {
			return err
		}
		return errors.Join(s.o.Store.RemoveRepo(app), s.o.Store.RemoveLogs(app))
	})
}
