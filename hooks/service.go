package hooks

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"slipway/builder/service"
	"slipway/config"
	"slipway/store"
)

// ServiceView is one service as people see it.
type ServiceView struct {
	Name     string
	Type     string
	Server   string // host:port as apps reach it, "" for a file
	Database string // its name, or the file's below shared
	Main     bool   // DATABASE_URL names it
	Live     bool   // the live release asks for it; if not, only its data is kept
}

// Services lists the services of ae: those of the live release, and databases
// that are kept beside them.
func (s *Server) Services(ctx context.Context, by store.Caller, ae config.AppEnv) ([]ServiceView, error) {
	if err := s.May(by, ae); err != nil {
		return nil, err
	}
	app, err := s.liveApp(ctx, ae)
	if err != nil {
		return nil, err
	}
	kept, err := s.o.Store.Services(ctx, ae.App())
	if err != nil {
		return nil, err
	}
	var all []ServiceView
	if app != nil {
		for i, spec := range app.Services {
			v := ServiceView{Name: spec.Name, Type: spec.Type, Live: true, Main: i == service.Main(app.Services)}
			if spec.Type == service.SQLite {
				v.Database = "shared/" + service.SQLiteFile(spec.Name)
			} else {
				s.describeDatabase(ae, &v)
			}
			all = append(all, v)
		}
	}
	for _, r := range kept {
		known := func(v ServiceView) bool { return v.Name == r.Name && v.Type == service.PostgreSQL }
		if r.AppEnv == ae && !slices.ContainsFunc(all, known) {
			v := ServiceView{Name: r.Name, Type: service.PostgreSQL}
			s.describeDatabase(ae, &v)
			all = append(all, v)
		}
	}
	return all, nil
}

// liveApp is the live release's own settings; nil if nothing is live.
func (s *Server) liveApp(ctx context.Context, ae config.AppEnv) (*config.AppFile, error) {
	live, err := s.o.Store.LiveRelease(ctx, ae)
	if err != nil || live == nil {
		return nil, err
	}
	app := &config.AppFile{}
	if err := json.Unmarshal(live.App, app); err != nil {
		return nil, fmt.Errorf("read the settings of release %d: %w", live.Number, err)
	}
	return app, nil
}

func (s *Server) describeDatabase(ae config.AppEnv, v *ServiceView) {
	v.Database = service.Database{AppEnv: ae, Service: v.Name}.Name()
	if server, err := s.serviceServer(ae); err == nil { // else it is declared no more
		v.Server = server.AppAddr()
	}
}

// RotateService gives a service of ae a new password, and makes a new release
// of the live build with it. If that does not go live, the password is as it
// was. In between, from the new password to the app's restart, the release that
// was live can open no new connection.
func (s *Server) RotateService(ctx context.Context, by store.Caller, ae config.AppEnv, name string, out io.Writer) error {
	choose := func(ctx context.Context, d *deploy) error {
		if d.live == nil {
			return noRelease(ae)
		}
		app, err := s.liveApp(ctx, ae)
		if err != nil {
			return err
		}
		if err := rotatable(ae, app, name); err != nil {
			return err
		}
		if d.vars, err = s.o.Store.ReleaseVars(ctx, ae, d.live.Number); err != nil {
			return err
		}
		d.reuse, d.rotate = d.live, name
		d.ref, d.old, d.commit = d.live.Ref, d.live.Commit, d.live.Commit
		return nil
	}
	_, err := s.deploy(ctx, Request{Caller: by, AppEnv: ae, Reason: store.Rotate}, choose, out)
	return err
}

func rotatable(ae config.AppEnv, app *config.AppFile, name string) error {
	var names []string
	for _, spec := range app.Services {
		switch {
		case spec.Name != name:
			names = append(names, spec.Name)
		case spec.Type == service.SQLite:
			return config.Errorf(config.Usage, "service list "+ae.String(), "%s of %s is a file, which has no password", name, ae)
		default:
			return nil
		}
	}
	hint := "service list " + ae.String()
	if near := config.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return config.Errorf(config.NotFound, hint, "%s has no service %s", ae, quote(name))
}

// Databases lists what an app has on servers, over all environments.
func (s *Server) Databases(ctx context.Context, app config.App) ([]ServiceView, error) {
	rows, err := s.o.Store.Services(ctx, app)
	if err != nil {
		return nil, err
	}
	var all []ServiceView
	for _, r := range rows {
		v := ServiceView{Name: r.Name, Type: service.PostgreSQL}
		s.describeDatabase(r.AppEnv, &v)
		all = append(all, v)
	}
	return all, nil
}

// eachDatabase does something with every database of an app.
func (s *Server) eachDatabase(ctx context.Context, app config.App, do func(context.Context, *service.Server, service.Database, service.Wait) error) error {
	rows, err := s.o.Store.Services(ctx, app)
	if err != nil {
		return err
	}
	for _, r := range rows {
		server, err := s.serviceServer(r.AppEnv)
		if err == nil {
			err = do(ctx, server, service.Database{AppEnv: r.AppEnv, Service: r.Name}, service.Wait{For: serviceTidyTime})
		}
		if err != nil {
			return fmt.Errorf("service %s of %s: %w", r.Name, r.AppEnv, err)
		}
	}
	return nil
}

// reachDatabases says whether the servers of an app's databases answer, before
// anything of the app is removed.
func (s *Server) reachDatabases(ctx context.Context, app config.App) error {
	return s.eachDatabase(ctx, app, func(ctx context.Context, server *service.Server, _ service.Database, w service.Wait) error {
		return server.Ping(ctx, w)
	})
}

// dropDatabases removes an app's databases and their roles.
func (s *Server) dropDatabases(ctx context.Context, app config.App) error {
	return s.eachDatabase(ctx, app, func(ctx context.Context, server *service.Server, d service.Database, w service.Wait) error {
		return server.Drop(ctx, d, w)
	})
}
