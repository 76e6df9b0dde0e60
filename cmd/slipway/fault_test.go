package main

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/store/fault"
)

// TestFaultPoints compares the list of places with the marks in the code.
func TestFaultPoints(t *testing.T) {
	mark := regexp.MustCompile(`(?:fault\.Hit\(|d\.reach\(ctx, )"([a-z.]+)"`)
	found := map[string]int{}
	for _, room := range []string{"hooks", "builder"} {
		err := filepath.WalkDir(filepath.Join("..", "..", room), func(path string, e fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range mark.FindAllStringSubmatch(string(text), -1) {
				found[m[1]]++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range fault.Points() {
		if found[p.Name] != 1 {
			t.Errorf("%s is marked %d times", p.Name, found[p.Name])
		}
		delete(found, p.Name)
	}
	for name := range found {
		t.Errorf("%s is not in the list", name)
	}
}

// TestFaults lets the server die, and fail, at every place that a deploy comes
// by, and looks at what is left after the next start.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server for every place at which it can die")
	}
	bin := faultBinary(t)
	for name, test := range map[string]func(*faulty){
		"kill": killEverywhere, "error": failEverywhere, "panic": panicEverywhere, "first": killFirst, "command": killCommands,
		"process": killProcesses, "ref": moveRefs, "upstream": keepUpstream, "orphan": leaveOrphan,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(newFaulty(t, bin)) })
	}
	t.Run("queue", func(t *testing.T) { t.Parallel(); testQueue(t, bin) })
	t.Run("model", func(t *testing.T) { t.Parallel(); testModel(t, bin) })
}

// with joins the faults that lead to a place and the one there.
func with(p fault.Point, action string) string {
	if p.Before == "" {
		return p.Name + ":" + action
	}
	return p.Before + "," + p.Name + ":" + action
}

func killEverywhere(f *faulty) {
	for range 3 { // so that there is something to prune
		f.commit("Before")
		f.again()
	}
	for _, p := range fault.Points() {
		f.quiet()
		if p.Packs {
			f.packs(2*manyPacks, smallPack)
		}
		before := f.live()
		commit := f.commit("Killed at " + p.Name)
		faults := with(p, "kill")
		if p.Start {
			faults = p.Before + ":kill"
		}
		f.set(faults)
		ok, out := f.push()
		f.gone()
		f.hit()
		if p.Start {
			f.set(p.Name + ":kill")
			if f.tryStart() {
				f.gone()
			}
			f.hit()
		}
		f.start()
		want := before.Commit
		if p.Forward {
			want = commit
		} else if ok {
			f.Errorf("%s: the push is accepted:\n%s", p.Name, out)
		}
		f.check(want)
		if newest := f.releases()[0]; newest.Number > before.Number && newest.Commit == commit {
			state := newest.State
			if p.Forward && state != "live" || !p.Forward && state != "interrupted" && (state != "failed" || p.Before == "") {
				f.Errorf("%s: release %d is %s", p.Name, newest.Number, state)
			}
		}
		f.again()
		f.check(commit)
		if f.Failed() {
			f.Fatalf("killed at %s:\n%s", p.Name, out)
		}
	}
}

func failEverywhere(f *faulty) { breakEverywhere(f, "error") }

// panicEverywhere has a mistake of ours at every place: it ends what it happens
// in and nothing else, and says no more than where to ask.
func panicEverywhere(f *faulty) { breakEverywhere(f, "panic") }

