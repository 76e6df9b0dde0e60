package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testQueue runs deploys beside each other, and ends them in every way that
// there is.
func testQueue(t *testing.T, bin string) {
	t.Run("serial", func(t *testing.T) { t.Parallel(); serial(newFaulty(t, bin)) })
	t.Run("cancel", func(t *testing.T) { t.Parallel(); cancelled(newFaulty(t, bin)) })
	t.Run("waiting", func(t *testing.T) { t.Parallel(); waiting(newFaulty(t, bin)) })
	t.Run("stopped", func(t *testing.T) { t.Parallel(); stopped(newFaulty(t, bin)) })
	t.Run("unreachable", func(t *testing.T) { t.Parallel(); unreachable(newFaulty(t, bin)) })
}

// serial: 20 pushes at once to one APP/ENV, of which one can win, 10 redeploys
// at once, and 10 first pushes of 10 apps at once. A build that ran beside
// another of its app would fail.
func serial(f *faulty) {
	f.again()
	base := f.git("rev-parse", "HEAD")
	tree := f.git("rev-parse", "HEAD^{tree}")
	var all sync.WaitGroup
	won := make(chan string, 20)
	for i := range 20 {
		commit := f.git("commit-tree", "-p", base, "-m", "Push "+strconv.Itoa(i), tree)
		cmd, out := f.startPushTo("shop/dev", commit+":refs/heads/main")
		all.Go(func() {
			switch err := cmd.Wait(); {
			case err == nil:
				won <- commit
			case !strings.Contains(out.String(), "moved from") && !strings.Contains(out.String(), "fetch first"):
				f.Errorf("a push is refused for another reason: %v\n%s", err, out)
			}
		})
	}
	all.Wait()
	close(won)
	winner := <-won
	if second, more := <-won; winner == "" || more {
		f.Errorf("pushes were accepted: %q, %q", winner, second)
	}
	f.check(winner)

	before := f.live().Number
	for range 10 {
		cmd := f.command("redeploy", "shop/dev")
		all.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				f.Errorf("redeploy: %v\n%s", err, out)
			}
		})
	}
	all.Wait()
	f.check(winner)
	if n := f.live().Number; n != before+10 {
		f.Errorf("10 redeploys after release %d end at %d", before, n)
	}

	for i := range 10 {
		cmd, out := f.startPushTo("many-"+strconv.Itoa(i)+"/dev", "main")
		all.Go(func() {
			if err := cmd.Wait(); err != nil {
				f.Errorf("a first push fails: %v\n%s", err, out)
			}
		})
	}
	all.Wait()
	for i := range 10 {
		f.app = "many-" + strconv.Itoa(i)
		f.check(base)
	}
}

// cache is a file that builds of the app see in $HOME/.cache.
func (f *faulty) cache(name string) string {
	return filepath.Join(f.dir, "apps", f.env, f.app, "cache", ".cache", name)
}

// hold makes builds go on until release.
func (f *faulty) hold() { f.Helper(); f.must(os.WriteFile(f.cache("hold"), nil, 0o644)) }

