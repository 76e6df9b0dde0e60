// Package store keeps what must survive: keys, apps, releases, vars, the
// journal, locks and the audit log in one SQLite file, the app repositories,
// the build logs, and secrets at rest. It knows no network.
package store

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver

	"slipway/config"
)

// Store is DIR/slipway.db with the age identity that encrypts its secrets.
// One process has it open at a time; its methods may be called concurrently.
type Store struct {
	dir   string
	db    *sql.DB // one connection: SQLite has one writer
	ro    *sql.DB // a few that only read, which the writer does not hold up
	now   func() time.Time
	age   *age.X25519Identity
	repos sync.Mutex // making and removing app repositories
}

// File is the database's name in DIR.
const File = "slipway.db"

// readers is how many queries run beside the writer.
const readers = 4

// Open opens DIR/slipway.db, migrating it after a copy; a newer or corrupt
// file is refused. It makes keys/age at first use. now is the clock.
func Open(ctx context.Context, dir string, now func() time.Time) (*Store, error) {
	return open(ctx, dir, now, schemas)
}

func open(ctx context.Context, dir string, now func() time.Time, schemas fs.FS) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, now: now}
	newest, err := newestSchema(schemas)
	if err != nil {
		return nil, err
	}
	if err := s.checkFiles(); missing(err) {
		err = s.create(ctx, schemas, newest)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if err := s.openFile(ctx, schemas, newest); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// checkFiles refuses what SQLite would take silently: a file that is none of
// its own, one that can only be read, a log without its database. The error
// "is" fs.ErrNotExist where the database is still to be made.
func (s *Store) checkFiles() error {
	if err := unix.Access(s.dir, unix.W_OK|unix.X_OK); missing(err) {
		return config.Errorf(config.NotFound, "slipway init --home "+s.dir+" makes it", "there is no directory %s", s.dir)
	} else if err != nil {
		return s.notWritable(s.dir, err)
	}
	f, err := os.OpenFile(s.path(), os.O_RDWR, 0)
	if missing(err) {
		if _, err := os.Lstat(s.path() + "-wal"); err == nil {
			return config.Errorf(config.Failed, s.restore(),
				"%s is missing, but its log %s-wal is there", s.path(), File)
		}
		return err
	}
	if err != nil {
		return s.notWritable(s.path(), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return config.Errorf(config.Failed, s.restore(), "%s is no regular file", s.path())
	}
	if info.Mode().Perm()&0o077 != 0 {
		return config.Errorf(config.Failed, "chmod 600 "+s.path(),
			"%s may be read by others (mode %04o)", s.path(), info.Mode().Perm())
	}
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(f, head); err != nil || string(head) != magic {
		return s.damaged(errors.New("it does not begin as one"))
	}
	return nil
}

// create makes a new database beside its place and renames it there, so that
// one that is there is whole.
func (s *Store) create(ctx context.Context, schemas fs.FS, newest int) error {
	temp := s.path() + ".new"
	for _, leftover := range []string{temp, temp + "-journal"} {
		if err := os.Remove(leftover); err != nil && !missing(err) {
			return s.notWritable(leftover, err)
		}
	}
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return s.notWritable(temp, err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil { // whatever the umask is
		return err
	}
	s.db, err = connect(temp, 1, "journal_mode(DELETE)", "synchronous(FULL)")
	if err != nil {
		return err
	}
	err = s.migrate(ctx, schemas, 0, newest)
	err = errors.Join(err, s.db.Close())
	s.db = nil
	if err != nil {
		return err
	}
	if err := os.Rename(temp, s.path()); err != nil {
		return err
	}
	return syncDir(s.dir)
}

func (s *Store) openFile(ctx context.Context, schemas fs.FS, newest int) (err error) {
	s.db, err = connect(s.path(), 1, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)")
	if err != nil {
		return err
	}
	s.ro, err = connect(s.path(), readers, "query_only(ON)")
	if err != nil {
		return err
	}
	version, err := s.Check(ctx)
	switch {
	case err != nil:
		return err
	case version == 0:
		return config.Errorf(config.Failed, s.restore(), "%s is the database of another program", s.path())
	case version > newest:
		return config.Errorf(config.Failed, "install the newer Slipway again, or restore a backup from before the upgrade",
			"%s has schema %d, and this Slipway knows up to %d", s.path(), version, newest)
	case version < newest:
		if err := s.copyBefore(ctx, newest); err != nil {
			return err
		}
		if err := s.migrate(ctx, schemas, version, newest); err != nil {
			return err
		}
	}
	return s.openIdentity(ctx)
}

// connect opens a pool of at most n connections, each with the pragmas.
func connect(path string, n int, pragmas ...string) (*sql.DB, error) {
	query := url.Values{
		"_pragma": append([]string{"busy_timeout(10000)", "trusted_schema(OFF)"}, pragmas...),
		"_txlock": {"immediate"},
	}
	if n > 1 {
		query.Set("_txlock", "deferred")
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// Close closes the database.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.ro, s.db} { // the writer last: it checkpoints the log
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *Store) path() string { return filepath.Join(s.dir, File) }

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