func breakEverywhere(f *faulty, action string) {
	for range 3 {
		f.commit("Before")
		f.again()
	}
	for i, p := range fault.Points() {
		if action == "panic" && i%4 != 0 && os.Getenv("SLIPWAY_SOAK") == "" {
			continue // every one takes a minute
		}
		f.quiet()
		if p.Packs {
			f.packs(2*manyPacks, smallPack)
		}
		before := f.live()
		commit := f.commit("Failed at " + p.Name)
		if p.Start {
			f.set(p.Before + ":kill")
			_, _ = f.push()
			f.gone()
			f.hit()
			f.set(p.Name + ":" + action)
			if !f.tryStart() { // what it cannot do without
				f.start()
			}
			f.hit()
			f.again() // settles first what the start could not
			f.check(commit)
			continue
		}
		f.set(with(p, action))
		server := f.server.Process.Pid
		ok, out := f.push()
		// What comes after the commit fails while the push is answered, or later.
		f.await(func() bool { _, err := os.Stat(f.fault); return errors.Is(err, fs.ErrNotExist) })
		f.hit()
		if !p.Forward {
			if ok {
				f.Errorf("%s: the push is accepted", p.Name)
			}
			if text := flat(out); action == "panic" && p.Before == "" && (!strings.Contains(text, "error: ") || !strings.Contains(text, "internal error, id ") ||
				!strings.Contains(text, "hint: ") || strings.Contains(text, "goroutine")) {
				f.Errorf("%s: the pusher sees:\n%s", p.Name, out)
			}
			if r := f.releases()[0]; r.Commit == commit && r.State != "failed" {
				f.Errorf("%s: release %d is %s", p.Name, r.Number, r.State)
			}
			if to, err := os.Readlink(filepath.Join(f.dir, "apps", f.env, f.app, "current")); f.live() != before ||
				err != nil || !strings.Contains(p.Before, "revert.activate") && p.Name != "revert.activate" && filepath.Base(to) != strconv.Itoa(before.Number) {
				f.Errorf("%s: %v is live, and current leads to %s (%v); before it was %v", p.Name, f.live(), to, err, before)
			}
		}
		f.again()
		if f.processes(f.dir, "serve")[server] == "" {
			f.Errorf("%s: the server has ended", p.Name)
		}
		if p.Forward { // with nothing to do, the repeated push has settled nothing
			f.kill()
			f.start()
		}
		f.check(commit)
		if f.Failed() {
			f.Fatalf("failed at %s:\n%s", p.Name, out)
		}
	}
}

// killFirst kills the server in the first push of an app.
func killFirst(f *faulty) {
	commit := f.git("rev-parse", "HEAD")
	for i, name := range []string{"pre.start", "tree.write", "stage.journal", "switch.journal", "switch.begun", "host.renamed", "refs.moved", "record.app", "record.live", "record.rest"} {
		f.app = "first-" + strconv.Itoa(i)
		at := slices.IndexFunc(fault.Points(), func(p fault.Point) bool { return p.Name == name })
		f.set(name + ":kill")
		_, out := f.push()
		f.gone()
		f.hit()
		f.start()
		if fault.Points()[at].Forward {
			f.check(commit)
		} else {
			f.check("")
		}
		f.again()
		f.check(commit)
		if f.Failed() {
			f.Fatalf("killed at %s:\n%s", name, out)
		}
	}
}

// keepUpstream kills the server between the ref and the database: what the push
// brought beside the commit is not lost.
func keepUpstream(f *faulty) {
	f.again()
	commit := f.commit("Upstream")
	f.set("refs.moved:kill")
	cmd, _ := f.startPush("-o", "upstream=ssh://git@git.corp.example/team/shop.git")
	_ = cmd.Wait() // cut off
	f.gone()
	f.hit()
	f.start()
	f.check(commit)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.dir, "slipway.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	f.must(err)
	defer db.Close()
	var upstream string
	f.must(db.QueryRow("SELECT upstream FROM apps WHERE app = 'shop'").Scan(&upstream))
	if upstream != "ssh://git@git.corp.example/team/shop.git" {
		f.Errorf("the app's upstream is %q", upstream)
	}
}

// killCommands kills the server in deploys that move no ref: there the
// journal's phase is the commit.
func killCommands(f *faulty) {
	commit := f.git("rev-parse", "HEAD")
	f.again()
	for _, argv := range [][]string{{"redeploy", "shop/dev"}, {"vars", "set", "shop/dev", "COLOUR=red"}, {"rollback", "shop/dev"}} {
		for name, forward := range map[string]bool{"switch.restarted": false, "record.live": false, "record.rest": true, "prune.end": true} {
			f.quiet()
			before := f.live()
			f.set(name + ":kill")
			out, err := f.command(argv...).CombinedOutput()
			f.gone()
			f.hit()
			f.start()
			f.check(commit)
			if after := f.live(); (after.Number > before.Number) != forward {
				f.Errorf("live was release %d, and is %d", before.Number, after.Number)
			}
			if argv[0] == "vars" {
				list, err := f.command("vars", "list", "shop/dev", "--json").CombinedOutput()
				if strings.Contains(string(list), "COLOUR") != forward {
					f.Errorf("vars: %s, %v", list, err)
				}
				if forward {
					unset, err := f.command("vars", "unset", "shop/dev", "COLOUR").CombinedOutput()
					if err != nil {
						f.Errorf("vars unset: %v\n%s", err, unset)
					}
				}
			}
			if f.Failed() {
				f.Fatalf("%v killed at %s: %v\n%s", argv, name, err, out)
			}
		}
	}
}

