package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"slipway/config"
)

func contains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q lacks %q", text, part)
	}
}

// A new directory gets a database and a key that only its owner may read, and
// nothing temporary beside them, whatever the umask is.
func TestOpenNew(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := t.TempDir()
	s := openStore(t, dir)
	release(t, s, appEnv(t, "shop/dev"), nil) // so that there is a log
	for path, want := range map[string]os.FileMode{
		File: 0o600, File + "-wal": 0o600, File + "-shm": 0o600, "keys": 0o700, "keys/age": 0o600,
	} {
		if got := perm(t, filepath.Join(dir, path)); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 4 {
		t.Errorf("the directory holds %v", files)
	}
	var journal string
	var synchronous, foreign int
	must(t, s.db.QueryRow("PRAGMA journal_mode").Scan(&journal))
	must(t, s.db.QueryRow("PRAGMA synchronous").Scan(&synchronous))
	must(t, s.db.QueryRow("PRAGMA foreign_keys").Scan(&foreign))
	if journal != "wal" || synchronous != 2 || foreign != 1 {
		t.Errorf("journal_mode %s, synchronous %d, foreign_keys %d", journal, synchronous, foreign)
	}
	version, err := s.Check(t.Context())
	if err != nil || version != 1 {
		t.Errorf("Check: %d, %v", version, err)
	}
}

// What was stored is there after the next Open, in a directory whose name
// would mean something in a URI.
func TestOpenAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?c#d%20e&f")
	must(t, os.Mkdir(dir, 0o700))
	ae := appEnv(t, "shop/dev")
	s, err := Open(t.Context(), dir, clock)
	must(t, err)
	must(t, s.ChangeVars(t.Context(), ae, "ana", secrets("KEY", "value"), nil))
	must(t, s.Close())
	s = openStore(t, dir)
	vars, err := s.Vars(t.Context(), ae)
	if err != nil || len(vars) != 1 || vars[0].Value.Reveal() != "value" {
		t.Errorf("vars after the second Open: %v, %v", vars, err)
	}
	if _, err := os.Stat(filepath.Join(dir, File)); err != nil {
		t.Error(err)
	}
}

// A first Open that was killed leaves a file beside the database; the next one
// begins anew.
func TestOpenAfterKilledCreate(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, File+".new"), []byte("half"), 0o600))
	openStore(t, dir)
	if _, err := os.Stat(filepath.Join(dir, File+".new")); !missing(err) {
		t.Errorf("what was left is still there: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	path := func(dir string) string { return filepath.Join(dir, File) }
	tests := []struct {
		name       string
		do         func(t *testing.T, dir string)
		text, hint string
	}{
		{"newer", func(t *testing.T, dir string) { query(t, dir, "PRAGMA user_version = 99") }, "has schema 99, and this Slipway knows up to 1", "newer Slipway"},
		{"another program's", func(t *testing.T, dir string) { query(t, dir, "PRAGMA user_version = 0") }, "another program", "slipway restore FILE --home"},
		{"garbage header", func(t *testing.T, dir string) {
			must(t, os.WriteFile(path(dir), []byte(strings.Repeat("garbage!", 1000)), 0o600))
		}, "is damaged", "slipway restore FILE --home"},
		{"empty", func(t *testing.T, dir string) { must(t, os.Truncate(path(dir), 0)) }, "is damaged", "slipway restore FILE --home"},
		{"cut short", func(t *testing.T, dir string) { must(t, os.Truncate(path(dir), 5000)) }, "is damaged", "slipway restore FILE --home"},
		{"pages of garbage", func(t *testing.T, dir string) {
			f, err := os.OpenFile(path(dir), os.O_RDWR, 0)
			must(t, err)
			_, err = f.WriteAt([]byte(strings.Repeat("garbage!", 4096)), 4096)
			must(t, errors.Join(err, f.Close()))
		}, "is damaged", "slipway restore FILE --home"},
		{"no database, but its log", func(t *testing.T, dir string) { must(t, os.Rename(path(dir), path(dir)+"-wal")) }, "is missing, but its log", "slipway restore"},
		{"a directory", func(t *testing.T, dir string) {
			must(t, os.Remove(path(dir)))
			must(t, os.Mkdir(path(dir), 0o700))
		}, "write ", "must be able to write"},
		{"readable by others", func(t *testing.T, dir string) { must(t, os.Chmod(path(dir), 0o644)) }, "may be read by others (mode 0644)", "chmod 600 "},
		{"key readable by others", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, "keys/age"), 0o640)) }, "may be read by others (mode 0640)", "chmod 600 "},
		{"key is missing", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "keys/age"))) }, "holds secrets that only it can read", "backup"},
		{"key of another", func(t *testing.T, dir string) {
			other := t.TempDir()
			openStore(t, other)
			must(t, os.Rename(filepath.Join(other, "keys/age"), filepath.Join(dir, "keys/age")))
		}, "is not the identity", "right file"},
		{"key is garbage", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "keys/age"), []byte("AGE-SECRET-KEY-1CANARY"), 0o600))
		}, "is no age identity", "right file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(t.Context(), dir, clock)
			must(t, err)
			release(t, s, appEnv(t, "shop/dev"), secrets("KEY", "value"))
			must(t, s.Close())
			test.do(t, dir)
			before, _ := os.ReadFile(filepath.Join(dir, "keys/age"))
			_, err = Open(t.Context(), dir, clock)
			wantError(t, err, config.Failed, test.text, test.hint)
			if strings.Contains(fmt.Sprint(err), "CANARY") {
				t.Errorf("the error shows the key: %v", err)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, "keys/age")); string(after) != string(before) {
				t.Error("a refused Open changed keys/age")
			}
		})
	}
}

