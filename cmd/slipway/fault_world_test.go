package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// faultBinary builds the program with its failpoints.
func faultBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SLIPWAY_FAULT_BINARY"); path != "" {
		return path
	}
	return buildBinary(t, "-tags", "faults")
}

// buildBinary builds the program with the flags of the Makefile, so that both
// share what is compiled.
func buildBinary(t *testing.T, flags ...string) string {
	t.Helper()
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the program is built by go")
	}
	path := filepath.Join(t.TempDir(), "slipway")
	cmd := exec.Command(tool, append(append([]string{"build", "-trimpath"}, flags...), "-o", path, ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("this account cannot build the program: %v\n%s", err, out)
	}
	return path
}

// faulty is a DIR with a server that can be told to fail, and a clone to push
// from.
type faulty struct {
	*testing.T
	bin, root, dir, repo string
	fault                string // the file with the faults to come
	app, env             string // what is pushed to and looked at
	apps                 string // the root of env, "" for the default

	server *exec.Cmd
	ended  chan struct{}
	port   string
	web    string // its address, if it has one
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

// faultyRestart says by which release the app was last restarted.
const faultyRestart = "#!/bin/sh\necho \"$SLIPWAY_RELEASE\" > restarted\n"

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
	return newFaultyIn(t, bin, root, filepath.Join(root, "dir"), faultyTOML)
}

// newFaultyIn has DIR where the caller says.
func newFaultyIn(t *testing.T, bin, root, dir, toml string) *faulty {
	t.Helper()
	f := newWorldIn(t, bin, root, dir, toml)
	f.must(os.MkdirAll(f.repo, 0o755))
	f.git("init", "-q", "-b", "main")
	for name, text := range map[string]string{
		"postinstall":  faultyBuild,
		"restart":      faultyRestart,
		"slipway.toml": faultyApp,
	} {
		f.must(os.WriteFile(filepath.Join(f.repo, name), []byte(text), 0o755))
	}
	f.git("add", ".")
	f.git("commit", "-qm", "Start")
	return f
}

// newWorld makes a DIR with the server.toml that declare returns, starts the
// server, and adds the key.
func newWorld(t *testing.T, bin string, declare func(dir string) string) *faulty {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "dir")
	return newWorldIn(t, bin, root, dir, declare(dir))
}

func newWorldIn(t *testing.T, bin, root, dir, toml string) *faulty {
	t.Helper()
	f := &faulty{
		T: t, bin: bin, root: root, dir: dir, repo: filepath.Join(root, "shop"),
		fault: filepath.Join(root, "fault"), app: "shop", env: "dev",
	}
	f.must(os.Chmod(root, 0o755)) // builds have an account of their own
	f.must(os.MkdirAll(f.dir, 0o711))
	f.must(os.WriteFile(filepath.Join(f.dir, "server.toml"), []byte(toml), 0o600))
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
	f.must(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f.key()).Run())
	f.start()
	key, err := os.Open(f.key() + ".pub")
	f.must(err)
	defer key.Close()
	add := f.command("key", "add", "maria", "--admin")
	add.Stdin = key
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("key add: %v\n%s", err, out)
	}
	return f
}

// of is the same world with another APP/ENV to look at.
func (f *faulty) of(app, env string) *faulty {
	other := *f
	other.app, other.env = app, env
	return &other
}

// key is the private key that may do everything.
func (f *faulty) key() string { return filepath.Join(f.root, "key") }

func (f *faulty) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// environ is for the program itself, and for git beside it.
func (f *faulty) environ() []string {
	return append(f.outside(), "SLIPWAY_HOME="+f.dir, "SLIPWAY_FAULT=@"+f.fault)
}

// outside is the environment of someone who knows nothing of DIR; options are
// ssh's.
func (f *faulty) outside(options ...string) []string {
	return append(slices.Clip(os.Environ()), "HOME="+f.root,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "SSH_AUTH_SOCK=",
		"GIT_AUTHOR_NAME=Maria", "GIT_AUTHOR_EMAIL=m@corp.example", "GIT_COMMITTER_NAME=Maria", "GIT_COMMITTER_EMAIL=m@corp.example",
		"GIT_SSH_COMMAND="+strings.Join(append(f.ssh(), options...), " "))
}

// ssh is the client's command line, less the host.
func (f *faulty) ssh() []string {
	return []string{
		"ssh", "-F", "none", "-i", f.key(), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "LogLevel=ERROR", "-o", "UserKnownHostsFile=" + filepath.Join(f.root, "known"),
	}
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

// launch starts the server, and delivers its addresses when it is ready.
func (f *faulty) launch() <-chan [2]string {
	f.Helper()
	read, write, err := os.Pipe()
	f.must(err)
	cmd := f.command("serve")
	cmd.Stderr = write
	f.must(cmd.Start())
	write.Close()
	f.server, f.ended = cmd, make(chan struct{})
	ready := make(chan [2]string, 1)
	go func(ended chan struct{}) {
		in := bufio.NewScanner(read)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			fmt.Fprintln(f.log, in.Text())
			var line struct{ Message, SSH, Web string }
			if json.Unmarshal(in.Bytes(), &line) == nil && line.Message == "ready" {
				ready <- [2]string{line.SSH, line.Web}
			}
		}
		read.Close()
		_ = cmd.Wait() // however it ended
		close(ended)
	}(f.ended)
	return ready
}

func (f *faulty) ready(ready <-chan [2]string) bool {
	f.Helper()
	select {
	case addr := <-ready:
		var err error
		_, f.port, err = net.SplitHostPort(addr[0])
		f.must(err)
		f.web = addr[1]
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
	return f.startPushTo(f.app+"/"+f.env, "main", words...)
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

func (f *faulty) push(words ...string) (ok bool, out string) {
	f.Helper()
	cmd, said := f.startPush(words...)
	return cmd.Wait() == nil, said.String()
}

// again pushes and insists.
func (f *faulty) again() {
	f.Helper()
	if ok, out := f.push(); !ok {
		f.Fatalf("the same push again fails:\n%s", out)
	}
}