func (f *faulty) release() { f.Helper(); f.must(os.Remove(f.cache("hold"))) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// building waits until a build runs.
func (f *faulty) building() { f.Helper(); f.await(func() bool { return exists(f.cache("running")) }) }

// say runs a command on the server's machine.
func (f *faulty) say(words ...string) string {
	f.Helper()
	out, err := f.command(words...).CombinedOutput()
	if err != nil {
		f.Fatalf("%v: %v\n%s", words, err, out)
	}
	return string(out)
}

// cancelled: who pushes presses Ctrl-C, is killed, or somebody says cancel.
func cancelled(f *faulty) {
	f.again()
	held := filepath.Join(f.root, "held")
	for _, c := range []struct {
		how  string
		why  string
		end  func(push *exec.Cmd)
		late bool // when git's pre-receive is over
	}{
		{how: "Ctrl-C", why: "", end: func(push *exec.Cmd) { f.must(syscall.Kill(-push.Process.Pid, syscall.SIGINT)) }},
		{how: "kill", why: "", end: func(push *exec.Cmd) { f.must(syscall.Kill(-push.Process.Pid, syscall.SIGKILL)) }},
		{how: "cancel", why: "cancelled by local", end: func(*exec.Cmd) { f.say("cancel", "shop/dev") }},
		{how: "cancel before the switch", why: "cancelled by local", late: true},
	} {
		f.quiet()
		before := f.live()
		commit := f.commit(c.how)
		var push *exec.Cmd
		var out *strings.Builder
		began := time.Now()
		if c.late {
			f.set("proc.start:pause=" + held)
			push, out = f.startPush()
			f.await(func() bool { return exists(held) })
			said := make(chan error, 1)
			go func() { said <- f.command("cancel", "shop/dev").Run() }()
			f.await(func() bool { return len(f.processes(f.dir, "cancel")) > 0 })
			f.must(os.Remove(held))
			if <-said != nil { // it came too late, and says so
				f.must(push.Wait())
				f.check(commit)
				continue
			}
		} else {
			f.hold()
			push, out = f.startPush()
			f.building()
			began = time.Now()
			c.end(push)
		}
		if push.Wait() == nil {
			f.Errorf("%s: the push is accepted:\n%s", c.how, out)
		}
		f.check(before.Commit)
		if took := time.Since(began); took > 5*time.Second {
			f.Errorf("%s: processes and files were there for %s", c.how, took)
		}
		if r := f.releases()[0]; r.State != "cancelled" || !strings.Contains(r.Error, c.why) {
			f.Errorf("%s: release %d is %s: %s", c.how, r.Number, r.State, r.Error)
		}
		if !c.late {
			f.release()
			f.must(os.Remove(f.cache("running")))
		}
		f.again()
		f.check(commit)
	}
}

// waiting: a push waits, or does not want to; the branch moves meanwhile; a
// lock refuses.
func waiting(f *faulty) {
	f.again()
	base := f.git("rev-parse", "HEAD")
	first := f.commit("First")
	second := f.git("commit-tree", "-p", base, "-m", "Second", base+"^{tree}")
	f.hold()
	running, _ := f.startPush()
	f.building()
	busy, out := f.startPushTo("shop/dev", second+":refs/heads/main", "-o", "no-wait")
	if busy.Wait() == nil || !strings.Contains(out.String(), "busy: maria deploys shop/dev") {
		f.Errorf("a push that will not wait:\n%s", out)
	}
	behind, out := f.startPushTo("shop/dev", second+":refs/heads/main")
	f.await(func() bool { return strings.Contains(f.say("releases", "shop/dev"), "building") && f.queued() == 1 })
	left, _ := f.startPushTo("shop/dev", second+":refs/heads/main")
	f.await(func() bool { return f.queued() == 2 })
	f.must(syscall.Kill(-left.Process.Pid, syscall.SIGINT)) // leaves the queue, and nothing else
	_ = left.Wait()
	f.await(func() bool { return f.queued() == 1 })
	f.release()
	f.must(running.Wait())
	if behind.Wait() == nil || !strings.Contains(out.String(), "while you waited") {
		f.Errorf("a push that waited:\n%s", out)
	}
	f.check(first)

	f.say("lock", "shop/dev", "--reason", "audit")
	third := f.commit("Third")
	if ok, out := f.push(); ok || !strings.Contains(out, "shop/dev is locked by") || !strings.Contains(out, "audit") {
		f.Errorf("a push to what is locked:\n%s", out)
	}
	f.check(first)
	f.say("unlock", "shop/dev")
	f.again()
	f.check(third)
}

// queued is how many pushes have come to pre-receive, less the one that runs.
func (f *faulty) queued() int { return len(f.processes(f.dir, "hooks/pre-receive")) - 1 }

// stopped: SIGTERM lets a build end, for a while.
func stopped(f *faulty) {
	f.again()
	before := f.live()
	commit := f.commit("Too long")
	f.hold()
	push, out := f.startPush()
	f.building()
	f.must(f.server.Process.Signal(syscall.SIGTERM))
	f.gone()
	if push.Wait() == nil {
		f.Errorf("the push is accepted:\n%s", out)
	}
	f.release()
	f.must(os.Remove(f.cache("running")))
	f.start()
	f.check(before.Commit)
	if r := f.releases()[0]; r.State != "cancelled" || r.Error != "the server was stopped" {
		f.Errorf("release %d is %s: %s", r.Number, r.State, r.Error)
	}
	f.hold()
	push, out = f.startPush()
	f.building()
	f.must(f.server.Process.Signal(syscall.SIGTERM))
	f.release()
	if err := push.Wait(); err != nil {
		f.Errorf("a push is cut off that could end: %v\n%s", err, out)
	}
	f.gone()
	f.start()
	f.check(commit)
}

// unreachable: an interrupted deploy cannot be settled as its target does not
// answer; the others are served.
func unreachable(f *faulty) {
	f.again()
	before := f.live()
	commit := f.commit("Interrupted")
	f.set("switch.restarted:kill")
	_, _ = f.push()
	f.gone()
	root := filepath.Join(f.dir, "apps", "dev")
	f.must(os.Rename(root, root+".away"))
	f.must(os.WriteFile(root, nil, 0o600))
	f.start()
	if ok, out := f.push(); ok || !strings.Contains(out, "settled first") || !strings.Contains(out, "hint: ") {
		f.Errorf("a push to what is not settled:\n%s", out)
	}
	if out, err := f.command("redeploy", "shop/dev").CombinedOutput(); err == nil || !strings.Contains(string(out), "settled first") {
		f.Errorf("a redeploy of what is not settled: %v\n%s", err, out)
	}
	var listed []struct {
		Number    int
		Unsettled *struct {
			Phase, Error string
			Tries        int
			Next         *time.Time
		}
	}
	text, err := f.command("releases", "shop/dev", "--json").Output()
	f.must(err)
	f.must(json.Unmarshal(text, &listed))
	if u := listed[0].Unsettled; u == nil || u.Phase != "switching" || u.Next == nil {
		f.Errorf("release %d reads as settled: %+v", listed[0].Number, u)
	}
	if u := listed[1].Unsettled; u != nil {
		f.Errorf("release %d reads as not settled: %+v", listed[1].Number, u)
	}
	other, out := f.startPushTo("shop/staging", "main")
	if err := other.Wait(); err != nil {
		f.Errorf("another environment is not served: %v\n%s", err, out)
	}
	f.must(os.Remove(root))
	f.must(os.Rename(root+".away", root))
	if out, err := f.command("redeploy", "shop/dev").CombinedOutput(); err != nil {
		f.Errorf("redeploy: %v\n%s", err, out)
	}
	f.check(before.Commit)
	f.again()
	f.check(commit)
}