func TestOpenNoDirectory(t *testing.T) {
	_, err := Open(t.Context(), filepath.Join(t.TempDir(), "none"), clock)
	wantError(t, err, config.NotFound, "there is no directory", "slipway init --home ")
}

// A database without a secret may get a new key: nothing is lost.
func TestOpenNewKey(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, clock)
	must(t, err)
	must(t, s.CreateApp(t.Context(), appEnv(t, "shop/dev").App()))
	must(t, s.Close())
	must(t, os.Remove(filepath.Join(dir, "keys/age")))
	openStore(t, dir)
}

// An age-keygen file, with its comments, is taken.
func TestOpenKeyWithComments(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, clock)
	must(t, err)
	text, err := os.ReadFile(filepath.Join(dir, "keys/age"))
	must(t, errors.Join(err, s.Close()))
	must(t, os.WriteFile(filepath.Join(dir, "keys/age"), append([]byte("# created: today\n\n"), text...), 0o600))
	openStore(t, dir)
}

func TestOpenReadOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, clock)
	must(t, errors.Join(err, s.Close()))
	must(t, os.Chmod(filepath.Join(dir, File), 0o400))
	_, err = Open(t.Context(), dir, clock)
	wantError(t, err, config.Failed, "permission denied", "must be able to write to "+dir)
	must(t, os.Chmod(filepath.Join(dir, File), 0o600))
	must(t, os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	_, err = Open(t.Context(), dir, clock)
	wantError(t, err, config.Failed, "permission denied", "must be able to write to "+dir)
}

// next is the schema with a second step.
func next(t *testing.T, step string) fstest.MapFS {
	t.Helper()
	first, err := schemas.ReadFile("schema/1.sql")
	must(t, err)
	return fstest.MapFS{"schema/1.sql": {Data: first}, "schema/2.sql": {Data: []byte(step)}}
}