// killProcesses kills what takes part in a push beside the server.
func killProcesses(f *faulty) {
	f.again()
	held := filepath.Join(f.root, "held")
	for _, c := range []struct {
		at, victim string
		live       bool
		state      string
	}{
		{"host.build", "hooks/pre-receive", false, "cancelled"},
		{"host.build", "git receive-pack", false, "cancelled"},
		{"host.built", "git push", false, ""},
		{"switch.told", "git update-ref", false, "failed"},
		{"switch.told", "hooks/proc-receive", true, "live"},
		{"switch.told", "git receive-pack", true, "live"},
		{"switch.told", "git push", true, "live"},
	} {
		f.quiet()
		before := f.live()
		commit := f.commit("Kill " + c.victim)
		f.set(c.at + ":pause=" + held)
		cmd, out := f.startPush()
		f.await(func() bool { _, err := os.Stat(held); return err == nil })
		if c.victim == "git push" {
			f.must(syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
		} else {
			victims := f.processes(f.dir, c.victim)
			if len(victims) == 0 {
				f.Fatalf("there is no %s to kill", c.victim)
			}
			for pid := range victims {
				f.must(syscall.Kill(pid, syscall.SIGKILL))
			}
		}
		f.must(os.Remove(held))
		ended := cmd.Wait()
		f.quiet()
		r := f.releases()[0]
		if c.state == "" { // whether the server hears of it before the switch is open
			c.live = r.State == "live"
			c.state = map[bool]string{true: "live", false: "cancelled"}[c.live]
		}
		want := before.Commit
		if c.live {
			want = commit
		} else if ended == nil {
			f.Errorf("the push is accepted")
		}
		f.check(want)
		if r.State != c.state {
			f.Errorf("release %d is %s (%s), not %s", r.Number, r.State, r.Error, c.state)
		}
		f.again()
		f.check(commit)
		if f.Failed() {
			f.Fatalf("%s killed at %s:\n%s", c.victim, c.at, out)
		}
	}
}

// await waits for something that the server does by itself.
func (f *faulty) await(done func() bool) {
	f.Helper()
	end := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(end) {
			f.Fatal("it does not come")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// moveRefs changes the ref while the server is down, as a power cut or a person
// would.
func moveRefs(f *faulty) {
	f.again()
	before := f.live()
	repo := filepath.Join(f.dir, "repos", "shop.git")
	const ref = "refs/namespaces/dev/refs/heads/main"

	lost := f.commit("The rename is lost")
	f.set("prune.start:kill")
	_, _ = f.push()
	f.gone()
	f.run("git", "--git-dir", repo, "update-ref", ref, before.Commit)
	f.start()
	f.check(lost)

	interrupted := f.commit("Interrupted")
	f.set("switch.restarted:kill")
	_, _ = f.push()
	f.gone()
	f.run("git", "--git-dir", repo, "update-ref", ref, before.Commit)
	f.start()
	if ok, out := f.push(); ok || !strings.Contains(out, "it was moved by hand") {
		f.Errorf("a push to a ref that was moved by hand:\n%s", out)
	}
	f.run("git", "--git-dir", repo, "update-ref", ref, lost)
	f.again()
	f.check(interrupted)
}

// leaveOrphan kills the server and keeps the git alive that holds the ref, which
// then commits: the next server has to wait until it has ended.
func leaveOrphan(f *faulty) {
	f.again()
	commit := f.commit("Orphan")
	held := filepath.Join(f.root, "held")
	f.set("switch.told:pause=" + held)
	push, _ := f.startPush()
	f.await(func() bool { _, err := os.Stat(held); return err == nil })
	orphans := f.processes(f.dir, "update-ref")
	if len(orphans) != 1 {
		f.Fatalf("these hold the ref: %v", orphans)
	}
	var pid int
	for pid = range orphans {
	}
	in, err := os.OpenFile(filepath.Join("/proc", strconv.Itoa(pid), "fd", "0"), os.O_WRONLY, 0)
	f.must(err)
	defer in.Close()
	f.kill()
	_ = push.Wait() // cut off
	f.await(func() bool { return len(f.processes(f.dir, "")) == 1 })
	lock, err := os.OpenFile(filepath.Join(f.dir, "slipway.lock"), os.O_RDWR, 0)
	f.must(err)
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		f.Errorf("DIR is not locked by what is left of the server: %v", err)
	}
	ready := f.launch()
	_, err = in.WriteString("commit\n")
	f.must(err)
	f.must(in.Close())
	if !f.ready(ready) {
		f.Fatal("the server does not start")
	}
	f.check(commit)
	f.again()
}
