package hooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	"slipway/builder"
	"slipway/builder/service"
	"slipway/config"
)

const (
	// serviceTime bounds how long a service may take to answer before a build.
	serviceTime = time.Minute

	// serviceTidyTime is that after a deploy that failed, and of commands.
	serviceTidyTime = 10 * time.Second

	// shutTime bounds what a build that was cancelled still has to wait for.
	shutTime = 3 * time.Second
)

// checkServices refuses an app that asks for what its environment has not,
// before anything is fetched.
func (d *deploy) checkServices() error {
	for _, spec := range d.app.Services {
		if err := d.checkReach(spec); err != nil {
			return err
		}
		if spec.Type != service.PostgreSQL || d.env != nil && d.env.Services.PostgreSQL != nil {
			continue
		}
		lines := []string{"[services.postgresql]", `url = "file:keys/postgresql"`}
		if d.progress != nil {
			d.progress.Step("Plan", fmt.Sprintf("service %s: %s has no postgresql; in server.toml it would be", spec.Name, d.ae.Env()), -1)
			for _, line := range lines {
				d.progress.Detail("    "+line, -1)
			}
		}
		return config.Errorf(config.Failed,
			fmt.Sprintf("an admin adds to server.toml: %s with %s", lines[0], lines[1]),
			"%s asks for postgresql as service %s, and %s has none", d.ae, spec.Name, d.ae.Env())
	}
	return nil
}

// checkReach refuses a service that not every host of the environment could
// reach.
func (d *deploy) checkReach(spec config.ServiceSpec) error {
	if d.env == nil || d.env.Target != "ssh" {
		return nil
	}
	if spec.Type == service.SQLite && len(d.env.Hosts) > 1 {
		return config.Errorf(config.Failed, fmt.Sprintf("slipway.toml: [services.%s] type = \"postgresql\"", spec.Name),
			"sqlite, as service %s, is a file on one host, and %s has %d", spec.Name, d.ae.Env(), len(d.env.Hosts))
	}
	p := d.env.Services.PostgreSQL
	if spec.Type != service.PostgreSQL || p == nil || p.URLForApps != "" {
		return nil
	}
	server, err := service.NewServer(p)
	if err != nil {
		return err
	}
	if host, _, err := net.SplitHostPort(server.AppAddr()); err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback()) {
		return config.Errorf(config.Failed, `an admin adds to [services.postgresql]: url_for_apps = "postgres://HOST:5432"`,
			"the hosts of %s cannot reach the database at %s", d.ae.Env(), server.AppAddr())
	}
	return nil
}

// serviceVars are the variables of the services that are not on the target
// itself, with the passwords given; secret has those of them to be masked.
func serviceVars(app *config.AppFile, end func(config.ServiceSpec) (service.Endpoint, error)) (vars, secret map[string]config.Secret, err error) {
	vars, secret = map[string]config.Secret{}, map[string]config.Secret{}
	for i, spec := range app.Services {
		if spec.Type != service.PostgreSQL {
			continue
		}
		e, err := end(spec)
		if err != nil {
			return nil, nil, err
		}
		for name, v := range e.Vars() {
			if name != service.URL || i == service.Main(app.Services) {
				vars[name] = config.NewSecret(v)
			}
		}
		secret["URL of "+spec.Name] = config.NewSecret(e.URL)
		secret["password of "+spec.Name] = config.NewSecret(e.Password)
	}
	return vars, secret, nil
}

// knownServiceVars are the variables of the services as they are, without
// asking any of them.
func (s *Server) knownServiceVars(ctx context.Context, ae config.AppEnv, app *config.AppFile) (vars, secret map[string]config.Secret, err error) {
	return serviceVars(app, func(spec config.ServiceSpec) (service.Endpoint, error) {
		server, err := s.serviceServer(ae)
		if err != nil {
			return service.Endpoint{}, err
		}
		password, err := s.o.Store.ServiceSecret(ctx, ae, spec.Name)
		return server.Endpoint(service.Database{AppEnv: ae, Service: spec.Name}, password), err
	})
}

// serviceServer is the server that ae's environment has its databases on.
func (s *Server) serviceServer(ae config.AppEnv) (*service.Server, error) {
	env := s.o.Config().Environments[ae.Env()]
	if env == nil || env.Services.PostgreSQL == nil {
		return nil, config.Errorf(config.Failed, `an admin declares it in server.toml: [services.postgresql] with url = "file:keys/postgresql"`,
			"%s has no postgresql any more, which %s uses", ae.Env(), ae)
	}
	return service.NewServer(env.Services.PostgreSQL)
}

