package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"slipway/builder"
)

func TestMain(m *testing.M) {
	// Git and builds start this very program again, which here is the test.
	if child := childOf(os.Args); child != nil {
		os.Exit(child())
	}
	if os.Getenv(envRemount) != "" {
		os.Exit(remountDisks())
	}
	if disks := os.Getenv(envMount); disks != "" {
		os.Exit(mountDisks(disks))
	}
	testscript.Main(m, map[string]func(){
		"slipway": func() { os.Exit(start(os.Args)) },
		"deaf":    func() { os.Exit(deaf()) },
	})
}

// TestScripts runs what a user types, over real git and ssh, against a real
// server on loopback.
func TestScripts(t *testing.T) {
	source := startSource(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "scripts"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup:               func(e *testscript.Env) error { return setup(e, source) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"https":  httpsVerb,
			"serve":  serveVerb,
			"stop":   stopVerb,
			"halt":   stopVerb, // stop is testscript's own, and ends the script
			"key":    keyVerb,
			"source": sourceVerb,
			"same":   sameVerb,
			"golden": goldenVerb,
			"until":  untilVerb,
			"signal": signalVerb,
			"pg":     pgVerb,
		},
	})
}

// world is what belongs to one script.
type world struct {
	mu     sync.Mutex
	server *process
	source *source
	pg     *postgresql
}

type process struct {
	cmd  *exec.Cmd
	log  *os.File
	wait chan error
}

type worldKey struct{}

// setup makes a script's world: a home, a git configuration, the name of DIR.
func setup(e *testscript.Env, src *source) error {
	w := &world{source: src}
	e.Values[worldKey{}] = w
	work := e.WorkDir
	home := filepath.Join(work, "user")
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		return err
	}
	gitConfig := "[user]\n\tname = Maria\n\temail = maria@corp.example\n[init]\n\tdefaultBranch = main\n" +
		"[protocol \"file\"]\n\tallow = always\n[advice]\n\tdetachedHead = false\n[commit]\n\tgpgsign = false\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(gitConfig), 0o600); err != nil {
		return err
	}
	repos := filepath.Join(work, "source")
	if err := os.MkdirAll(repos, 0o755); err != nil {
		return err
	}
	testdata, err := filepath.Abs(filepath.Join("..", "..", "testdata"))
	if err != nil {
		return err
	}
	e.Setenv("TESTDATA", testdata)
	e.Setenv("HOME", home)
	e.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	e.Setenv("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z")
	e.Setenv("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z")
	e.Setenv("DIR", filepath.Join(work, "dir"))
	e.Setenv("SLIPWAY_HOME", filepath.Join(work, "dir"))
	e.Setenv("REPOS", repos)
	e.Setenv("SOURCE", src.url(repos))
	e.Setenv("SOURCE_ROOT", src.url(""))
	e.Setenv("SOURCE_PORT", fmt.Sprint(src.port))
	e.Setenv("GIT_SSH_COMMAND", "ssh -F none -i "+filepath.Join(work, "maria")+" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR -o UserKnownHostsFile="+filepath.Join(work, "known"))
	e.Setenv("DEPLOY_SSH", e.Getenv("GIT_SSH_COMMAND"))
	e.Setenv("FRIENDLY_SSH", src.clientCommand)
	e.Setenv("GIT_TERMINAL_PROMPT", "0")
	e.Setenv("SSH_AUTH_SOCK", "")
	e.Defer(func() { w.stop(syscall.SIGKILL) })
	e.Defer(w.closePostgreSQL)
	return nil
}

