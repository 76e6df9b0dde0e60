package store

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPruneLogs(t *testing.T) {
	s, ae := newStore(t), appEnv(t, "shop/dev")
	must(t, s.PruneLogs(ae, nil))
	for n := 1; n <= keepLogs+10; n++ {
		w, err := s.CreateLog(ae, n)
		must(t, err)
		must(t, w.Close())
	}
	must(t, s.PruneLogs(ae, []int{3, 60}))
	for n := 1; n <= keepLogs+10; n++ {
		_, err := os.Stat(s.logPath(ae, n))
		if kept := n == 3 || n > 10; kept != (err == nil) {
			t.Errorf("log %d: %v", n, err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(s.logPath(ae, 1)))
	if err != nil || len(left) != keepLogs+1 {
		t.Errorf("%d logs are left, %v", len(left), err)
	}
}

func TestKeptTrees(t *testing.T) {
	s, ae, ctx := newStore(t), appEnv(t, "shop/dev"), t.Context()
	made := map[string]Release{}
	for _, id := range []string{"pruned", "retired", "failed", "live"} {
		r := release(t, s, ae, nil)
		r.Tree.ID = id
		must(t, s.UpdateRelease(ctx, r))
		if id == "failed" {
			must(t, s.EndRelease(ctx, ae, r.Number, FailedState, "x"))
			advance(t, s, r, Ended)
		} else {
			goLive(t, s, r)
		}
		made[id] = r
	}
	must(t, s.MarkPruned(ctx, ae, []int{made["pruned"].Number}))
	kept, err := s.KeptTrees(ctx)
	if err != nil || len(kept) != 2 || !kept["retired"] || !kept["live"] {
		t.Errorf("kept are %v, %v", kept, err)
	}
}

func TestJournalForgets(t *testing.T) {
	s, ae := newStore(t), appEnv(t, "shop/dev")
	for range keepEntries + 10 {
		goLive(t, s, release(t, s, ae, nil))
	}
	var n int
	must(t, s.db.QueryRow("SELECT count(*) FROM journal").Scan(&n))
	if n != keepEntries {
		t.Errorf("the journal has %d entries, not %d", n, keepEntries)
	}
}
