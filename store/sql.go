package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"slipway/config"
	"slipway/store/disk"
)

// querier is what reads: a pool, or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// write runs f in one transaction, which is durable when it returns.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) error) error {
	return s.transact(ctx, s.db, f)
}

// view runs f over one state of the database, which writers go on from.
func (s *Store) view(ctx context.Context, f func(*sql.Tx) error) error {
	return s.transact(ctx, s.ro, f)
}

func (s *Store) transact(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return s.explain(ctx, err)
	}
	if err := f(tx); err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
		return s.explain(ctx, err)
	}
	return s.explain(ctx, tx.Commit())
}

// exec runs one statement in a transaction of its own and counts its rows.
func (s *Store) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		n, err = changed(tx.ExecContext(ctx, query, args...))
		return err
	})
	return n, err
}

// changed counts the rows that a statement wrote.
func changed(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// scanner reads the columns of a row, as sql.Rows.Scan does.
type scanner func(dest ...any) error

// list runs a query and scans each row.
func list[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// read is list over the committed state.
func read[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	all, err := list(ctx, s.ro, scan, query, args...)
	return all, s.explain(ctx, err)
}

// one is the first of a list, nil if it is empty.
func one[T any](all []T, err error) (*T, error) {
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// explain makes what people read of an error of SQLite, with what they can do.
func (s *Store) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	code := errorCode(err)
	if ctx.Err() != nil && (code == sqlite3.SQLITE_INTERRUPT || errors.Is(err, ctx.Err())) {
		return context.Cause(ctx)
	}
	var known *config.Error
	if errors.As(err, &known) {
		return err
	}
	if cause := disk.State(s.dir); cause != 0 {
		switch code & 0xff { // SQLite has no code for why it cannot grow or make a file
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR:
			return s.refused(cause, err)
		}
	}
	switch code & 0xff { // the rest of a code is its detail
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return s.damaged(err)
	case sqlite3.SQLITE_FULL:
		return s.refused(syscall.ENOSPC, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return s.notWritable(s.path(), err)
	case sqlite3.SQLITE_IOERR:
		return config.Errorf(config.Failed, "look for errors of the disk in the kernel's log, and for free space",
			"read or write %s: %w", s.path(), err)
	}
	return err
}

// refused is an error of SQLite that comes from the file system.
func (s *Store) refused(cause syscall.Errno, err error) error {
	return disk.Write{Path: s.dir}.Refused(cause, &os.PathError{Op: "write", Path: s.path(), Err: err})
}

// errorCode is SQLite's extended result code in err, 0 if it has none.
func errorCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

func (s *Store) damaged(err error) error {
	return config.Errorf(config.Failed, s.restore(), "the database %s is damaged: %w", s.path(), err)
}

func (s *Store) restore() string {
	return "restore a backup: slipway restore FILE --home " + s.dir
}

func (s *Store) notWritable(path string, err error) error {
	if disk.Cause(err) != 0 {
		return disk.Explain(err, path)
	}
	return config.Errorf(config.Failed, "the account that runs Slipway must be able to write to "+s.dir+" and all that is in it",
		"write %s: %w", path, err)
}

// stamp is how a time is stored: RFC 3339 in UTC, the zero time as "".
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func parseStamp(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// syncDir makes the entries of a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// syncFile makes the content of a file durable.
func syncFile(path string) error { return syncDir(path) }
