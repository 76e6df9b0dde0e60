package service

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"slipway/config"
)

func TestMakeSQLite(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for i, want := range []bool{true, false} {
		made, err := MakeSQLite(root, "db", -1, -1)
		if err != nil || made != want {
			t.Errorf("call %d: %v %v", i, made, err)
		}
	}
	path := filepath.Join(dir, SQLiteFile("db"))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != pageSize {
		t.Errorf("%v %v", info, err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for query, want := range map[string]string{"PRAGMA journal_mode": "wal", "PRAGMA integrity_check": "ok", "PRAGMA encoding": "UTF-8", "SELECT count(*) FROM sqlite_schema": "0"} {
		var got string
		if err := db.QueryRow(query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", query, got, err, want)
		}
	}
	if _, err := db.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)"); err != nil {
		t.Error(err)
	}
	if made, err := MakeSQLite(root, "db", -1, -1); made || err != nil {
		t.Errorf("a database in use: %v %v", made, err)
	}
}

func TestMakeSQLiteFollowsNoLink(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"db.sqlite3", ".other.sqlite3.new"} {
		if err := os.Symlink(outside, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := MakeSQLite(root, "db", -1, -1); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("a link in the place of the database: %v", err)
	}
	if made, err := MakeSQLite(root, "other", -1, -1); err != nil || !made {
		t.Errorf("a link in the place of the temporary file: %v %v", made, err)
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "mine" {
		t.Errorf("outside: %q %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "text.sqlite3"), []byte("not a database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := MakeSQLite(root, "text", -1, -1); err == nil || !strings.Contains(err.Error(), "no SQLite database") {
		t.Errorf("a file that is no database: %v", err)
	}
}

func TestVars(t *testing.T) {
	got := SQLiteVars("main_db", "/srv/my apps/shared")
	for name, want := range map[string]string{
		"DATABASE_URL":             "sqlite:////srv/my%20apps/shared/main_db.sqlite3",
		"DOTCLOUD_MAIN_DB_SQL_URL": "sqlite:////srv/my%20apps/shared/main_db.sqlite3", "DOTCLOUD_MAIN_DB_SQL_HOST": "localhost",
		"DOTCLOUD_MAIN_DB_SQL_PORT": "", "DOTCLOUD_MAIN_DB_SQL_LOGIN": "", "DOTCLOUD_MAIN_DB_SQL_PASSWORD": "",
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	for want, names := range map[int][]string{-1: nil, 0: {"a", "b"}, 1: {"a", "db"}} {
		var all []config.ServiceSpec
		for _, n := range names {
			all = append(all, config.ServiceSpec{Name: n, Type: SQLite})
		}
		if got := Main(all); got != want {
			t.Errorf("main of %v is %d", names, got)
		}
	}
}