// provide has the services ready that the release needs: each is up, answers,
// and takes the password that the release gets. A release that builds nothing
// has them from the one that did, and asks no server: going back must not wait
// for what is broken.
func (d *deploy) provide(ctx context.Context) (err error) {
	var secret map[string]config.Secret
	if d.reuse != nil && d.rotate == "" {
		d.services, secret, err = d.s.knownServiceVars(ctx, d.ae, d.app)
	} else {
		d.s.settleRotation(ctx, d.ae)
		d.services, secret, err = serviceVars(d.app, func(spec config.ServiceSpec) (service.Endpoint, error) { return d.database(ctx, spec) })
	}
	if err != nil {
		return err
	}
	d.masked = maps.Clone(d.vars)
	maps.Copy(d.masked, secret)
	d.setMask()
	return nil
}

// dryServices says which servers a deploy would use.
func (d *deploy) dryServices() {
	for _, spec := range d.app.Services {
		if spec.Type != service.PostgreSQL {
			continue
		}
		if server, err := d.s.serviceServer(d.ae); err == nil { // else the plan was refused
			d.progress.Step("Services", fmt.Sprintf("%s: %s at %s, not asked", spec.Name, spec.Type, server.Addr()), -1)
		}
	}
}

// setMask hides the vars, and the services' secrets once they are known.
func (d *deploy) setMask() {
	values := d.masked
	if values == nil {
		values = d.vars
	}
	d.progress.SetMask(builder.NewMask(values, d.ae.App().String(), d.ae.Env().String(), strings.TrimPrefix(d.ref, heads)))
}

// database makes one database, and gives it a new password if that is what the
// deploy is for.
func (d *deploy) database(ctx context.Context, spec config.ServiceSpec) (service.Endpoint, error) {
	var none service.Endpoint
	server, err := d.s.serviceServer(d.ae)
	if err != nil {
		return none, err
	}
	password, err := d.s.o.Store.ServiceSecret(ctx, d.ae, spec.Name)
	if err != nil {
		return none, err
	}
	old := d.app.DotCloud != nil
	db := service.Database{AppEnv: d.ae, Service: spec.Name, Creates: old && !d.env.Services.PostgreSQL.NoCreate}
	waiting := "waiting for postgresql at " + server.Addr()
	w := service.Wait{For: serviceTime, Waiting: func(reason string) {
		d.progress.Step("Waiting", "for postgresql at "+server.Addr()+": "+reason, -1)
	}}
	took := d.step("services", waiting)
	made, err := server.Make(ctx, db, password, w)
	var taken []string
	if err == nil && old {
		taken, err = server.Taken(ctx, db, w)
	}
	text := fmt.Sprintf("%s: database %s at %s", spec.Name, db.Name(), server.Addr())
	if made {
		text += ", new"
	}
	if err == nil && d.rotate == spec.Name {
		if password, err = d.s.o.Store.RotateServiceSecret(ctx, d.ae, spec.Name, d.rel.Number); err == nil {
			err = server.SetPassword(ctx, db, password, w)
		}
		text += ", new password"
	}
	t := took()
	if err != nil {
		return none, err
	}
	d.progress.Step("Services", text, t)
	if old && !db.Creates {
		d.progress.Say("  note", fmt.Sprintf("no other database can be made there: create_databases is false for %s", d.ae.Env()))
	}
	if len(taken) > 0 {
		d.progress.Say("  note", fmt.Sprintf("taken there: %s; one name is one database, so give each environment a server or a name of its own", strings.Join(taken, ", ")))
	}
	return server.Endpoint(db, password), nil
}

// shutDatabases closes to others what the app has made for itself while it was
// built, even if that has failed.
func (d *deploy) shutDatabases(ctx context.Context) error {
	if d.app.DotCloud == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutTime)
	defer cancel()
	for _, spec := range d.app.Services {
		if spec.Type != service.PostgreSQL {
			continue
		}
		server, err := d.s.serviceServer(d.ae)
		if err == nil {
			err = server.Shut(ctx, service.Database{AppEnv: d.ae, Service: spec.Name}, service.Wait{For: shutTime})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settleServices decides about passwords that rotations have made: where such a
// release did not go live, the role gets the one before back.
func (s *Server) settleServices(ctx context.Context, ae config.AppEnv) error {
	kept, err := s.o.Store.SettleServiceSecrets(ctx, ae)
	if err != nil || len(kept) == 0 {
		return err
	}
	server, err := s.serviceServer(ae)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range kept {
		password, err := s.o.Store.ServiceSecret(ctx, ae, name)
		if err == nil {
			err = server.SetPassword(ctx, service.Database{AppEnv: ae, Service: name}, password, service.Wait{For: serviceTidyTime})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// settleRotation is settleServices where nobody is left to be told.
func (s *Server) settleRotation(ctx context.Context, ae config.AppEnv) {
	if err := s.settleServices(ctx, ae); err != nil {
		s.o.Log.Error().Err(err).Str("app", ae.String()).Msg("cannot give a database its password back; the next build will")
	}
}
