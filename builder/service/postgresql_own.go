package service

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Shut closes the databases that d's role has made to every other role: a new
// one is open to all that may log in.
func (s *Server) Shut(ctx context.Context, d Database, w Wait) error {
	ctx, cancel := s.bound(ctx, w)
	defer cancel()
	conn, err := s.open(ctx, w)
	if err != nil {
		return err
	}
	defer conn.close(ctx)
	names, err := conn.names(ctx, "look for the databases of "+d.Name(),
		`SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
		WHERE r.rolname = $1 AND has_database_privilege('public', d.oid, 'CONNECT')`, d.Name())
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := conn.exec(ctx, "close database "+name+" to other roles", "REVOKE ALL ON DATABASE "+pgx.Identifier{name}.Sanitize()+" FROM PUBLIC"); err != nil {
			return err
		}
	}
	return nil
}

// Taken lists databases that other environments of the same app have made, each
// as "NAME of APP/ENV". An app that names its database itself asks for the same
// one everywhere, and a server has but one of that name.
func (s *Server) Taken(ctx context.Context, d Database, w Wait) ([]string, error) {
	ctx, cancel := s.bound(ctx, w)
	defer cancel()
	conn, err := s.open(ctx, w)
	if err != nil {
		return nil, err
	}
	defer conn.close(ctx)
	mark := "slipway: " + d.AppEnv.App().String() + "/"
	all, err := conn.names(ctx, "look for databases of "+d.AppEnv.App().String(),
		`SELECT d.datname || ' of ' || split_part(shobj_description(r.oid, 'pg_authid'), ' ', 2)
		FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
		WHERE left(shobj_description(r.oid, 'pg_authid'), length($1)) = $1 AND r.rolname <> $2 AND d.datname <> r.rolname ORDER BY 1`, mark, d.Name())
	for i := range all {
		all[i] = strings.ToValidUTF8(all[i], "?")
	}
	return all, err
}

// letCreate lets a role make databases, or forbids it.
func (a *admin) letCreate(ctx context.Context, d Database) error {
	var may bool
	err := a.row(ctx, "look what role "+d.Name()+" may", "SELECT rolcreatedb FROM pg_roles WHERE rolname = $1", []any{d.Name()}, &may)
	if err != nil || may == d.Creates {
		return err
	}
	right := "NOCREATEDB"
	if d.Creates {
		right = "CREATEDB"
	}
	return a.exec(ctx, "set what role "+d.Name()+" may", fmt.Sprintf("ALTER ROLE %s %s", d.ident(), right))
}

// owned lists the databases that a role owns.
func (a *admin) owned(ctx context.Context, d Database) ([]string, error) {
	return a.names(ctx, "look for the databases of "+d.Name(),
		"SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE r.rolname = $1 ORDER BY 1", d.Name())
}

// names asks for a list.
func (a *admin) names(ctx context.Context, doing, query string, args ...any) ([]string, error) {
	rows, err := a.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, a.failed(ctx, doing, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, a.failed(ctx, doing, err)
	}
	return all, nil
}