// Before a database is migrated it is copied; what it held is there after.
func TestMigrate(t *testing.T) {
	ctx, dir, ae := t.Context(), t.TempDir(), appEnv(t, "shop/dev")
	s, err := Open(ctx, dir, clock)
	must(t, err)
	must(t, s.ChangeVars(ctx, ae, "ana", secrets("KEY", "value"), nil))
	must(t, s.Close())
	s, err = open(ctx, dir, clock, next(t, "ALTER TABLE apps ADD COLUMN note TEXT NOT NULL DEFAULT ''"))
	must(t, err)
	defer s.Close()
	if v, err := s.Check(ctx); v != 2 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	vars, err := s.Vars(ctx, ae)
	if err != nil || len(vars) != 1 {
		t.Errorf("vars after the migration: %v, %v", vars, err)
	}
	copied := filepath.Join(dir, File+".before-2")
	if got := perm(t, copied); got != 0o600 {
		t.Errorf("the copy has mode %o", got)
	}

	// The copy is the way back.
	back := t.TempDir()
	must(t, os.Rename(copied, filepath.Join(back, File)))
	must(t, os.Rename(filepath.Join(dir, "keys"), filepath.Join(back, "keys")))
	old := openStore(t, back)
	if v, err := old.Check(ctx); v != 1 || err != nil {
		t.Errorf("the copy has version %d, %v", v, err)
	}
}

// A new database needs no copy.
func TestMigrateNew(t *testing.T) {
	dir := t.TempDir()
	s, err := open(t.Context(), dir, clock, next(t, "CREATE TABLE more (a TEXT)"))
	must(t, err)
	must(t, s.Close())
	if found, _ := filepath.Glob(filepath.Join(dir, "*before*")); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// A step that fails leaves the database as it was, and can be tried again.
func TestMigrateFails(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s, err := Open(ctx, dir, clock)
	must(t, errors.Join(err, s.Close()))
	_, err = open(ctx, dir, clock, next(t, "CREATE TABLE half (a TEXT); CREATE TABLE apps (a TEXT)"))
	wantError(t, err, config.Failed, "migrate the database to schema 2", "")
	s, err = open(ctx, dir, clock, next(t, "CREATE TABLE half (a TEXT)"))
	must(t, errors.Join(err, s.Close()))
}

// Steps that do not follow one another are a mistake of the program.
func TestMigrateGap(t *testing.T) {
	steps := next(t, "")
	steps["schema/4.sql"] = steps["schema/2.sql"]
	delete(steps, "schema/2.sql")
	if _, err := open(t.Context(), t.TempDir(), clock, steps); err == nil {
		t.Error("a gap between the steps was not noticed")
	}
}

func TestSnapshot(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	path := filepath.Join(t.TempDir(), "backup.db")
	release(t, s, ae, secrets("KEY", "value"))
	done, stop := make(chan error, 1), make(chan struct{})
	go func() { // it is in use meanwhile
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := s.Audit(ctx, Event{By: "ana", Action: "test", Result: "ok"}); err != nil {
				done <- err
				return
			}
		}
	}()
	err := s.Snapshot(ctx, path)
	close(stop)
	must(t, errors.Join(err, <-done))
	if got := perm(t, path); got != 0o600 {
		t.Errorf("the copy has mode %o", got)
	}
	wantError(t, s.Snapshot(ctx, path), config.Usage, "is there already", "remove it")
	if found, _ := filepath.Glob(path + ".*"); len(found) > 0 {
		t.Errorf("left: %v", found)
	}

	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "keys"), 0o700))
	key, err := os.ReadFile(s.identityPath())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "keys/age"), key, 0o600))
	must(t, os.Rename(path, filepath.Join(dir, File)))
	restored := openStore(t, dir)
	vars, err := restored.ReleaseVars(ctx, ae, 1)
	if err != nil || vars["KEY"].Reveal() != "value" {
		t.Errorf("restored: %v", err)
	}
	if _, err := restored.VerifyAudit(ctx); err != nil {
		t.Error(err)
	}
}

// A snapshot that cannot be written leaves nothing.
func TestSnapshotFails(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	why := errors.New("cancelled by ana")
	if err := s.Snapshot(cancelled(t, why), filepath.Join(dir, "a.db")); !errors.Is(err, why) {
		t.Errorf("error %v, want the cause", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
