package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway/config"
)

func globs(t *testing.T, patterns ...string) (all []config.Glob) {
	t.Helper()
	for _, p := range patterns {
		g, err := config.ParseGlob(p)
		must(t, err)
		all = append(all, g)
	}
	return all
}

func TestKeys(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	ana := Key{Name: "ana", Type: "ssh-ed25519", Blob: []byte{0, 1, 2}, Fingerprint: "SHA256:a", Comment: "ana@laptop", Allow: globs(t, "shop/*", "*/dev")}
	added, err := s.AddKey(ctx, ana)
	if err != nil || !added {
		t.Fatalf("AddKey: %v, %v", added, err)
	}
	got, err := s.KeyByBlob(ctx, ana.Blob)
	must(t, err)
	ana.Created = at
	if fmt.Sprint(*got) != fmt.Sprint(ana) {
		t.Errorf("KeyByBlob: %v", *got)
	}

	// The same key again: its rights change, and nothing else.
	ana.Admin, ana.Allow = true, nil
	if added, err = s.AddKey(ctx, ana); err != nil || added {
		t.Errorf("AddKey again: %v, %v", added, err)
	}
	got, err = s.KeyByName(ctx, "ana")
	must(t, err)
	if !got.Admin || len(got.Allow) != 0 || got.Comment != "ana@laptop" {
		t.Errorf("KeyByName: %v", *got)
	}

	_, err = s.AddKey(ctx, Key{Name: "ben", Blob: ana.Blob})
	wantError(t, err, config.Usage, "this key is there already, as ana", "key remove ana")
	_, err = s.AddKey(ctx, Key{Name: "ana", Blob: []byte{9}})
	wantError(t, err, config.Usage, "there is another key with the name ana", "choose another name")
	_, err = s.AddKey(ctx, Key{Name: "ben", Blob: []byte{9}})
	must(t, err)
	all, err := s.Keys(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "ana" || all[1].Name != "ben" {
		t.Errorf("Keys: %v, %v", all, err)
	}

	removed, err := s.RemoveKey(ctx, "ana")
	if err != nil || removed.Fingerprint != "SHA256:a" {
		t.Errorf("RemoveKey: %v, %v", removed, err)
	}
	_, err = s.RemoveKey(ctx, "ana")
	wantError(t, err, config.NotFound, `there is no key "ana"`, "key list")
	if k, err := s.KeyByBlob(ctx, ana.Blob); k != nil || err != nil {
		t.Errorf("KeyByBlob after removal: %v, %v", k, err)
	}
}

// One that knocks again and again does not push the others out.
func TestAttempts(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	add := func(fingerprint, addr string) {
		t.Helper()
		must(t, s.AddAttempt(ctx, Attempt{Fingerprint: fingerprint, User: "git", Addr: addr}))
	}
	add("ana", "10.0.0.1:1")
	for i := range 2 * keptAttempts {
		add("bot", fmt.Sprint("10.0.0.2:", i))
	}
	all, err := s.Attempts(ctx)
	must(t, err)
	if len(all) != 2 || all[0].Fingerprint != "bot" || all[0].Count != 2*keptAttempts || all[0].Addr != fmt.Sprint("10.0.0.2:", 2*keptAttempts-1) ||
		all[1].Fingerprint != "ana" || all[1].Count != 1 || !all[1].Last.Equal(at) {
		t.Errorf("attempts: %v", all)
	}
	for i := range keptAttempts {
		add(fmt.Sprint("key", i), "10.0.0.3:1")
	}
	all, err = s.Attempts(ctx)
	must(t, err)
	if len(all) != keptAttempts || all[0].Fingerprint != fmt.Sprint("key", keptAttempts-1) || all[keptAttempts-1].Fingerprint != "key0" {
		t.Errorf("%d attempts are kept", len(all))
	}
}

func TestApps(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	app := ae.App()
	wantError(t, s.SetUpstream(ctx, app, "x"), config.NotFound, "there is no app shop", "app list")
	must(t, s.CreateApp(ctx, app))
	must(t, s.SetUpstream(ctx, app, "ssh://git.corp/shop.git"))
	must(t, s.CreateApp(ctx, app)) // changes nothing
	must(t, s.CreateApp(ctx, appEnv(t, "blog/dev").App()))
	row, err := s.App(ctx, app)
	if err != nil || row.Upstream != "ssh://git.corp/shop.git" || !row.Created.Equal(at) {
		t.Errorf("App: %v, %v", row, err)
	}
	all, err := s.Apps(ctx)
	if err != nil || len(all) != 2 || all[0].App.String() != "blog" {
		t.Errorf("Apps: %v, %v", all, err)
	}
}

// An app that is destroyed leaves its audit log, its numbers and its uids, and
// nothing of another app goes with it.
func TestDestroyApp(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	gone, stays := appEnv(t, "shop/dev"), appEnv(t, "shop2/dev")
	uids := map[config.AppEnv]int{}
	for _, ae := range []config.AppEnv{gone, stays} {
		must(t, s.CreateApp(ctx, ae.App()))
		must(t, s.ChangeVars(ctx, ae, "ana", secrets("A", "1"), nil))
		goLive(t, s, release(t, s, ae, secrets("A", "1")))
		release(t, s, ae, nil)
		must(t, s.SetLock(ctx, ae, Lock{By: "ana"}))
		_, err := s.ServiceSecret(ctx, ae, "db")
		must(t, err)
		uids[ae], err = s.UID(ctx, ae, 1000, 1009)
		must(t, err)
		_, err = s.NextGeneration(ctx, ae)
		must(t, err)
		must(t, s.Audit(ctx, Event{AppEnv: ae.String(), Action: "push"}))
	}
	must(t, s.DestroyApp(ctx, gone.App()))
	for table, want := range map[string]int{"apps": 1, "vars": 1, "releases": 2, "journal": 2, "locks": 1, "services": 1, "numbers": 2, "uids": 2, "audit": 2} {
		var n int
		must(t, s.db.QueryRow("SELECT count(*) FROM "+table).Scan(&n))
		if n != want {
			t.Errorf("%s has %d rows, want %d", table, n, want)
		}
	}
	if row, err := s.App(ctx, gone.App()); row != nil || err != nil {
		t.Errorf("App: %v, %v", row, err)
	}
	g, err := s.NextGeneration(ctx, gone)
	if err != nil || g != 3 {
		t.Errorf("the next generation is %d, %v", g, err)
	}
	uid, err := s.UID(ctx, gone, 1000, 1009)
	if err != nil || uid != uids[gone] {
		t.Errorf("the uid is %d, %v; it was %d", uid, err, uids[gone])
	}
}

// A var is staged as long as the live release was not made with its value.
func TestStaged(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	staged := func(want string) {
		t.Helper()
		vars, err := s.Vars(ctx, ae)
		must(t, err)
		got := ""
		for _, v := range vars {
			got += fmt.Sprintf("%s=%s:%v ", v.Name, v.Value.Reveal(), v.Staged)
		}
		if got != want {
			t.Errorf("vars %q, want %q", got, want)
		}
	}
	must(t, s.ChangeVars(ctx, ae, "ana", secrets("A", "1", "B", "1"), nil))
	staged("A=1:true B=1:true ")
	goLive(t, s, release(t, s, ae, secrets("A", "1", "B", "1", "FILE", "x")))
	staged("A=1:false B=1:false ")
	must(t, s.ChangeVars(ctx, ae, "ana", secrets("A", "2", "C", ""), []string{"B", "NONE"}))
	staged("A=2:true C=:true ")
	goLive(t, s, release(t, s, ae, secrets("A", "2", "C", "")))
	staged("A=2:false C=:false ")
	goLive(t, s, release(t, s, ae, secrets("A", "1", "B", "1"))) // a rollback that leaves the vars
	staged("A=2:true C=:true ")
}

func TestLocks(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/prod")
	if l, err := s.LockOf(ctx, ae); l != nil || err != nil {
		t.Errorf("LockOf: %v, %v", l, err)
	}
	must(t, s.SetLock(ctx, ae, Lock{By: "ana", Reason: "audit"}))
	must(t, s.SetLock(ctx, ae, Lock{By: "ben", Since: at.Add(-time.Hour)}))
	l, err := s.LockOf(ctx, ae)
	if err != nil || l.By != "ben" || l.Reason != "" || !l.Since.Equal(at.Add(-time.Hour)) {
		t.Errorf("LockOf: %v, %v", l, err)
	}
	if l, err := s.LockOf(ctx, appEnv(t, "shop/dev")); l != nil || err != nil {
		t.Errorf("another is locked: %v, %v", l, err)
	}
	for _, want := range []bool{true, false} {
		if was, err := s.Unlock(ctx, ae); was != want || err != nil {
			t.Errorf("Unlock: %v, %v", was, err)
		}
	}
}

func TestServiceSecret(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	var all [20]string
	g, ctx := errgroup.WithContext(ctx)
	for i := range all {
		g.Go(func() error {
			v, err := s.ServiceSecret(ctx, ae, "db")
			all[i] = v.Reveal()
			return err
		})
	}
	must(t, g.Wait())
	for _, v := range all {
		if v != all[0] || len(v) < 26 {
			t.Fatalf("passwords of one service: %q and %q", all[0], v)
		}
	}
	other, err := s.ServiceSecret(t.Context(), ae, "cache")
	if err != nil || other.Reveal() == all[0] {
		t.Errorf("two services share a password, %v", err)
	}
}

func TestRotateServiceSecret(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	secret := func() string {
		t.Helper()
		v, err := s.ServiceSecret(ctx, ae, "db")
		must(t, err)
		return v.Reveal()
	}
	first := secret()
	for _, live := range []bool{false, true} {
		r, err := s.NewRelease(ctx, Release{AppEnv: ae, Reason: Rotate}, nil)
		must(t, err)
		fresh, err := s.RotateServiceSecret(ctx, ae, "db", r.Number)
		must(t, err)
		if fresh.Reveal() == first || len(fresh.Reveal()) < 26 || secret() != first {
			t.Fatalf("before release %d is live: %q, next %q", r.Number, secret(), fresh.Reveal())
		}
		if all, err := s.Services(ctx, ae.App()); err != nil || len(all) != 1 || all[0] != (ServiceRow{ae, "db"}) {
			t.Errorf("services: %v %v", all, err)
		}
		want := first
		if live {
			must(t, s.Begin(ctx, Entry{AppEnv: ae, Release: r.Number, Phase: Switching, To: r.Number}))
			must(t, s.SetLive(ctx, ae, r.Number))
			want = fresh.Reveal()
		}
		for i := range 2 { // again is no change
			kept, err := s.SettleServiceSecrets(ctx, ae)
			if err != nil || (len(kept) == 1) != (!live && i == 0) {
				t.Errorf("settle: %v %v", kept, err)
			}
			if secret() != want {
				t.Errorf("release %d live %v: the password is %q, not %q", r.Number, live, secret(), want)
			}
		}
	}
}

func TestUID(t *testing.T) {
	ctx, s := t.Context(), newStore(t)
	uid := func(name string, first, last, want int) {
		t.Helper()
		got, err := s.UID(ctx, appEnv(t, name), first, last)
		if err != nil || got != want {
			t.Errorf("UID(%s, %d, %d) = %d, %v; want %d", name, first, last, got, err, want)
		}
	}
	uid("a/dev", 100, 102, 100)
	uid("b/dev", 100, 102, 101)
	uid("a/dev", 100, 102, 100)
	uid("c/dev", 100, 102, 102)
	_, err := s.UID(ctx, appEnv(t, "d/dev"), 100, 102)
	wantError(t, err, config.Failed, "every uid from 100 to 102", "widen [limits] uids")

	uid("d/dev", 98, 102, 98)
	uid("e/dev", 98, 102, 99) // the gap before those that are taken
	uid("a/dev", 200, 201, 200)
	uid("f/dev", 200, 201, 201)
	uid("a/dev", 100, 102, 100) // the range came back
	uid("a/dev", 100, 201, 200) // the newest, where two are in the range
	uid("g/dev", 100, 201, 103) // and neither of them is another's
	for _, bad := range [][2]int{{0, 10}, {-5, 5}, {10, 9}} {
		_, err := s.UID(ctx, appEnv(t, "z/dev"), bad[0], bad[1])
		wantError(t, err, config.Usage, "no range of uids", "[limits] uids")
	}
}

func TestUIDConcurrent(t *testing.T) {
	s := newStore(t)
	seen := make([]int, 20)
	g, ctx := errgroup.WithContext(t.Context())
	for i := range seen {
		ae := appEnv(t, fmt.Sprintf("app%d/dev", i/2)) // each asked for twice at once
		g.Go(func() (err error) {
			seen[i], err = s.UID(ctx, ae, 5000, 5009)
			return err
		})
	}
	must(t, g.Wait())
	owner := map[int]int{}
	for i, uid := range seen {
		if was, ok := owner[uid]; ok && was != i/2 {
			t.Errorf("app%d and app%d share uid %d", was, i/2, uid)
		}
		owner[uid] = i / 2
	}
	if len(owner) != 10 {
		t.Errorf("uids %v", seen)
	}
}

// A call whose context has ended says why, not that SQLite was interrupted.
func TestCause(t *testing.T) {
	s, why := newStore(t), errors.New("cancelled by ana")
	ctx := cancelled(t, why)
	_, err := s.Apps(ctx)
	if !errors.Is(err, why) {
		t.Errorf("reading: %v", err)
	}
	if err := s.CreateApp(ctx, appEnv(t, "shop/dev").App()); !errors.Is(err, why) {
		t.Errorf("writing: %v", err)
	}
	if all, err := s.Apps(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("after it: %v, %v", all, err)
	}
}

// A full database says so, keeps what it had, and goes on once there is room.
func TestFull(t *testing.T) {
	ctx, s, ae := t.Context(), newStore(t), appEnv(t, "shop/dev")
	var pages int
	must(t, s.db.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages))
	limit := func(n int) {
		_, err := s.db.ExecContext(ctx, fmt.Sprint("PRAGMA max_page_count = ", n))
		must(t, err)
	}
	limit(pages)
	big := secrets("KEY", string(make([]byte, 64<<10)))
	wantError(t, s.ChangeVars(ctx, ae, "ana", big, nil), config.Failed, "is full", "an admin makes room there")
	vars, err := s.Vars(ctx, ae)
	if err != nil || len(vars) != 0 {
		t.Errorf("vars: %v, %v", vars, err)
	}
	limit(pages + 100)
	must(t, s.ChangeVars(ctx, ae, "ana", big, nil))
}
