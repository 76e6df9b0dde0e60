package service

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"slipway/builder/service/pgtest"
	"slipway/config"
)

// testOwn: a role that may make databases, as scripts of dotCloud's time do.
func testOwn(t *testing.T, c *pgtest.Cluster, s *Server) {
	ctx := t.Context()
	wait, password := Wait{For: 5 * time.Second}, config.NewSecret("canary-own")
	dev, prod := database(t, "own/dev", "db"), database(t, "own/prod", "db")
	create := func(d Database, name string) error {
		conn, err := pgx.Connect(ctx, c.URL(d.Name(), password.Reveal(), "template1"))
		must(t, err)
		_, err = conn.Exec(ctx, "CREATE DATABASE "+name)
		must(t, conn.Close(ctx))
		return err
	}
	for _, d := range []*Database{&dev, &prod} {
		_, err := s.Make(ctx, *d, password, wait)
		must(t, err)
		if err := create(*d, "refused"); code(err) != insufficientPrivilege {
			t.Errorf("%s makes a database without the right: %v", d.Name(), err)
		}
		d.Creates = true
		_, err = s.Make(ctx, *d, password, wait)
		must(t, err)
	}
	must(t, create(dev, `"Odd ""name"`))
	must(t, create(dev, "blog"))
	must(t, login(ctx, s.Endpoint(dev, password), "blog"))
	must(t, s.Shut(ctx, dev, wait))
	must(t, s.Shut(ctx, dev, wait)) // again
	must(t, login(ctx, s.Endpoint(dev, password), "blog"))
	if err := login(ctx, s.Endpoint(prod, password), "blog"); code(err) != insufficientPrivilege {
		t.Errorf("another environment connects to what this one made: %v", err)
	}
	for _, want := range []struct {
		of    Database
		taken []string
	}{{dev, []string{}}, {prod, []string{`Odd "name of own/dev`, "blog of own/dev"}}} {
		got, err := s.Taken(ctx, want.of, wait)
		must(t, err)
		if diff := cmp.Diff(want.taken, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", want.of.Name(), diff)
		}
	}
	dev.Creates = false // the right goes with the file that asked for it
	_, err := s.Make(ctx, dev, password, wait)
	must(t, err)
	if err := create(dev, "late"); code(err) != insufficientPrivilege {
		t.Errorf("the right stays: %v", err)
	}
	must(t, s.Drop(ctx, dev, wait))
	left, err := c.Value(ctx, "postgres", `SELECT string_agg(datname::text, ' ' ORDER BY datname) FROM pg_database WHERE datname IN ('blog', 'Odd "name') OR datname LIKE 'own%'`)
	if err != nil || left != "own_prod" {
		t.Errorf("left: %s, %v", left, err)
	}
}