func of(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// serveVerb: serve [ARGS] starts the server and waits for its ready line.
func serveVerb(ts *testscript.TestScript, neg bool, args []string) {
	w := of(ts)
	dir := ts.Getenv("DIR")
	if _, err := os.Stat(filepath.Join(dir, "server.toml")); errors.Is(err, os.ErrNotExist) {
		ts.Check(os.MkdirAll(dir, 0o711))
		ts.Check(os.WriteFile(filepath.Join(dir, "server.toml"), []byte(w.source.serverTOML(ts, "")), 0o600))
	}
	log, err := os.OpenFile(filepath.Join(ts.Getenv("WORK"), "server.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	ts.Check(err)
	read, write, err := os.Pipe()
	ts.Check(err)
	cmd := exec.Command(filepath.Join(binDir(ts), "slipway"), append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), "SLIPWAY_HOME="+dir, "HOME="+ts.Getenv("HOME"), "PATH="+ts.Getenv("PATH"))
	cmd.Stderr = write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ts.Check(cmd.Start())
	write.Close()
	p := &process{cmd: cmd, log: log, wait: make(chan error, 1)}
	ready := make(chan string, 1)
	go func() {
		in := bufio.NewScanner(read)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			fmt.Fprintln(log, in.Text())
			var line struct{ Message, SSH string }
			if json.Unmarshal(in.Bytes(), &line) == nil && line.Message == "ready" {
				ready <- line.SSH
			}
		}
		read.Close()
		p.wait <- cmd.Wait()
		close(ready)
	}()
	select {
	case addr, ok := <-ready:
		if !ok {
			text, _ := os.ReadFile(log.Name())
			if neg {
				ts.Check(os.WriteFile(ts.MkAbs("stderr"), text, 0o600))
				return
			}
			ts.Fatalf("the server ended:\n%s", text)
		}
		if neg {
			ts.Fatalf("the server started")
		}
		host, port, err := net.SplitHostPort(addr)
		ts.Check(err)
		if host == "::" || host == "" {
			host = "127.0.0.1"
		}
		w.mu.Lock()
		w.server = p
		w.mu.Unlock()
		ts.Setenv("PORT", port)
		ts.Setenv("REMOTE", "ssh://deploy@"+net.JoinHostPort(host, port))
		ts.Setenv("SERVER_PID", fmt.Sprint(cmd.Process.Pid))
	case <-time.After(30 * time.Second):
		ts.Fatalf("the server is not ready after 30 s")
	}
}

// binDir is where the test program lies under the name slipway.
func binDir(ts *testscript.TestScript) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "slipway")); err == nil {
			return dir
		}
	}
	ts.Fatalf("slipway is not in PATH")
	return ""
}

func (w *world) stop(sig syscall.Signal) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server == nil {
		return nil
	}
	p := w.server
	w.server = nil
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case err := <-p.wait:
		p.log.Close()
		if sig == syscall.SIGKILL {
			return nil
		}
		return err
	case <-time.After(60 * time.Second):
		return errors.Join(errors.New("the server does not end within 60 s"), p.cmd.Process.Kill())
	}
}

// stopVerb: stop [KILL] ends the server by SIGTERM, or kills it.
func stopVerb(ts *testscript.TestScript, _ bool, args []string) {
	sig := syscall.SIGTERM
	if len(args) > 0 && args[0] == "KILL" {
		sig = syscall.SIGKILL
	}
	ts.Check(of(ts).stop(sig))
}

// signalVerb: signal HUP sends the server a signal.
func signalVerb(ts *testscript.TestScript, _ bool, args []string) {
	sigs := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	w := of(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	ts.Check(w.server.cmd.Process.Signal(sigs[args[0]]))
}

// keyVerb: key NAME [FLAGS] makes a key pair NAME and adds it.
func keyVerb(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(filepath.Join(ts.Getenv("WORK"), args[0]))
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		ts.Check(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", args[0], "-f", path).Run())
	}
	cmd := exec.Command(filepath.Join(binDir(ts), "slipway"), append([]string{"key", "add"}, args...)...)
	cmd.Env = append(os.Environ(), "SLIPWAY_HOME="+ts.Getenv("DIR"))
	pub, err := os.Open(path + ".pub")
	ts.Check(err)
	defer pub.Close()
	cmd.Stdin = pub
	if out, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("key add: %v\n%s", err, out)
	}
}

// sourceVerb: source NAME makes an empty bare repository on the source.
func sourceVerb(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		path := filepath.Join(ts.Getenv("REPOS"), name)
		if out, err := exec.Command("git", "init", "-q", "--bare", "-b", "main", path).CombinedOutput(); err != nil {
			ts.Fatalf("git init: %v\n%s", err, out)
		}
	}
}

// sameVerb: same DIR1 DIR2 compares two trees, less .git: names, modes, links,
// bytes.
func sameVerb(ts *testscript.TestScript, neg bool, args []string) {
	a, b := treeOf(ts, args[0], args[2:]), treeOf(ts, args[1], args[2:])
	if (a == b) == neg {
		ts.Fatalf("%s:\n%s\n%s:\n%s", args[0], a, args[1], b)
	}
}

