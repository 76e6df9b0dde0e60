package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"slipway/config"
)

// Check runs quick_check and says the schema's version.
func (s *Store) Check(ctx context.Context) (version int, err error) {
	var sound string
	if err := s.ro.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&sound); err != nil {
		return 0, s.explain(ctx, err)
	}
	if sound != "ok" {
		return 0, s.damaged(errors.New(sound))
	}
	return s.version(ctx)
}

// Snapshot writes a consistent copy of the database to path, whole or not at
// all, with mode 0600; it may be in use meanwhile. It is a Usage error if path
// is there already. Its secrets are of use with DIR/keys/age alone.
func (s *Store) Snapshot(ctx context.Context, path string) error {
	path, err := filepath.Abs(path) // SQLite takes a name that begins with file: for a URI
	if err != nil {
		return err
	}
	_, err = os.Lstat(path)
	if err == nil {
		return config.Errorf(config.Usage, "name another file, or remove it", "%s is there already", path)
	}
	if !missing(err) {
		return err
	}
	return s.copyTo(ctx, path)
}

// copyTo copies the database beside path and renames the copy there.
func (s *Store) copyTo(ctx context.Context, path string) (err error) {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !missing(err) {
		return err
	}
	// VACUUM INTO would make the file with the umask's mode; it takes an empty
	// one as well.
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return err
	}
	if err := s.vacuumInto(ctx, temp); err != nil {
		return s.explain(ctx, err)
	}
	if err := syncFile(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// vacuumInto copies over a connection of its own, so that the writer goes on
// meanwhile; those that only read refuse to write any file.
func (s *Store) vacuumInto(ctx context.Context, path string) error {
	db, err := connect(s.path(), 1)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", path)
	return errors.Join(err, db.Close())
}
