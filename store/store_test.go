package store

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"slipway/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// at is when every test takes place.
var at = time.Date(2026, 3, 29, 12, 0, 0, 123456789, time.UTC)

func clock() time.Time { return at }

// newStore opens a new database in a directory of its own.
func newStore(t *testing.T) *Store {
	t.Helper()
	return openStore(t, t.TempDir())
}

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func appEnv(t *testing.T, text string) config.AppEnv {
	t.Helper()
	ae, err := config.ParseAppEnv(text)
	if err != nil {
		t.Fatal(err)
	}
	return ae
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks the kind and that the error and its hint tell the reader
// what they must.
func wantError(t *testing.T, err error, kind config.Kind, text, hint string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", text)
	}
	if got := config.KindOf(err); got != kind {
		t.Errorf("%v: its kind is %v, want %v", err, got, kind)
	}
	contains(t, err.Error(), text)
	contains(t, config.Hint(err), hint)
}

func perm(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Mode().Perm()
}

// query runs SQL of the test's own on a closed or open database.
func query(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := connect(filepath.Join(dir, File), 1)
	must(t, err)
	defer db.Close()
	for _, text := range statements {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// release makes a release of ae, with an open entry in the journal.
func release(t *testing.T, s *Store, ae config.AppEnv, vars map[string]config.Secret) Release {
	t.Helper()
	ctx := t.Context()
	r, err := s.NewRelease(ctx, Release{AppEnv: ae, Ref: "refs/heads/main", Reason: Push, By: "ana"}, vars)
	must(t, err)
	must(t, s.Begin(ctx, Entry{AppEnv: ae, Release: r.Number, Phase: Queued, Ref: r.Ref, To: r.Number}))
	return r
}

// advance moves the open entry of r through phases.
func advance(t *testing.T, s *Store, r Release, phases ...Phase) {
	t.Helper()
	for _, p := range phases {
		must(t, s.Advance(t.Context(), Entry{AppEnv: r.AppEnv, Release: r.Number, Phase: p, Ref: r.Ref, To: r.Number}))
	}
}

// goLive takes r through a whole deploy.
func goLive(t *testing.T, s *Store, r Release) {
	t.Helper()
	advance(t, s, r, Planned, Staging, Staged, Prepared, Switching)
	must(t, s.SetLive(t.Context(), r.AppEnv, r.Number))
	advance(t, s, r, Done)
}

func secrets(pairs ...string) map[string]config.Secret {
	m := map[string]config.Secret{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = config.NewSecret(pairs[i+1])
	}
	return m
}

func cancelled(t *testing.T, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}
