package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway/builder"
	"slipway/config"
)

// daemon is a shell's way to leave something behind: it forks twice, has a
// session of its own, ignores what it is asked, and keeps the output open.
const daemon = `(setsid sh -c 'trap "" TERM HUP INT; touch "$HOME/up"; while :; do sleep 600; done' &) & until [ -e "$HOME/up" ]; do :; done; `

// processesIn lists the processes, other than ours, that have dir in their
// environment.
func processesIn(t *testing.T, dir string) (pids []int) {
	t.Helper()
	for _, pid := range processes() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && pid != os.Getpid() && bytes.Contains(env, []byte("HOME="+dir)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestNothingSurvivesABuild(t *testing.T) {
	for _, end := range []string{"exit 0", "exit 3", "kill -9 $$"} {
		r := newRig(t)
		_, err := r.build(daemon + end)
		if (err == nil) != (end == "exit 0") {
			t.Errorf("%s: %v", end, err)
		}
		if left := processesIn(t, r.dir); len(left) > 0 {
			t.Errorf("%s: processes %v are left", end, left)
		}
	}
}

// Without process namespaces a subreaper finds what was left.
func TestNothingSurvivesWithoutNamespaces(t *testing.T) {
	r := newRig(t)
	s := r.stage(1, nil)
	r.mustStage(s)
	b, err := r.box(t.Context(), s, shell(daemon))
	if err != nil {
		t.Fatal(err)
	}
	b.layers = Layers{Landlock: b.layers.Landlock}
	if os.Geteuid() == 0 { // without a view, its account cannot pass our directory
		for _, dir := range []string{r.dir, filepath.Dir(r.dir)} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.out, b.err = io.Discard, io.Discard
	if rep, err := b.run(t.Context()); err != nil && !errors.Is(err, exec.ErrWaitDelay) || rep.Status != 0 {
		t.Fatalf("%+v %v", rep, err)
	}
	if left := processesIn(t, r.dir); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestTimeAndCancelEndABuild(t *testing.T) {
	reason := errors.New("cancelled by ana")
	for _, name := range []string{"time", "cancel"} {
		r := newRig(t)
		s := r.stage(1, map[string]string{"postinstall": "#!/bin/sh\ntrap '' TERM\n" + daemon + "echo ready\nwhile :; do sleep 600; done"})
		ctx, cancel := context.WithCancelCause(t.Context())
		out := &signalWriter{text: "ready", seen: make(chan struct{})}
		if name == "time" {
			s.App.Build.Timeout = time.Second
		} else {
			go func() { <-out.seen; cancel(reason) }()
		}
		began := time.Now()
		err := r.Stage(ctx, s, out)
		cancel(nil)
		var late *builder.TimeoutError
		if name == "time" && !errors.As(err, &late) || name == "cancel" && !errors.Is(err, reason) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
		if left := processesIn(t, r.dir); len(left) > 0 {
			t.Errorf("%s: processes %v are left", name, left)
		}
	}
}

// signalWriter closes seen when text has come by.
type signalWriter struct {
	text string
	seen chan struct{}
	buf  bytes.Buffer
}

func (w *signalWriter) Write(b []byte) (int, error) {
	had := strings.Contains(w.buf.String(), w.text)
	w.buf.Write(b)
	if !had && strings.Contains(w.buf.String(), w.text) {
		close(w.seen)
	}
	return len(b), nil
}

const serverCommand = "test-server"

// serverMain is a server that builds what its arguments say.
func serverMain() int {
	ae, err := config.ParseAppEnv("shop/dev")
	if err != nil {
		return 1
	}
	h := New(Options{Root: os.Args[2], UID: func(context.Context, config.AppEnv) (int, error) { return testUID, nil }})
	s := builder.Stage{Ref: builder.Ref{AppEnv: ae, Number: 1}, Build: 1, App: &config.AppFile{}}
	s.App.Build.Timeout, s.App.Build.Network = time.Minute, true
	if err := h.Stage(context.Background(), s, os.Stdout); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestBuildDoesNotOutliveTheServer(t *testing.T) {
	r := newRig(t)
	r.stage(1, map[string]string{"postinstall": "#!/bin/sh\ntrap '' TERM\n" + daemon + "echo ready\nwhile :; do sleep 600; done"})
	server := exec.Command(os.Args[0], serverCommand, r.o.Root)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	pids := processesIn(t, r.dir)
	if len(pids) == 0 {
		t.Fatal("the build does not run")
	}
	var fds []int
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			defer unix.Close(fd)
			fds = append(fds, fd)
		}
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	server.Wait()
	if left, err := waitProcesses(t.Context(), fds, 5*time.Second); left > 0 || err != nil {
		t.Errorf("%d processes are left, %v", left, err)
	}
}

// Landlock alone, where there are no namespaces, keeps a build to its own too.
func TestLandlockAlone(t *testing.T) {
	if landlockABI() == 0 {
		t.Skip("this kernel has no Landlock")
	}
	r := newRig(t)
	for _, dir := range []string{r.dir, filepath.Dir(r.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(r.dir, "keys")
	if err := os.WriteFile(secret, []byte("top secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	for _, dir := range []string{outside, filepath.Dir(outside)} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	s := r.stage(1, nil)
	r.mustStage(s)
	b, err := r.box(t.Context(), s, shell("cat "+secret+"; echo x > "+outside+"/x; mv "+filepath.Join(r.o.Root, "shop/releases")+" "+outside+
		"; kill -0 "+strconv.Itoa(os.Getpid())+" && echo signalled; touch own $HOME/own $TMPDIR/own; ls own $HOME/own; date >/dev/null && echo end"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b.layers, b.out, b.err = Layers{Landlock: b.layers.Landlock}, &out, io.Discard
	rep, err := b.run(t.Context())
	app := filepath.Join(r.o.Root, "shop")
	if err != nil || rep.Status != 0 || out.String() != app+"/releases/1.home/own\nown\nend\n" || !gone(outside+"/x") || gone(app+"/releases/1") {
		t.Errorf("%+v %v\n%s", rep, err, out.String())
	}
}

// What pushed code must not be able to do, each by a shell that says "done" if
// it could.
func TestHostileBuild(t *testing.T) {
	r := newRig(t)
	secret := filepath.Join(r.dir, "keys")
	if err := os.WriteFile(secret, []byte("top secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "id"), []byte("top secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.o.Hidden = append(r.o.Hidden, home)

	// A neighbour: built, live, and with a process that runs.
	mine := r.ae
	r.ae = appEnv(t, "other/dev")
	s := r.stage(1, map[string]string{"code": "top secret", "postinstall": "#!/bin/sh\necho x > $HOME/x; chmod -R a+rX $HOME . \n"})
	r.mustStage(s)
	if err := r.switchTo(1, 0, 1); err != nil {
		t.Fatal(err)
	}
	in, stdin := io.Pipe()
	ready := &signalWriter{text: "ready", seen: make(chan struct{})}
	ran := make(chan error, 1)
	go func() {
		exit, err := r.Run(context.WithoutCancel(t.Context()), s, []string{"sh", "-c", "echo ready; cat; echo end"}, builder.Stdio{In: in, Out: ready, Err: ready}, nil)
		ran <- errors.Join(err, map[bool]error{true: nil, false: fmt.Errorf("exit %d", exit)}[exit == 0])
	}()
	<-ready.seen
	neighbours := processesIn(t, filepath.Join(r.o.Root, "other"))
	if len(neighbours) == 0 {
		t.Fatal("the neighbour does not run")
	}

	abstract, err := net.Listen("unix", "@slipway-test-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()

	r.ae = mine
	app := filepath.Join(r.o.Root, "shop")
	other := filepath.Join(r.o.Root, "other")
	tries := map[string]string{
		"read DIR":             "cat " + secret,
		"list DIR":             "ls " + r.dir + " | grep -q keys",
		"read a home":          "cat " + home + "/id",
		"read /root":           "ls -A /root | grep -q .",
		"see a neighbour":      "ls " + other,
		"read its code":        "cat " + other + "/releases/1/code",
		"read its vars":        "cat " + other + "/releases/1.home/environment.json",
		"move current":         "ln -sfn releases/9 " + app + "/current",
		"write a manifest":     "echo x > " + app + "/releases/1.json",
		"add a release":        "mkdir " + app + "/releases/9",
		"write the generation": "echo 99 > " + app + "/.generation",
		"remove the app":       "mv " + app + "/releases " + app + "/r2",
		"write the system":     "touch /usr/slipway-test || touch /etc/slipway-test || touch /var/slipway-test",
		"leave a temp file":    "touch /tmp/slipway-leak /var/tmp/slipway-leak /dev/shm/slipway-leak && false",
		"read environments":    "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -q '^HOME=" + other + "'",
		"read our environment": "cat /proc/1/environ 2>/dev/null | grep -q .",
		"read our memory":      "cat /proc/1/maps | grep -q . || cat /proc/1/mem",
		"read stdin":           "read x && test -n \"$x\"",
		"open a terminal":      "echo x > /dev/tty",
		"use a descriptor":     "ls /proc/self/fd | grep -v '^[0-3]$' | grep -q .",
		"gain rights":          "grep -v '0000000000000000$' /proc/self/status | grep -q '^Cap'",
		"new privileges":       "grep -q 'NoNewPrivs:.0' /proc/self/status",
		"dump core":            "test \"$(ulimit -c)\" != 0",
		"mount":                "unshare -Urm mount -t tmpfs x /usr",
		"umount":               "unshare -Urm umount " + r.dir,
	}
	for _, pid := range append(neighbours, os.Getpid(), os.Getppid()) {
		tries["signal "+strconv.Itoa(pid)] = fmt.Sprintf("kill -0 %d 2>/dev/null && tr '\\0' ' ' < /proc/%d/cmdline | grep -q -e 'cat' -e %s", pid, pid, filepath.Base(os.Args[0]))
	}
	if _, err := exec.LookPath("python3"); err == nil && landlockABI() >= 6 {
		tries["abstract socket"] = "/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"\\0slipway-test-" + strconv.Itoa(os.Getpid()) + "\")'"
	}
	var script strings.Builder
	for name, try := range tries {
		fmt.Fprintf(&script, "if ( %s ) >/dev/null 2>&1 ; then echo 'DONE: %s'; fi\n", try, name)
	}
	script.WriteString("echo finished; id -u; cat /proc/self/status | grep -i groups")
	out, err := r.build(script.String())
	if err != nil || !strings.Contains(out, "finished") || strings.Contains(out, "DONE") {
		t.Errorf("%v\n%s", err, out)
	}
	if os.Geteuid() == 0 && !strings.Contains(out, "\n"+strconv.Itoa(testUID)+"\n") {
		t.Errorf("the build did not run as its own account:\n%s", out)
	}
	if !gone("/tmp/slipway-leak") || !gone("/var/tmp/slipway-leak") {
		t.Error("temporary files of a build are the machine's")
	}
	stdin.Close()
	if err := <-ran; err != nil || !strings.Contains(ready.buf.String(), "end") {
		t.Errorf("the neighbour was disturbed: %v %q", err, ready.buf.String())
	}
}

func TestBuildCanDoItsWork(t *testing.T) {
	r := newRig(t)
	out, err := r.build(`set -e
touch tree "$HOME/h" "$HOME/.cache/c" "$TMPDIR/t" /tmp/t2 ../../shared/s
mv tree "$HOME/tree"; mv "$HOME/tree" .; ln tree tree2; mkfifo fifo
echo x > /dev/null; head -c 8 /dev/urandom > r
echo $$ > pid; test "$(cat pid)" = $$
pwd; umask
sh -c 'kill -TERM $$' 2>/dev/null || echo "child $?"
sleep 600 & kill -0 $!; kill $!
ls / > l; cat /etc/passwd > p
echo 0 > /proc/self/oom_score_adj
cat <<EOF > here
b
EOF
test "$(cat here)" = b`)
	if err != nil || out != filepath.Join(r.o.Root, "shop/releases/1")+"\n0022\nchild 143\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if entries, err := os.ReadDir(filepath.Join(r.o.Root, "shop/tmp/1")); err != nil || len(entries) != 0 {
		t.Errorf("temporary files are left: %v %v", entries, err)
	}
}

func TestNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []bool{true, false} {
		r := newRig(t)
		s := r.stage(1, nil)
		s.App.Build.Network = network
		s.App.Build.Postinstall = "grep -c : /proc/net/dev; bash -c 'exec 3<>/dev/tcp/127.0.0.1/" + port + "' 2>/dev/null && echo connected; true"
		out := r.mustStage(s)
		if strings.Contains(out, "connected") != network {
			t.Errorf("network %v: %s", network, out)
		}
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t)
	r.o.Limits.Processes, r.o.Limits.OpenFiles, r.o.Limits.Memory = 40, 64, 512<<20
	out, err := r.build("ulimit -n; for i in $(seq 100); do sleep 600 & done; echo all")
	if err == nil || strings.Contains(out, "all\n") || !strings.HasPrefix(out, "64\n") {
		t.Errorf("100 processes where 40 are the limit: %v\n%s", err, out)
	}
	out, err = r.build("head -c 2G /dev/zero | tail -n 1 | wc -c")
	if strings.Contains(out, strconv.Itoa(2<<30)) {
		t.Errorf("2 GiB of memory where 512 MiB are the limit: %v\n%s", err, out)
	}
}

func TestFailuresOfPostinstall(t *testing.T) {
	for _, c := range []struct{ script, want, hint string }{
		{"#!/bin/sh\nexit 7\n", "postinstall exited 7", ""},
		{"#!/bin/sh\nkill -9 $$\n", "postinstall was ended by signal killed", ""},
		{"#!/opt/no/such/thing\n", "postinstall cannot start: ./postinstall, or the interpreter", "first line"},
		{"just text\n", "is no program", "#!/bin/sh"},
	} {
		r := newRig(t)
		err := r.Stage(t.Context(), r.stage(1, map[string]string{"postinstall": c.script}), io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(config.Hint(err), c.hint) {
			t.Errorf("%q: %v (hint: %s)", c.script, err, config.Hint(err))
		}
	}
}

func TestGreatOutputDoesNotHang(t *testing.T) {
	r := newRig(t)
	s := r.stage(1, nil)
	s.App.Build.Postinstall = "head -c 1G /dev/zero"
	var count counter
	if err := r.Stage(t.Context(), s, &count); err != nil || count != 1<<30 {
		t.Errorf("%d bytes, %v", count, err)
	}
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

func TestRestartLeavesDaemonsRunning(t *testing.T) {
	r := newRig(t)
	s := r.stage(1, nil)
	s.App.Deploy.Restart = daemon + "echo started $SLIPWAY_RELEASE"
	r.mustStage(s)
	if err := r.switchTo(1, 0, 1); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Restart(t.Context(), s, &out); err != nil || out.String() != "started 1\n" {
		t.Fatalf("%v %q", err, out.String())
	}
	pids := processesIn(t, r.dir)
	if len(pids) == 0 {
		t.Fatal("the daemon is gone")
	}
	// The next one finds it, and may end it.
	s.App.Deploy.Restart = "kill -9 " + strconv.Itoa(pids[0])
	if err := r.Restart(t.Context(), s, &out); err != nil {
		t.Errorf("%v %q", err, out.String())
	}
	s.App.Deploy.Restart = "rm $HOME/up; " + daemon
	if err := r.Restart(t.Context(), s, &out); err != nil {
		t.Errorf("%v %q", err, out.String())
	}
	if err := r.switchTo(2, 1, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.Discard(t.Context(), r.ref(1)); err != nil {
		t.Fatal(err)
	}
	if left := processesIn(t, r.dir); len(left) > 0 {
		t.Errorf("processes %v of a release that was discarded are left", left)
	}
}

func TestRun(t *testing.T) {
	r := newRig(t)
	s := r.stage(1, nil)
	r.mustStage(s)
	var out, errs bytes.Buffer
	never, end := io.Pipe() // a client that does not close its side
	defer end.Close()
	exit, err := r.Run(t.Context(), s, []string{"sh", "-c", "echo $SLIPWAY_APP; echo bad >&2; exit 5"}, builder.Stdio{In: never, Out: &out, Err: &errs}, nil)
	if exit != 5 || err != nil || out.String() != "shop\n" || errs.String() != "bad\n" {
		t.Errorf("%d %v %q %q", exit, err, out.String(), errs.String())
	}
	out.Reset()
	exit, err = r.Run(t.Context(), s, []string{"sort"}, builder.Stdio{In: strings.NewReader("b\na\n"), Out: &out, Err: &errs}, nil)
	if exit != 0 || err != nil || out.String() != "a\nb\n" {
		t.Errorf("%d %v %q", exit, err, out.String())
	}
	if _, err := r.Run(t.Context(), s, []string{"no-such-command"}, builder.Stdio{Out: &out, Err: &errs}, nil); err == nil || config.Hint(err) == "" {
		t.Errorf("a command that is not there: %v", err)
	}
	exit, err = r.Run(t.Context(), s, []string{"sh", "-c", "kill -TERM $$"}, builder.Stdio{Out: &out, Err: &errs}, nil)
	if exit != 128+int(syscall.SIGTERM) || err != nil {
		t.Errorf("ended by a signal: %d %v", exit, err)
	}

	out.Reset()
	sizes := make(chan [2]int, 1)
	in, keys := io.Pipe()
	defer keys.Close()
	tty := &builder.Terminal{Term: "vt100", Rows: 24, Columns: 80, Resize: sizes}
	exit, err = r.Run(t.Context(), s, []string{"sh", "-c", "test -t 0 && test -t 1 && echo x > /dev/tty && echo $TERM && stty size"}, builder.Stdio{In: in, Out: &out}, tty)
	if got := out.String(); exit != 0 || err != nil || got != "x\r\nvt100\r\n24 80\r\n" {
		t.Errorf("terminal: %d %v %q", exit, err, got)
	}
	close(sizes)
}

func TestDoctor(t *testing.T) {
	checks := newRig(t).Doctor(t.Context())
	for _, c := range checks {
		t.Logf("%+v", c)
		if c.Level != "ok" && c.Hint == "" {
			t.Errorf("%+v has no hint", c)
		}
	}
	required := New(Options{Limits: config.Limits{Sandbox: "require"}}).checkSandbox(Layers{})
	if len(required) < 4 || required[0].Level != "fail" {
		t.Errorf("a machine without a sandbox: %+v", required)
	}
}
