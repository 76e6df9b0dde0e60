package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const readOnlyTOML = `[ssh]
listen = "127.0.0.1:0"
[limits]
drain = "1s"
[environments.dev]
target = "local"
root = %q
keep = 2
`

// readOnly is a server whose DIR and whose root are on file systems that can be
// made read-only.
type readOnly struct {
	fullDisks
	mounts *remounter
}

// TestReadOnly lets file systems become read-only under a running server, before
// a push and at steps of one. The error says which it is, the old release is
// live, and when it can be written again the same push succeeds.
func TestReadOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers on file systems of its own")
	}
	disks := onSmallDisks(t, "size=64m", "size=96m")
	if disks == nil {
		return // it ran in the other process
	}
	root := t.TempDir()
	dir, apps := filepath.Join(disks[0], "dir"), filepath.Join(disks[1], "apps")
	f := readOnly{fullDisks{
		newFaultyIn(t, faultBinary(t), root, dir, fmt.Sprintf(readOnlyTOML, apps)),
		smallDisk{t, disks[0]},
		smallDisk{t, disks[1]},
	}, newRemounter(t)}
	f.apps = apps
	f.again()
	f.quiet()

	for _, d := range []smallDisk{f.home, f.roots} {
		t.Log("before the push: ", d.dir)
		before := f.live()
		commit := f.commit("Read-only")
		f.must(f.mounts.tell("ro", d.dir))
		ok, out := f.push()
		f.must(f.mounts.tell("rw", d.dir))
		f.refusedAsReadOnly(ok, out, d)
		f.settled()
		f.check(before.Commit)
		f.again()
		f.check(commit)
	}

	for _, place := range []string{"queue.turn", "host.place", "tree.write", "host.sync", "refs.prepare", "switch.begun", "switch.told", "refs.moved", "record.rest", "prune.start"} {
		for _, d := range []smallDisk{f.home, f.roots} {
			t.Log("at ", place, ": ", d.dir)
			f.quiet()
			commit := f.commit("Read-only at " + place)
			held := f.at(place, func() { f.must(f.mounts.tell("ro", d.dir)) })
			ok, out := f.push()
			<-held
			f.hit()
			f.must(f.mounts.tell("rw", d.dir))
			if !ok {
				f.refusedAsReadOnly(ok, out, d)
			}
			f.again()
			f.settled()
			f.check(commit)
			if f.Failed() {
				f.FailNow()
			}
		}
	}

	t.Log("a start")
	live := f.live()
	f.kill()
	f.must(f.mounts.tell("ro", f.home.dir))
	out, err := f.command("serve").CombinedOutput()
	fresh, never := f.command("--home", filepath.Join(f.home.dir, "new", "dir"), "serve").CombinedOutput()
	f.must(f.mounts.tell("rw", f.home.dir))
	if text := string(fresh); never == nil || !strings.Contains(text, "error: ") || !strings.Contains(text, "read-only") || !strings.Contains(text, "\nhint: ") {
		t.Errorf("a first start on a read-only file system: %v\n%s", never, fresh)
	}
	if text := string(out); err == nil || !strings.Contains(text, "error: serve: write to "+f.dir+": the file system "+f.home.dir+" is read-only\n") ||
		!strings.Contains(text, "\nhint: an admin mounts it for writing") {
		t.Errorf("a start on a read-only file system: %v\n%s", err, out)
	}
	f.must(f.mounts.tell("ro", f.roots.dir))
	f.start() // others have theirs elsewhere
	commit := f.commit("Read-only from the start")
	ok, said := f.push()
	f.must(f.mounts.tell("rw", f.roots.dir))
	f.refusedAsReadOnly(ok, said, f.roots)
	log, err := os.ReadFile(f.log.Name())
	f.must(err)
	if !strings.Contains(string(log), "nothing can be deployed there") {
		t.Error("the log does not say that a root is read-only")
	}
	f.settled()
	f.check(live.Commit)
	f.again()
	f.check(commit)
}

// refusedAsReadOnly asserts what a pusher sees of a file system that can only be
// read.
func (f readOnly) refusedAsReadOnly(ok bool, out string, d smallDisk) {
	f.Helper()
	text := flat(out)
	if ok || !strings.Contains(text, "the file system "+d.dir+" is read-only") ||
		!strings.Contains(text, "error: ") || !strings.Contains(text, "hint: an admin mounts it for writing") {
		f.Errorf("a push to a file system that is read-only:\n%s", out)
	}
}
