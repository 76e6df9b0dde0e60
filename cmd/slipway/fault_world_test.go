package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the journal is looked at beside the server
)

// faultBinary builds the program with its failpoints, with the flags of the
// Makefile so that both share what is compiled.
func faultBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SLIPWAY_FAULT_BINARY"); path != "" {
		return path
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the program with failpoints is built by go, or given as $SLIPWAY_FAULT_BINARY")
	}
	path := filepath.Join(t.TempDir(), "slipway")
	cmd := exec.Command(tool, "build", "-trimpath", "-tags", "faults", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("this account cannot build the program with failpoints: %v\n%s", err, out)
	}
	return path
}

// faulty is a DIR with a server that can be told to fail, and a clone to push
// from.
type faulty struct {
	*testing.T
	bin, root, dir, repo string
	fault                string // the file with the faults to come
	app                  string

	server *exec.Cmd
	ended  chan struct{}
	port   string
	log    *os.File
}

const faultyTOML = `[ssh]
listen = "127.0.0.1:0"
[limits]
drain = "1s"
[environments.dev]
target = "local"
keep = 2
[environments.staging]
target = "local"
`

const faultyApp = `[deploy]
restart = "./restart"
`

// faultyBuild leaves a daemon behind, fails if another build of the app runs
// beside it, says that it runs, and goes on as long as there is a file "hold".
const faultyBuild = `#!/bin/sh
sleep 600 &
exec 9> "$HOME/.cache/alone"
flock -n 9 || exit 9
touch "$HOME/.cache/running"
while [ -e "$HOME/.cache/hold" ]; do sleep 0.05; done
rm "$HOME/.cache/running"
`

func newFaulty(t *testing.T, bin string) *faulty {
	t.Helper()
	root := t.TempDir()
	f := &faulty{
		T: t, bin: bin, root: root, dir: filepath.Join(root, "dir"), repo: filepath.Join(root, "shop"),
		fault: filepath.Join(root, "fault"), app: "shop",
	}
	f.must(os.Chmod(root, 0o755)) // builds have an account of their own
	f.must(os.MkdirAll(f.dir, 0o711))
	f.must(os.MkdirAll(f.repo, 0o755))
	f.must(os.WriteFile(filepath.Join(f.dir, "server.toml"), []byte(faultyTOML), 0o600))
	var err error
	f.log, err = os.OpenFile(filepath.Join(root, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	f.must(err)
	t.Cleanup(func() {
		f.kill()
		if t.Failed() {
			text, _ := os.ReadFile(f.log.Name())
			t.Logf("log of the server:\n%s", text[max(0, len(text)-8000):])
		}
		f.log.Close()
	})
	f.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(root, "key"))
	f.git("init", "-q", "-b", "main")
	for name, text := range map[string]string{
		"postinstall":  faultyBuild,
		"restart":      "#!/bin/sh\necho \"$SLIPWAY_RELEASE\" > restarted\n",
		"slipway.toml": faultyApp,
	} {
		f.must(os.WriteFile(filepath.Join(f.repo, name), []byte(text), 0o755))
	}
	f.git("add", ".")
	f.git("commit", "-qm", "Start")
	f.start()
	key, err := os.Open(filepath.Join(root, "key.pub"))
	f.must(err)
	defer key.Close()
	add := f.command("key", "add", "maria", "--admin")
	add.Stdin = key
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("key add: %v\n%s", err, out)
	}
	return f
}

func (f *faulty) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *faulty) environ() []string {
	return append(slices.Clip(os.Environ()), "SLIPWAY_HOME="+f.dir, "SLIPWAY_FAULT=@"+f.fault, "HOME="+f.root,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "SSH_AUTH_SOCK=",
		"GIT_AUTHOR_NAME=Maria", "GIT_AUTHOR_EMAIL=m@corp.example", "GIT_COMMITTER_NAME=Maria", "GIT_COMMITTER_EMAIL=m@corp.example",
		"GIT_SSH_COMMAND=ssh -F none -i "+filepath.Join(f.root, "key")+" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR -o UserKnownHostsFile="+filepath.Join(f.root, "known"))
}

func (f *faulty) command(args ...string) *exec.Cmd {
	cmd := exec.Command(f.bin, args...)
	cmd.Env = f.environ()
	return cmd
}

