package service

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"slipway/builder/service/pgtest"
	"slipway/config"
)

func database(t *testing.T, appEnv, service string) Database {
	t.Helper()
	ae, err := config.ParseAppEnv(appEnv)
	if err != nil {
		t.Fatal(err)
	}
	return Database{AppEnv: ae, Service: service}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func cluster(t *testing.T) *pgtest.Cluster {
	t.Helper()
	c, err := pgtest.New(t.Context())
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func server(t *testing.T, raw string) *Server {
	t.Helper()
	s, err := NewServer(&config.PostgreSQL{URL: config.NewSecret(raw)})
	must(t, err)
	return s
}

// login connects as an app does, by the URL that it is given, or to another
// database.
func login(ctx context.Context, e Endpoint, other string) error {
	u, err := url.Parse(e.URL)
	if err != nil {
		return err
	}
	if other != "" {
		u.Path = "/" + other
	}
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS t (x int); INSERT INTO t VALUES (1)", pgx.QueryExecModeSimpleProtocol)
	return errors.Join(err, conn.Close(ctx))
}

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestPostgreSQL(t *testing.T) {
	ctx, c := t.Context(), cluster(t)
	must(t, c.Start(ctx))
	s := server(t, c.URL(pgtest.Admin, pgtest.AdminPassword, "postgres"))
	wait := Wait{For: 5 * time.Second}
	shop, other := database(t, "shop/dev", "db"), database(t, "shop/prod", "db")
	first, second := config.NewSecret("canary-first"), config.NewSecret("canary-@:/second")
	for i, want := range []bool{true, false, false} {
		made, err := s.Make(ctx, shop, first, wait)
		if err != nil || made != want {
			t.Fatalf("call %d: %v %v", i, made, err)
		}
	}
	_, err := s.Make(ctx, other, second, wait)
	must(t, err)
	own, foreign := s.Endpoint(shop, first), s.Endpoint(other, second)
	must(t, login(ctx, own, ""))
	must(t, login(ctx, foreign, ""))
	if err := login(ctx, own, other.Name()); code(err) != insufficientPrivilege {
		t.Errorf("one APP/ENV connects to another's database: %v", err)
	}
	if err := login(ctx, s.Endpoint(shop, second), ""); code(err) != invalidPassword {
		t.Errorf("a wrong password: %v", err)
	}

	t.Run("doctor", func(t *testing.T) {
		version, err := s.Check(ctx, Wait{})
		if err != nil || len(version) != 2 {
			t.Errorf("%q %v", version, err)
		}
		must(t, c.Exec(ctx, "postgres", "CREATE ROLE poor LOGIN CREATEDB PASSWORD 'canary'"))
		_, err = server(t, c.URL("poor", "canary", "postgres")).Check(ctx, Wait{})
		if err == nil || !strings.Contains(err.Error(), "lets poor log in, but not make databases and roles") || !strings.Contains(config.Hint(err), "ALTER ROLE poor CREATEDB CREATEROLE") {
			t.Errorf("a login without rights: %v", err)
		}
		_, err = server(t, c.URL("poor", "wrong", "postgres")).Check(ctx, Wait{})
		if err == nil || !strings.Contains(err.Error(), "cannot log in as poor") || config.Hint(err) == "" {
			t.Errorf("a wrong password: %v", err)
		}
	})
	t.Run("own", func(t *testing.T) { testOwn(t, c, s) })

	t.Run("crashes", func(t *testing.T) { // what a Make that stopped in the middle leaves
		d := database(t, "half/dev", "db")
		must(t, c.Exec(ctx, "postgres", "SET ROLE slipway", "CREATE ROLE half_dev LOGIN", ownership(d), "GRANT half_dev TO slipway",
			"CREATE DATABASE half_dev OWNER half_dev ALLOW_CONNECTIONS false"))
		made, err := s.Make(ctx, d, first, wait)
		if err != nil || made {
			t.Fatalf("%v %v", made, err)
		}
		must(t, login(ctx, s.Endpoint(d, first), ""))
		public, err := c.Value(ctx, "postgres", "SELECT has_database_privilege('public', 'half_dev', 'CONNECT')::text")
		if err != nil || public != "false" {
			t.Errorf("everybody may connect: %s %v", public, err)
		}
	})

	t.Run("password", func(t *testing.T) {
		must(t, s.SetPassword(ctx, shop, second, wait))
		must(t, login(ctx, s.Endpoint(shop, second), ""))
		if err := login(ctx, own, ""); code(err) != invalidPassword {
			t.Errorf("the old password: %v", err)
		}
		made, err := s.Make(ctx, shop, first, wait) // it has drifted, and is set again
		if err != nil || made {
			t.Fatalf("%v %v", made, err)
		}
		must(t, login(ctx, own, ""))
		nobody := database(t, "nobody/dev", "db")
		if err := s.SetPassword(ctx, nobody, first, wait); config.KindOf(err) != config.NotFound {
			t.Errorf("no such role: %v", err)
		}
	})

	t.Run("others", func(t *testing.T) { // names that are somebody else's
		must(t, c.Exec(ctx, "postgres", "CREATE ROLE theirs_dev LOGIN PASSWORD 'canary'", "CREATE DATABASE taken_dev"))
		for _, name := range []string{"theirs/dev", "taken/dev"} {
			d := database(t, name, "db")
			_, err := s.Make(ctx, d, first, wait)
			if err == nil || !strings.Contains(err.Error(), "not Slipway's") || !strings.Contains(config.Hint(err), d.Name()) {
				t.Errorf("%s: %v", name, err)
			}
			if err := s.Drop(ctx, d, wait); err == nil {
				t.Errorf("%s was dropped", name)
			}
		}
	})

	t.Run("names", func(t *testing.T) {
		for _, d := range []Database{
			database(t, "pg/monitor", "db"), database(t, strings.Repeat("long-", 10)+"app/staging", "cache"),
			database(t, "shop/dev", "cache"),
		} {
			_, err := s.Make(ctx, d, first, wait)
			must(t, err)
			must(t, login(ctx, s.Endpoint(d, first), ""))
			must(t, s.Drop(ctx, d, wait))
		}
	})

	t.Run("drop", func(t *testing.T) {
		busy, err := pgx.Connect(ctx, foreign.URL)
		must(t, err)
		must(t, s.Drop(ctx, other, wait))
		_ = busy.Close(ctx) // cut off by the drop
		must(t, s.Drop(ctx, other, wait))
		left, err := c.Value(ctx, "postgres", "SELECT (SELECT count(*) FROM pg_database WHERE datname = $1) || ' ' || (SELECT count(*) FROM pg_roles WHERE rolname = $1)", other.Name())
		if err != nil || left != "0 0" {
			t.Errorf("left of a database that was dropped: %s %v", left, err)
		}
		must(t, login(ctx, own, ""))
	})

	t.Run("failures", func(t *testing.T) {
		must(t, c.Exec(ctx, "postgres", "CREATE ROLE weak LOGIN PASSWORD 'canary-weak'"))
		for _, tt := range []struct{ url, text, hint string }{
			{c.URL(pgtest.Admin, "canary-wrong", "postgres"), "log in as slipway: password authentication failed", "[services.postgresql] url"},
			{c.URL(pgtest.Admin, pgtest.AdminPassword, "nowhere"), "does not exist (3D000)", "/postgres"},
			{c.URL("weak", "canary-weak", "postgres"), "create role more_dev: permission denied", "ALTER ROLE weak CREATEDB CREATEROLE"},
		} {
			_, err := server(t, tt.url).Make(ctx, database(t, "more/dev", "db"), first, wait)
			if err == nil || !strings.Contains(err.Error(), tt.text) || !strings.Contains(config.Hint(err), tt.hint) {
				t.Errorf("%v; hint: %s", err, config.Hint(err))
			}
			if err != nil && strings.Contains(fmt.Sprintf("%v %+v %s", err, err, config.Hint(err)), "canary") {
				t.Errorf("a password in: %v", err)
			}
		}
	})

	log, err := os.ReadFile(c.Log)
	must(t, err)
	for _, secret := range []config.Secret{first, second} {
		if strings.Contains(string(log), secret.Reveal()) {
			t.Errorf("the server's log has a password in it")
		}
	}
	if !strings.Contains(string(log), "CREATE ROLE \"shop_dev\"") {
		t.Errorf("the server's log has no statements, so this says nothing")
	}
}

func TestPostgreSQLStartsLate(t *testing.T) {
	ctx, c := t.Context(), cluster(t)
	s := server(t, c.URL(pgtest.Admin, pgtest.AdminPassword, "postgres"))
	d, password := database(t, "shop/dev", "db"), config.NewSecret("canary")
	_, err := s.Make(ctx, d, password, Wait{For: 300 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "cannot reach postgresql at "+s.Addr()+": connection refused") || config.Hint(err) == "" {
		t.Errorf("a server that is not there: %v", err)
	}
	stopped, cancel := context.WithCancelCause(ctx)
	_, err = s.Make(stopped, d, password, Wait{For: time.Minute, Waiting: func(string) { cancel(errors.New("enough")) }})
	if err == nil || err.Error() != "enough" {
		t.Errorf("cancelled: %v", err)
	}
	started := make(chan error, 1)
	var said []string
	made, err := s.Make(ctx, d, password, Wait{For: time.Minute, Waiting: func(why string) {
		said = append(said, why)
		go func() { started <- c.Start(ctx) }()
	}})
	if err != nil || !made || len(said) != 1 || said[0] != "connection refused" {
		t.Errorf("%v %v %q", made, err, said)
	}
	must(t, <-started)
}

func TestDatabaseName(t *testing.T) {
	long := strings.Repeat("a", 60)
	seen := map[string]Database{}
	for _, d := range []Database{
		database(t, "shop/dev", "db"), database(t, "shop/dev", "cache"), database(t, "shop-dev/dev", "db"), database(t, "shop/dev-dev", "db"),
		database(t, long+"/dev", "db"), database(t, long+"/dev", "cache"), database(t, long+"/prod", "db"), database(t, "pg/dev", "db"),
	} {
		name := d.Name()
		if before, has := seen[name]; has || len(name) > maxName || name == "" || strings.HasPrefix(name, "pg_") {
			t.Errorf("%v: %s, which %v has", d, name, before)
		}
		seen[name] = d
	}
	if got := database(t, "shop/dev", "db").Name(); got != "shop_dev" {
		t.Errorf("shop/dev db is %s", got)
	}
}

func TestPostgreSQLEndpoint(t *testing.T) {
	d, password := database(t, "shop/dev", "db"), config.NewSecret("a@b:c/d?e")
	for _, tt := range []struct{ url, apps, want, host, port string }{
		{"postgres://u:canary@db.corp/postgres", "", "postgres://shop_dev:a%40b%3Ac%2Fd%3Fe@db.corp:5432/shop_dev", "db.corp", "5432"},
		{"postgres://u:canary@[::1]:6000/x?sslmode=disable&connect_timeout=3", "", "postgres://shop_dev:a%40b%3Ac%2Fd%3Fe@[::1]:6000/shop_dev?sslmode=disable", "::1", "6000"},
		{"postgres://u:canary@db.corp/postgres", "postgres://pg:7000?sslmode=require", "postgres://shop_dev:a%40b%3Ac%2Fd%3Fe@pg:7000/shop_dev?sslmode=require", "pg", "7000"},
		{"postgres://u:canary@db.corp/postgres", "postgres://pg", "postgres://shop_dev:a%40b%3Ac%2Fd%3Fe@pg:5432/shop_dev", "pg", "5432"},
		{"postgres:///x?host=/run/pg&user=u", "", "postgres://shop_dev:a%40b%3Ac%2Fd%3Fe@/shop_dev?host=%2Frun%2Fpg&port=5432", "/run/pg", "5432"},
	} {
		s, err := NewServer(&config.PostgreSQL{URL: config.NewSecret(tt.url), URLForApps: tt.apps})
		must(t, err)
		e := s.Endpoint(d, password)
		if e.URL != tt.want || e.Host != tt.host || e.Port != tt.port || e.Login != "shop_dev" || e.Password != password.Reveal() {
			t.Errorf("%s, %s: %+v", tt.url, tt.apps, e)
		}
	}
	for _, bad := range []string{"postgres://u:canary@h/x?sslmode=sometimes", "postgres://u:canary@h/x?sslrootcert=/nowhere"} {
		if _, err := NewServer(&config.PostgreSQL{URL: config.NewSecret(bad)}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPostgreSQLErrors(t *testing.T) {
	s := server(t, "postgres://u:canary@db.corp/postgres")
	full := &pgconn.PgError{Code: diskFull, Message: "could not extend file: No space left on device"}
	err := s.explain("create database shop_dev", full)
	if want := "postgresql at db.corp:5432 cannot create database shop_dev: could not extend file: No space left on device (53100)"; err.Error() != want {
		t.Errorf("%v", err)
	}
	if !strings.Contains(config.Hint(err), "room") {
		t.Errorf("hint: %s", config.Hint(err))
	}
	for code, want := range map[string]bool{cannotConnectNow: true, tooManyConnections: true, "57P01": true, "08006": true, invalidPassword: false, diskFull: false} {
		if passing(&pgconn.PgError{Code: code}) != want {
			t.Errorf("%s passes: %v", code, !want)
		}
	}
}
