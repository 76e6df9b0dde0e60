package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClockSetBack has what was deployed lie ten years ahead, as after a clock
// that was wrong and was set back: numbers order releases, and times nothing.
func TestClockSetBack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server and pushes to it")
	}
	t.Parallel()
	f := newFaulty(t, faultBinary(t))
	var commits []string // by release, from 1
	push := func() {
		t.Helper()
		commits = append(commits, f.commit(fmt.Sprintf("Release %d", len(commits)+1)))
		f.again()
	}
	for range 3 {
		push()
	}
	f.quiet()
	f.set("switch.restarted:kill")
	commits = append(commits, f.commit("Release 4"))
	_, _ = f.push()
	f.gone()
	f.hit()
	f.ahead(10)
	f.start() // settles release 4, whose times lie ahead
	f.check(commits[2])

	push()
	push()
	f.check(commits[5])
	f.inOrder(6, 5, 4, 3, 2, 1)
	f.kept(6, 5)
	if out := f.say("logs", "shop/dev"); !strings.Contains(out, "Success: shop/dev is live as release 6") {
		t.Errorf("logs shows not the newest release:\n%s", out)
	}
	f.say("rollback", "shop/dev")
	f.check(commits[4])
	f.say("redeploy", "shop/dev")
	f.say("vars", "set", "shop/dev", "COLOUR=red")
	f.quiet()
	f.inOrder(9, 8, 7, 6, 5, 4, 3, 2, 1)
	f.kept(9, 8)
	f.check(commits[4])
	if out := f.say("rollback", "shop/dev", "8"); !strings.Contains(out, "release 10") {
		t.Errorf("rollback:\n%s", out)
	}
	var events []struct{ Action, Detail string }
	f.must(json.Unmarshal([]byte(f.say("audit", "shop/dev", "--json")), &events))
	if len(events) == 0 || events[0].Action != "rollback" {
		t.Errorf("the newest event is %v", events)
	}
	f.must(f.server.Process.Signal(syscall.SIGTERM))
	f.gone()
	f.start()
	f.check(commits[4])
	f.say("doctor")
}

// ahead stops the server, and moves what is written down of times, and the times
// of files, so many years ahead.
func (f *faulty) ahead(years int) {
	f.Helper()
	f.kill()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.dir, "slipway.db"))
	f.must(err)
	defer db.Close()
	for table, columns := range map[string][]string{
		"releases": {"created", "ended"}, "journal": {"changed"}, "apps": {"created"}, "keys": {"created"}, "vars": {"changed"},
	} {
		for _, c := range columns {
			_, err := db.ExecContext(f.Context(), fmt.Sprintf("UPDATE %s SET %s = (substr(%s, 1, 4) + %d) || substr(%s, 5) WHERE %s <> ''", table, c, c, years, c, c))
			f.must(err)
		}
	}
	then := time.Now().AddDate(years, 0, 0)
	f.must(filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, then, then)
	}))
}

// inOrder asserts which releases are listed, newest first.
func (f *faulty) inOrder(want ...int) {
	f.Helper()
	var numbers []int
	for _, r := range f.releases() {
		numbers = append(numbers, r.Number)
	}
	if !slices.Equal(numbers, want) {
		f.Errorf("the releases are %v, not %v", numbers, want)
	}
}

// kept asserts that no releases but these are on the target.
func (f *faulty) kept(numbers ...int) {
	f.Helper()
	root := filepath.Join(f.dir, "apps", f.env, f.app, "releases")
	there, err := filepath.Glob(filepath.Join(root, "*.json"))
	f.must(err)
	var want []string
	for _, n := range numbers {
		want = append(want, filepath.Join(root, fmt.Sprint(n)+".json"))
	}
	slices.Sort(want)
	if !slices.Equal(there, want) {
		f.Errorf("on the target are %v, not %v", there, want)
	}
}
