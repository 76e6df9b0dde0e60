package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"slipway/config"
)

// schemas holds the steps from one version of the schema to the next:
// schema/N.sql leads from N-1 to N. A step that was released never changes.
//
//go:embed schema/*.sql
var schemas embed.FS

func schemaFile(version int) string { return fmt.Sprintf("schema/%d.sql", version) }

// newestSchema is the last version that the steps lead to.
func newestSchema(schemas fs.FS) (int, error) {
	files, err := fs.Glob(schemas, "schema/*.sql")
	if err != nil {
		return 0, err
	}
	for v := 1; v <= len(files); v++ {
		if _, err := fs.Stat(schemas, schemaFile(v)); err != nil {
			return 0, fmt.Errorf("read the steps of the schema: %w", err)
		}
	}
	return len(files), nil
}

func (s *Store) version(ctx context.Context) (v int, err error) {
	err = s.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v)
	return v, s.explain(ctx, err)
}

// copyBefore keeps the database as it is before it is migrated.
func (s *Store) copyBefore(ctx context.Context, version int) error {
	if err := s.copyTo(ctx, fmt.Sprintf("%s.before-%d", s.path(), version)); err != nil {
		return &config.Error{Op: "copy the database before its migration", Err: err}
	}
	return nil
}

// migrate brings the schema up, each version in a transaction of its own.
func (s *Store) migrate(ctx context.Context, schemas fs.FS, from, to int) error {
	for v := from + 1; v <= to; v++ {
		text, err := fs.ReadFile(schemas, schemaFile(v))
		if err != nil {
			return err
		}
		err = s.write(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, string(text)); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", v))
			return err
		})
		if err != nil {
			return &config.Error{Op: "migrate the database", On: fmt.Sprintf("to schema %d", v), Err: err}
		}
	}
	return nil
}
