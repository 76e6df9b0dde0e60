package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"slipway/config"
)

func TestAudit(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	if n, err := s.VerifyAudit(ctx); n != 0 || err != nil {
		t.Errorf("an empty log: %d, %v", n, err)
	}
	var g errgroup.Group
	for i := range 30 {
		g.Go(func() error {
			return s.Audit(ctx, Event{By: "ana", Addr: "10.0.0.1:1", AppEnv: []string{"shop/dev", "shop/prod"}[i%2], Action: "push", Result: "ok"})
		})
	}
	must(t, g.Wait())
	must(t, s.Audit(ctx, Event{By: "b\xffen", Action: "key add", Detail: "a \"quoted\" name\n", Result: "ok"}))
	if n, err := s.VerifyAudit(ctx); n != 31 || err != nil {
		t.Errorf("VerifyAudit: %d, %v", n, err)
	}
	all, err := s.Events(ctx, "", 0)
	must(t, err)
	for i, e := range all {
		if e.Seq != int64(31-i) || !e.Time.Equal(at) || len(e.Hash) != 64 {
			t.Errorf("at %d: %+v", i, e)
		}
	}
	if all[0].By != "b\uFFFDen" || all[0].Detail != "a \"quoted\" name\n" {
		t.Errorf("the last event: %+v", all[0])
	}
	some, err := s.Events(ctx, "shop/prod", 10)
	if err != nil || len(some) != 10 || some[0].AppEnv != "shop/prod" || some[9].AppEnv != "shop/prod" {
		t.Errorf("Events of shop/prod: %v, %v", some, err)
	}
}

// The log cannot be changed by SQL as long as its triggers are there.
func TestAuditAppendOnly(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	for range 3 {
		must(t, s.Audit(ctx, Event{By: "ana", Action: "push", Result: "ok"}))
	}
	for _, text := range []string{
		"UPDATE audit SET result = 'ok' WHERE seq = 2",
		"DELETE FROM audit WHERE seq = 3",
		"DELETE FROM audit",
		"REPLACE INTO audit SELECT seq, time, 'ben', fingerprint, addr, appenv, action, detail, result, hash FROM audit WHERE seq = 2",
		"INSERT INTO audit SELECT 17, time, 'ben', fingerprint, addr, appenv, action, detail, result, hash FROM audit WHERE seq = 2",
	} {
		if _, err := s.db.ExecContext(ctx, text); err == nil {
			t.Errorf("%s: no error", text)
		} else {
			contains(t, err.Error(), "append-only")
		}
	}
	if n, err := s.VerifyAudit(ctx); n != 3 || err != nil {
		t.Errorf("VerifyAudit: %d, %v", n, err)
	}
}

// Who takes the triggers away and edits the file is found out.
func TestAuditBroken(t *testing.T) {
	const free = "DROP TRIGGER audit_stays; DROP TRIGGER audit_keeps; DROP TRIGGER audit_grows;"
	tests := []struct {
		name, edit string
		at         int
	}{
		{"a field", "UPDATE audit SET by = 'ben' WHERE seq = 3", 3},
		{"a time", "UPDATE audit SET time = '2020-01-01T00:00:00Z' WHERE seq = 1", 1},
		{"text moved from one field to the next", "UPDATE audit SET action = action || detail, detail = '' WHERE seq = 2", 2},
		{"one in the middle", "DELETE FROM audit WHERE seq = 3", 3},
		{"the first", "DELETE FROM audit WHERE seq = 1", 1},
		{"the last", "DELETE FROM audit WHERE seq = 5", 5},
		{"all", "DELETE FROM audit", 1},
		{"two swapped", "UPDATE audit SET seq = 99 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 99", 2},
		{"one added", "INSERT INTO audit SELECT 6, time, by, fingerprint, addr, appenv, action, detail, result, hash FROM audit WHERE seq = 5", 6},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, dir := t.Context(), t.TempDir()
			s := openStore(t, dir)
			for i := range 5 {
				must(t, s.Audit(ctx, Event{By: "ana", Action: "vars set", Detail: fmt.Sprint("KEY", i), Result: "ok"}))
			}
			query(t, dir, free, test.edit)
			_, err := s.VerifyAudit(ctx)
			wantError(t, err, config.Failed, fmt.Sprintf("changed at event %d", test.at), "backup")
		})
	}
}

// Events of before and after a restart are one chain.
func TestAuditReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir())
	for i := range 3 {
		s, err := Open(t.Context(), dir, clock)
		must(t, err)
		must(t, s.Audit(t.Context(), Event{Action: fmt.Sprint(i)}))
		n, err := s.VerifyAudit(t.Context())
		must(t, s.Close())
		if n != int64(i+1) || err != nil {
			t.Errorf("VerifyAudit: %d, %v", n, err)
		}
	}
}
