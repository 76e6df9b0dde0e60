package service

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"slipway/config"
)

// admin is a connection with the rights to make roles and databases.
type admin struct {
	s       *Server
	conn    *pgx.Conn
	version int // such as 150006
	super   bool
}

// closeTime bounds the goodbye; the server notices without it too.
const closeTime = 5 * time.Second

func (a *admin) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	_ = a.conn.Close(ctx) // all that it was to do has been answered
}

// exec runs a statement. It is never shown: it may hold a verifier.
func (a *admin) exec(ctx context.Context, doing, statement string) error {
	if _, err := a.conn.Exec(ctx, statement); err != nil {
		return a.failed(ctx, doing, err)
	}
	return nil
}

// together runs statements in one transaction.
func (a *admin) together(ctx context.Context, doing string, statements ...string) error {
	tx, err := a.conn.Begin(ctx)
	if err != nil {
		return a.failed(ctx, doing, err)
	}
	for _, q := range statements {
		if _, err := tx.Exec(ctx, q); err != nil {
			_ = tx.Rollback(ctx) // the connection, which is closed after an error, ends it too
			return a.failed(ctx, doing, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return a.failed(ctx, doing, err)
	}
	return nil
}

func (a *admin) row(ctx context.Context, doing, query string, args []any, dest ...any) error {
	err := a.conn.QueryRow(ctx, query, args...).Scan(dest...)
	if errors.Is(err, pgx.ErrNoRows) {
		return errNoRow
	}
	if err != nil {
		return a.failed(ctx, doing, err)
	}
	return nil
}

func (a *admin) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return a.s.explain(doing, err)
}

// role says whether the role is there; one that is not Slipway's is an error.
func (a *admin) role(ctx context.Context, d Database) (bool, error) {
	var comment string
	err := a.row(ctx, "look for role "+d.Name(),
		"SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = $1", []any{d.Name()}, &comment)
	switch {
	case errors.Is(err, errNoRow):
		return false, nil
	case err != nil:
		return false, err
	case comment != d.marker():
		return false, notOurs("role", d, a.s.Addr(), ownership(d))
	}
	return true, nil
}

func (a *admin) makeRole(ctx context.Context, d Database, password config.Secret) error {
	verifier, err := scram(password)
	if err != nil {
		return err
	}
	statements := []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD %s", d.ident(), literal(verifier)),
		ownership(d),
	}
	if !a.super { // who is no superuser may make a database only for a role that it is a member of
		statements = append(statements, "GRANT "+d.ident()+" TO CURRENT_USER")
	}
	return a.together(ctx, "create role "+d.Name(), statements...)
}

func (a *admin) setPassword(ctx context.Context, d Database, password config.Secret) error {
	verifier, err := scram(password)
	if err != nil {
		return err
	}
	return a.exec(ctx, "set the password of role "+d.Name(), fmt.Sprintf("ALTER ROLE %s LOGIN PASSWORD %s", d.ident(), literal(verifier)))
}

// databaseState is what a database is like on its server.
type databaseState struct {
	there bool
	open  bool // it takes connections
	all   bool // from every role
}

// database looks for the database; one that another role owns is an error.
func (a *admin) database(ctx context.Context, d Database) (databaseState, error) {
	st := databaseState{there: true}
	var own bool
	err := a.row(ctx, "look for database "+d.Name(),
		`SELECT r.rolname = d.datname, d.datallowconn, has_database_privilege('public', d.oid, 'CONNECT')
		FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1`, []any{d.Name()}, &own, &st.open, &st.all)
	switch {
	case errors.Is(err, errNoRow):
		return databaseState{}, nil
	case err == nil && !own:
		err = notOurs("database", d, a.s.Addr(), fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", d.ident(), d.ident()))
	}
	return st, err
}

// makeDatabase makes a database that nobody else may connect to, not even for
// the moment in which it is made.
func (a *admin) makeDatabase(ctx context.Context, d Database) (made bool, err error) {
	st, err := a.database(ctx, d)
	if err != nil {
		return false, err
	}
	if !st.there {
		create := fmt.Sprintf("CREATE DATABASE %s OWNER %s ALLOW_CONNECTIONS false", d.ident(), d.ident())
		if err := a.retry(ctx, "create database "+d.Name(), create); err != nil {
			return false, err
		}
		st = databaseState{there: true, all: true}
		made = true
	}
	if !st.all {
		return made, nil // an admin who closed it has reasons
	}
	statements := []string{"REVOKE ALL ON DATABASE " + d.ident() + " FROM PUBLIC"}
	if !st.open {
		statements = append(statements, "ALTER DATABASE "+d.ident()+" ALLOW_CONNECTIONS true")
	}
	return made, a.together(ctx, "close database "+d.Name()+" to other roles", statements...)
}

// retry repeats a statement while another session is in its way: databases
// cannot be copied from a template that somebody is connected to.
func (a *admin) retry(ctx context.Context, doing, statement string) error {
	const tries = 20
	for i := 1; ; i++ {
		_, err := a.conn.Exec(ctx, statement)
		var e *pgconn.PgError
		if err == nil {
			return nil
		}
		if !errors.As(err, &e) || e.Code != objectInUse || i == tries {
			return a.failed(ctx, doing, err)
		}
		next := time.NewTimer(250 * time.Millisecond)
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return context.Cause(ctx)
		}
	}
}

// prove logs in as the role, and sets the password where it is another. A
// server that lets the role in from elsewhere only cannot be asked: there the
// password is set in any case.
func (a *admin) prove(ctx context.Context, d Database, password config.Secret) error {
	own := a.s.admin.Copy()
	own.User, own.Password, own.Database = d.Name(), password.Reveal(), d.Name()
	for try := 0; ; try++ {
		conn, err := pgx.ConnectConfig(ctx, own)
		if err == nil {
			(&admin{conn: conn}).close(ctx)
			return nil
		}
		var e *pgconn.PgError
		known := errors.As(err, &e)
		switch {
		case known && e.Code == invalidAuthorization && try > 0:
			return nil
		case known && (e.Code == invalidAuthorization || e.Code == invalidPassword) && try == 0:
			if err := a.setPassword(ctx, d, password); err != nil {
				return err
			}
		default:
			return a.failed(ctx, "log in as "+d.Name(), err)
		}
	}
}

// iterations and the length of the salt are PostgreSQL's own.
const (
	iterations = 4096
	saltBytes  = 16
)

// scram makes what the server keeps of a password, so that the password itself
// never reaches it, nor a log of its statements (RFC 5802, 7677).
func scram(password config.Secret) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	salted, err := pbkdf2.Key(sha256.New, password.Reveal(), salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	sign := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(sign("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(sign("Server Key"))), nil
}