func treeOf(ts *testscript.TestScript, root string, but []string) string {
	root, err := filepath.EvalSymlinks(ts.MkAbs(root))
	ts.Check(err)
	var b strings.Builder
	ts.Check(filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		for _, name := range but {
			if rel == name {
				return nil
			}
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.Name() == ".git" && e.IsDir():
			return filepath.SkipDir
		case e.Name() == ".git" || rel == ".":
		case info.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			fmt.Fprintf(&b, "%s -> %s\n", rel, to)
			return err
		case e.IsDir():
			fmt.Fprintf(&b, "%s %v\n", rel, info.Mode())
		default:
			text, err := os.ReadFile(path)
			fmt.Fprintf(&b, "%s %v %q\n", rel, info.Mode(), text)
			return err
		}
		return nil
	}))
	return b.String()
}

// untilVerb: until FILE TEXT waits, at most 30 s, until the file has the text.
func untilVerb(ts *testscript.TestScript, _ bool, args []string) {
	end := time.Now().Add(30 * time.Second)
	for time.Now().Before(end) {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && (len(args) < 2 || strings.Contains(string(b), args[1])) {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	ts.Fatalf("%s does not come", args)
}

// goldenVerb: golden FILE [OF] compares the last standard error, or the file OF,
// as a pusher sees it, with a file, times and sizes and keys made equal. What
// that hides is checked first: widths, the column of times, ASCII.
func goldenVerb(ts *testscript.TestScript, _ bool, args []string) {
	of := "stderr"
	if len(args) > 1 {
		of = args[1]
	}
	text := ts.ReadFile(of)
	disciplined(ts, text)
	got := normal(ts, text)
	path := ts.MkAbs(args[0])
	want := strings.TrimRight(ts.ReadFile(path), "\n")
	got = strings.TrimRight(got, "\n")
	switch {
	case got == want:
	case os.Getenv("UPDATE_SCRIPTS") != "":
		ts.Check(update(filepath.Join(ts.Getenv("TESTDATA"), "scripts", ts.Name()+".txtar"), filepath.Base(path), got+"\n"))
	default:
		ts.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
}

// update puts text into a script as its file of that name.
func update(script, name, text string) error {
	all, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(all), "\n-- "+name+" --\n")
	if !found {
		return fmt.Errorf("%s has no %s", script, name)
	}
	if i := strings.Index("\n"+rest, "\n-- "); i >= 0 {
		text += rest[i:]
	}
	return os.WriteFile(script, []byte(before+"\n-- "+name+" --\n"+text), 0o644)
}

// stepTime is a time at the end of a line that is not part of its text.
var stepTime = regexp.MustCompile(`  (\d+\.\ds|\d+m\d\ds|\d+h\d\dm)$`)

// disciplined checks what holds for every line of ours: at most 71 columns of
// printable ASCII, times end in column 71, nothing trails, no two blank lines,
// one above and one below.
func disciplined(ts *testscript.TestScript, text string) {
	var ours []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "        ") // git pads over what was there
		line, remote := strings.CutPrefix(line, "remote: ")
		if !remote || strings.HasPrefix(line, "  |") {
			continue
		}
		ours = append(ours, line)
		switch {
		case len(line) > builder.Columns:
			ts.Fatalf("%d columns: %q", len(line), line)
		case strings.TrimRight(line, " ") != line:
			ts.Fatalf("trailing space: %q", line)
		case strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }):
			ts.Fatalf("not plain ASCII: %q", line)
		case stepTime.MatchString(line) && len(line) != builder.Columns:
			ts.Fatalf("the time ends in column %d: %q", len(line), line)
		case line == "" && len(ours) > 1 && ours[len(ours)-2] == "":
			ts.Fatalf("two blank lines:\n%s", text)
		}
	}
	if len(ours) > 0 && (ours[0] != "" || ours[len(ours)-1] != "") {
		ts.Fatalf("no blank line above and below:\n%s", text)
	}
}

// currentUser is the login that a source's sshd accepts: our own.
func currentUser() string {
	u, err := user.Current()
	if err != nil {
		return "root"
	}
	return u.Username
}
