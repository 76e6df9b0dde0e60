package store

import (
	"context"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway/config"
)

func TestJournal(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	e := Entry{
		AppEnv: ae, Release: 7, Phase: Queued, Ref: "refs/heads/main",
		Old: ZeroOID, New: OID("1111111111111111111111111111111111111111"), From: 6, To: 7,
	}
	must(t, s.Begin(ctx, e))
	wantError(t, s.Begin(ctx, Entry{AppEnv: ae, Release: 8, Phase: Queued}), config.Failed,
		"the deploy of release 7 of shop/dev, queued, is not settled yet", "doctor")
	must(t, s.Begin(ctx, Entry{AppEnv: appEnv(t, "shop/prod"), Release: 1, Phase: Queued})) // not held up

	e.Phase, e.Generation = Switching, 41
	must(t, s.Advance(ctx, e))
	open, err := s.OpenEntries(ctx)
	must(t, err)
	e.Changed = at
	if len(open) != 2 || open[0] != e {
		t.Errorf("open entries %v, want %v first", open, e)
	}
	other := e
	other.Release = 8
	if err := s.Advance(ctx, other); err == nil {
		t.Error("the entry of another release was advanced")
	}
	e.Phase = Ended
	must(t, s.Advance(ctx, e))
	if err := s.Advance(ctx, e); err == nil {
		t.Error("an entry that had ended was advanced")
	}
	must(t, s.Begin(ctx, Entry{AppEnv: ae, Release: 8, Phase: Queued}))
	if err := s.Begin(ctx, Entry{AppEnv: appEnv(t, "blog/dev"), Release: 1, Phase: Done}); err == nil {
		t.Error("a deploy began as done")
	}
	if err := s.Begin(ctx, Entry{AppEnv: appEnv(t, "blog/dev"), Release: 1, Phase: "asleep"}); err == nil {
		t.Error("a deploy began with an unknown phase")
	}
}

func TestPhases(t *testing.T) {
	all := append(slices.Clone(forward[:]), Reverting, Ended, Diverged, "asleep")
	may := map[Phase][]Phase{
		Queued:    {Queued, Planned, Staging, Staged, Prepared, Switching, Committed, Done, Reverting, Ended, Diverged},
		Planned:   {Planned, Staging, Staged, Prepared, Switching, Committed, Done, Reverting, Ended, Diverged},
		Staging:   {Staging, Staged, Prepared, Switching, Committed, Done, Reverting, Ended, Diverged},
		Staged:    {Staged, Prepared, Switching, Committed, Done, Reverting, Ended, Diverged},
		Prepared:  {Prepared, Switching, Committed, Done, Reverting, Ended, Diverged},
		Switching: {Switching, Committed, Done, Reverting, Ended, Diverged},
		Committed: {Committed, Done, Reverting, Diverged},
		Reverting: {Reverting, Ended, Diverged},
		Diverged:  {Committed, Done, Reverting, Ended, Diverged},
	}
	for _, from := range all {
		for _, to := range all {
			if got, want := from.follows(to), slices.Contains(may[from], to); got != want {
				t.Errorf("%s to %s: %v, want %v", from, to, got, want)
			}
		}
	}
}

// Of many deploys that begin at once in one APP/ENV one does.
func TestBeginConcurrent(t *testing.T) {
	s, ae := newStore(t), appEnv(t, "shop/dev")
	began := make([]bool, 20)
	var g errgroup.Group
	for i := range began {
		g.Go(func() error {
			began[i] = s.Begin(t.Context(), Entry{AppEnv: ae, Release: i + 1, Phase: Queued}) == nil
			return nil
		})
	}
	must(t, g.Wait())
	open, err := s.OpenEntries(t.Context())
	must(t, err)
	if len(open) != 1 || !began[open[0].Release-1] {
		t.Errorf("open: %v", open)
	}
	if n := len(slices.DeleteFunc(began, func(b bool) bool { return !b })); n != 1 {
		t.Errorf("%d deploys began", n)
	}
}

func TestNextGeneration(t *testing.T) {
	s, ae := newStore(t), appEnv(t, "shop/dev")
	all := make([]int64, 50)
	g, ctx := errgroup.WithContext(t.Context())
	for i := range all {
		g.Go(func() (err error) {
			all[i], err = s.NextGeneration(ctx, ae)
			return err
		})
	}
	must(t, g.Wait())
	slices.Sort(all)
	for i, n := range all {
		if n != int64(2*i+1) { // the one between takes it back
			t.Fatalf("generations %v", all)
		}
	}
	r, err := s.NewRelease(t.Context(), Release{AppEnv: ae}, nil)
	if err != nil || r.Number != 1 {
		t.Errorf("the first release has number %d, %v", r.Number, err)
	}
}

// A reader sees what was committed before it began, and is not held up by a
// writer that has not.
func TestReadBesideWrite(t *testing.T) {
	s, app := newStore(t), appEnv(t, "shop/dev").App()
	tx, err := s.db.BeginTx(t.Context(), nil)
	must(t, err)
	defer tx.Rollback()
	_, err = tx.ExecContext(t.Context(), "INSERT INTO apps VALUES ('blog', '', '')")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	all, err := s.Apps(ctx)
	if err != nil || len(all) != 0 {
		t.Errorf("Apps: %v, %v", all, err)
	}
	must(t, tx.Rollback())
	must(t, s.CreateApp(ctx, app))
	if row, err := s.App(ctx, app); row == nil || err != nil {
		t.Errorf("App: %v, %v", row, err)
	}
}

// Says what a step of the journal costs, with its fsync.
func TestAdvanceTime(t *testing.T) {
	s := newStore(t)
	r := release(t, s, appEnv(t, "shop/dev"), nil)
	const n = 100
	times := make([]time.Duration, n)
	for i := range times {
		began := time.Now()
		advance(t, s, r, Staging)
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	t.Logf("Advance: median %s, 99th of 100 %s", times[n/2], times[n-1])
}