func (f *faulty) run(name string, args ...string) string {
	f.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = f.repo, f.environ()
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (f *faulty) git(args ...string) string { f.Helper(); return f.run("git", args...) }

// tryStart starts the server; false says that it ended before it was ready.
func (f *faulty) tryStart() bool { f.Helper(); return f.ready(f.launch()) }

// launch starts the server, and delivers its address when it is ready.
func (f *faulty) launch() <-chan string {
	f.Helper()
	read, write, err := os.Pipe()
	f.must(err)
	cmd := f.command("serve")
	cmd.Stderr = write
	f.must(cmd.Start())
	write.Close()
	f.server, f.ended = cmd, make(chan struct{})
	ready := make(chan string, 1)
	go func(ended chan struct{}) {
		in := bufio.NewScanner(read)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			fmt.Fprintln(f.log, in.Text())
			var line struct{ Message, SSH string }
			if json.Unmarshal(in.Bytes(), &line) == nil && line.Message == "ready" {
				ready <- line.SSH
			}
		}
		read.Close()
		_ = cmd.Wait() // however it ended
		close(ended)
	}(f.ended)
	return ready
}

func (f *faulty) ready(ready <-chan string) bool {
	f.Helper()
	select {
	case addr := <-ready:
		var err error
		_, f.port, err = net.SplitHostPort(addr)
		f.must(err)
		return true
	case <-f.ended:
		return false
	case <-time.After(60 * time.Second):
		f.Fatal("the server is not ready after 60 s")
	}
	return false
}

func (f *faulty) start() {
	f.Helper()
	if !f.tryStart() {
		f.Fatal("the server does not start")
	}
}

// gone waits until the server has ended.
func (f *faulty) gone() {
	f.Helper()
	select {
	case <-f.ended:
	case <-time.After(60 * time.Second):
		f.Fatal("the server goes on")
	}
}

func (f *faulty) kill() {
	if f.server == nil {
		return
	}
	_ = f.server.Process.Kill() // it may have ended
	<-f.ended
	f.server = nil
}

// set writes the faults to come.
func (f *faulty) set(faults string) { f.Helper(); f.must(os.WriteFile(f.fault, []byte(faults), 0o600)) }

// hit says that all of them have come.
func (f *faulty) hit() {
	f.Helper()
	if left, err := os.ReadFile(f.fault); err == nil {
		f.Errorf("the push did not come by %s", left)
		f.must(os.Remove(f.fault))
	}
}

// commit makes a new commit.
func (f *faulty) commit(title string) string {
	f.Helper()
	f.git("commit", "-q", "--allow-empty", "-m", title)
	return f.git("rev-parse", "HEAD")
}

// startPush starts a push and leaves it running.
func (f *faulty) startPush(words ...string) (*exec.Cmd, *strings.Builder) {
	f.Helper()
	return f.startPushTo(f.app+"/dev", "main", words...)
}

func (f *faulty) startPushTo(to, what string, words ...string) (*exec.Cmd, *strings.Builder) {
	f.Helper()
	cmd := exec.Command("git", append(append([]string{"push"}, words...), "ssh://deploy@127.0.0.1:"+f.port+"/"+to, what)...)
	cmd.Dir, cmd.Env = f.repo, f.environ()
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	f.must(cmd.Start())
	return cmd, out
}

func (f *faulty) push() (ok bool, out string) {
	f.Helper()
	cmd, said := f.startPush()
	return cmd.Wait() == nil, said.String()
}

// again pushes and insists.
func (f *faulty) again() {
	f.Helper()
	if ok, out := f.push(); !ok {
		f.Fatalf("the same push again fails:\n%s", out)
	}
}

// row is a release as the server lists it.
type row struct {
	Number               int
	Commit, State, Error string
}

func (f *faulty) releases() []row {
	f.Helper()
	out, err := f.command("releases", f.app+"/dev", "--json").Output()
	if err != nil {
		return nil // it has none
	}
	var rows []row
	f.must(json.Unmarshal(out, &rows))
	return rows
}

// live is the release that the server says is live.
func (f *faulty) live() (r row) {
	f.Helper()
	for _, r := range f.releases() {
		if r.State == "live" {
			return r
		}
	}
	return row{}
}

// quiet waits until no deploy is open in the journal.
func (f *faulty) quiet() {
	f.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.dir, "slipway.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	f.must(err)
	defer db.Close()
	ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		var open int
		f.must(db.QueryRowContext(ctx, "SELECT count(*) FROM journal WHERE phase NOT IN ('done', 'ended')").Scan(&open))
		if open == 0 {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			f.Fatal("the journal has an open entry that nobody closes")
		}
	}
}

// check asserts that ref, database and target agree on commit, or on nothing
// for "", and that nothing is left of what was tried.
func (f *faulty) check(commit string) {
	f.Helper()
	f.quiet()
	live := f.live()
	if live.Commit != commit {
		f.Errorf("live is %.7s (release %d), not %.7s", live.Commit, live.Number, commit)
	}
	ref, err := exec.Command("git", "--git-dir", filepath.Join(f.dir, "repos", f.app+".git"), "rev-parse", "--verify", "-q",
		"refs/namespaces/dev/refs/heads/main").Output()
	if at := strings.TrimSpace(string(ref)); at != commit || err != nil && commit != "" {
		f.Errorf("the ref is at %.7s, not at %.7s (%v)", at, commit, err)
	}
	root := filepath.Join(f.dir, "apps", "dev", f.app)
	to, err := os.Readlink(filepath.Join(root, "current"))
	if n, _ := strconv.Atoi(strings.TrimPrefix(to, "releases/")); n != live.Number {
		f.Errorf("current leads to %q (%v), and release %d is live", to, err, live.Number)
	}
	if commit != "" {
		text, err := os.ReadFile(filepath.Join(root, "current", "restarted"))
		if strings.TrimSpace(string(text)) != strconv.Itoa(live.Number) {
			f.Errorf("the live release was not restarted: %q, %v", text, err)
		}
	}
	f.checkFiles(root)
	f.checkProcesses()
}

func (f *faulty) checkFiles(root string) {
	f.Helper()
	kept := map[string]bool{}
	for _, r := range f.releases() {
		switch r.State {
		case "live", "retired":
			kept[strconv.Itoa(r.Number)] = true
		case "building":
			f.Errorf("release %d is still building", r.Number)
		}
	}
	there, err := os.ReadDir(filepath.Join(root, "releases"))
	if err != nil && len(kept) > 0 {
		f.Error(err)
	}
	for _, e := range there {
		if n, _, _ := strings.Cut(e.Name(), "."); !kept[n] {
			f.Errorf("releases has %s, which was never live", e.Name())
		}
	}
	if len(kept) == 0 {
		for _, path := range []string{root, filepath.Join(f.dir, "repos", f.app+".git")} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				f.Errorf("%s is left of an app that never was live", path)
			}
		}
	}
	f.must(filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		name := e.Name()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.Type().IsRegular() && strings.HasPrefix(path, filepath.Join(f.dir, "tmp")+"/"):
			f.Errorf("%s is left", path)
		case name == "slipway.lock", name == ".lock" && strings.HasPrefix(path, filepath.Join(f.dir, "apps")+"/"):
		case strings.HasPrefix(name, "tmp_"), strings.HasSuffix(name, ".lock"), strings.HasSuffix(name, ".keep"), strings.HasSuffix(name, ".new"):
			f.Errorf("%s is left", path)
		}
		return nil
	}))
}

// checkProcesses waits until the server is the only process of this DIR.
func (f *faulty) checkProcesses() {
	f.Helper()
	end := time.Now().Add(5 * time.Second)
	for {
		left := f.processes(f.dir, "")
		delete(left, f.server.Process.Pid)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			f.Errorf("processes are left: %v", left)
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

// processes lists those whose environment or arguments name dir, and whose
// arguments have the word.
func (f *faulty) processes(dir, word string) map[int]string {
	all := map[int]string{}
	entries, err := os.ReadDir("/proc")
	f.must(err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")) // it may be another's, or gone
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		words := strings.ReplaceAll(string(cmdline), "\x00", " ")
		if words != "" && strings.Contains(words, word) &&
			(strings.Contains(string(environ), "="+dir+"/") || strings.Contains(string(environ), "="+dir+"\x00") || strings.Contains(words, dir)) {
			all[pid] = words
		}
	}
	return all
}
