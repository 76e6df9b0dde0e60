package receiver

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

// session opens a raw channel, whose requests a test makes by itself.
func session(t *testing.T, c *gossh.Client) gossh.Channel {
	t.Helper()
	ch, requests, err := c.OpenChannel("session", nil)
	must(t, err)
	go gossh.DiscardRequests(requests)
	return ch
}

func ask(t *testing.T, ch gossh.Channel, name string, payload any) bool {
	t.Helper()
	ok, err := ch.SendRequest(name, true, gossh.Marshal(payload))
	must(t, err)
	return ok
}

type text struct{ S string }

// B10: forwardings are refused, and the third ends the connection.
func TestOtherChannels(t *testing.T) {
	d := openDoor(t, options{})
	c := d.client()
	if r := execOn(t, c, "x"); r.status != 0 {
		t.Fatal(r)
	}
	for _, kind := range []string{"direct-tcpip", "x11", "auth-agent@openssh.com"} {
		_, _, err := c.OpenChannel(kind, nil)
		if err == nil {
			t.Fatalf("%s was opened", kind)
		}
		if kind != "auth-agent@openssh.com" { // whose answer races with the end
			contains(t, kind, err.Error(), "administratively prohibited")
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	wait(t, "the connection's end", ended)
	if ok, _, err := d.client().SendRequest("tcpip-forward", true, nil); ok || err != nil {
		t.Errorf("tcpip-forward: %v, %v", ok, err)
	}
}

// B13, B14, B17 and what else may be asked of a session.
func TestSessionRequests(t *testing.T) {
	protocols := make(chan string, 1)
	d := openDoor(t, options{
		git: func(_ context.Context, r GitRequest, io Stdio) int { protocols <- r.Protocol; return 0 },
		command: func(_ context.Context, _ store.Caller, argv []string, stdio Stdio, tty *builder.Terminal) int {
			_, err := io.Copy(stdio.Out, stdio.In)
			if err != nil {
				return 1
			}
			return 0
		},
	})
	c := d.client()
	type env struct{ Name, Value string }
	for _, e := range []env{
		{"LD_PRELOAD", "x"},
		{"GIT_SSH_COMMAND", "x"},
		{"GIT_CONFIG_COUNT", "1"},
		{"PATH", "/"},
		{"LANG", "C"},
		{"GIT_PROTOCOL", "x;id"},
		{"GIT_PROTOCOL", "version=3"},
		{"GIT_PROTOCOL", "version=2\n"},
		{"GIT_PROTOCOL", ""},
		{"GIT_PROTOCOL", "version=22"},
		{"GIT_PROTOCOL", " version=2"},
		{"git_protocol", "version=2"},
	} {
		ch := session(t, c)
		if ask(t, ch, "env", e) {
			t.Errorf("%v was taken", e)
		}
		if !ask(t, ch, "exec", text{"git-upload-pack 'shop/prod'"}) {
			t.Error("exec was refused")
		}
		if got := wait(t, "git", protocols); got != "" {
			t.Errorf("%v became %q", e, got)
		}
		ch.Close()
	}
	for value, want := range map[string]string{"version=2": "version=2", "version=1:x=y": "version=1", "version=0": "version=0"} {
		ch := session(t, c)
		if !ask(t, ch, "env", env{"GIT_PROTOCOL", value}) {
			t.Errorf("%s was refused", value)
		}
		ask(t, ch, "exec", text{"git-receive-pack 'shop/prod'"})
		if got := wait(t, "git", protocols); got != want {
			t.Errorf("%s became %q", value, got)
		}
		ch.Close()
	}
	ch := session(t, c)
	for _, name := range []string{"auth-agent-req@openssh.com", "x11-req", "subsystem", "break", "signal", "window-change", "nonsense"} {
		if ask(t, ch, name, text{"sftp"}) {
			t.Errorf("%s was taken", name)
		}
	}
	for _, malformed := range []any{struct{ N uint32 }{99}, struct{ A, B string }{"git", "x"}} {
		if ask(t, ch, "exec", malformed) {
			t.Errorf("exec %v was taken", malformed)
		}
	}
	if ask(t, ch, "pty-req", text{"../x"}) || !ask(t, ch, "exec", text{"cat"}) {
		t.Error("after all of these exec is refused")
	}
	for _, name := range []string{"exec", "shell", "pty-req", "env"} {
		if ask(t, ch, name, text{"cat"}) {
			t.Errorf("a second %s was taken", name)
		}
	}
	if _, err := io.WriteString(ch, "hello"); err != nil {
		t.Error(err)
	}
	must(t, ch.CloseWrite())
	if got, err := io.ReadAll(ch); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Trap 6: an empty command is no shell request.
func TestEmptyCommand(t *testing.T) {
	d := openDoor(t, options{})
	c := d.client()
	for _, raw := range []string{"", " ", "git-receive-pack 'shop/prod", "releases 'x"} {
		r := execOn(t, c, raw)
		if r.status != 2 || !strings.Contains(r.err+r.out, "hint: ") || strings.Contains(r.out, "ana") {
			t.Errorf("%q: %+v", raw, r)
		}
	}
	if r := finish(t, d.ssh(anyone, "releases `id`")); r.status != 2 || !strings.HasPrefix(r.err, "error: ") {
		t.Errorf("%+v", r)
	}
}

// B15: a flood of requests ends the connection, with little of it kept.
func TestFlood(t *testing.T) {
	for name, request := range map[string]struct {
		kind    string
		payload any
	}{
		"env":           {"env", struct{ K, V string }{"GIT_PROTOCOL", "version=2"}},
		"signal":        {"signal", text{"USR1"}},
		"window-change": {"window-change", struct{ A, B, C, D uint32 }{80, 24, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t, options{})
			c := d.client()
			ch := session(t, c)
			ask(t, ch, "pty-req", struct {
				T          string
				A, B, C, D uint32
				M          string
			}{"xterm", 80, 24, 0, 0, ""})
			var n int
			for n = 0; n < 10_000; n++ {
				if _, err := ch.SendRequest(request.kind, true, gossh.Marshal(request.payload)); err != nil {
					break
				}
			}
			if n < 900 || n > 2000 {
				t.Errorf("ended after %d", n)
			}
		})
	}
}

// B16: ten sessions on one connection, no more.
func TestSessionsAtOnce(t *testing.T) {
	started, ended := make(chan struct{}, 100), make(chan error, 100)
	d := openDoor(t, options{command: held(started, ended)})
	c := d.client()
	var open []gossh.Channel
	for range maxSessions {
		ch := session(t, c)
		ask(t, ch, "exec", text{"hold"})
		wait(t, "the command", started)
		open = append(open, ch)
	}
	for range 90 {
		if _, _, err := c.OpenChannel("session", nil); err == nil {
			t.Fatal("one more was opened")
		} else if !strings.Contains(err.Error(), "too many sessions") {
			t.Fatal(err)
		}
	}
	must(t, open[0].Close())
	wait(t, "its cancel", ended)
	for {
		ch, requests, err := c.OpenChannel("session", nil)
		if err == nil { // its place is free in a moment
			go gossh.DiscardRequests(requests)
			ch.Close()
			break
		}
	}
}

// A connection on which nothing runs ends.
func TestIdle(t *testing.T) {
	d := openDoor(t, options{timing: func(t *timing) {
		t.tick, t.firstOpen, t.idle = 10*time.Millisecond, 300*time.Millisecond, 400*time.Millisecond
	}})
	for _, use := range []bool{false, true} {
		c := d.client()
		if use {
			execOn(t, c, "x")
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		wait(t, "the end", ended)
	}
}

// B11, B12 with real clients.
func TestRealRefusals(t *testing.T) {
	d := openDoor(t, options{})
	if r := finish(t, d.ssh("-tt", anyone, "git-receive-pack 'shop/prod'")); r.status != 2 || !strings.Contains(r.out, "ERR git uses no terminal") {
		t.Errorf("terminal: %+v", r)
	}
	args := d.sshArgs("ana")
	for i := range args {
		if args[i] == "-p" {
			args[i] = "-P"
		}
	}
	file := filepath.Join(d.dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for option, text := range map[string]string{
		"-s": "subsystem request failed", "-O": "error: no files are copied by scp here\nhint: deploy",
	} {
		scp := exec.Command("scp", append(append([]string{option}, args...), file, anyone+":x")...)
		if r := finish(t, scp); r.status == 0 || !strings.Contains(r.err, text) {
			t.Errorf("scp %s: %+v", option, r)
		}
	}
}

// Trap 20: stock git shows a refusal as it is meant, whatever the protocol.
func TestRefuseToGit(t *testing.T) {
	d := openDoor(t, options{})
	repo := filepath.Join(d.dir, "repo")
	git := func(args ...string) *exec.Cmd {
		c := exec.Command("git", args...)
		c.Dir = d.dir
		ssh := "ssh"
		for _, a := range d.sshArgs("ana") {
			ssh += " '" + a + "'"
		}
		c.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C", "GIT_SSH_COMMAND=" + ssh,
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
		}
		return c
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main", repo}, {"-C", repo, "commit", "-q", "--allow-empty", "-m", "x"}} {
		if r := finish(t, git(args...)); r.status != 0 {
			t.Fatal(r)
		}
	}
	remote := func(path string) string { return "ssh://" + anyone + path }
	for _, version := range []string{"0", "1", "2"} {
		for _, c := range []struct {
			args []string
			text string
		}{
			{[]string{"push", remote("/shop/prod"), "main"}, "fatal: remote error: receive-pack of shop/prod is not for you\nhint: ask ana"},
			{[]string{"push", anyone + ":shop/prod", "main"}, "fatal: remote error: receive-pack of shop/prod is not for you\nhint: ask ana"},
			{[]string{"ls-remote", remote("/shop/prod.git")}, "fatal: remote error: upload-pack of shop/prod is not for you\nhint: ask ana"},
			{[]string{"fetch", remote("/shop/prod/")}, "fatal: remote error: upload-pack of shop/prod is not for you"},
			{[]string{"push", remote("/shop"), "main"}, "fatal: remote error: \"/shop\" is not APP/ENV\nhint: a remote ends in"},
			{[]string{"archive", "--remote", remote("/shop/prod"), "main"}, "fatal: remote error: archives are not served"},
		} {
			r := finish(t, git(append([]string{"-C", repo, "-c", "protocol.version=" + version}, c.args...)...))
			if r.status != 128 || !strings.HasPrefix(r.err, c.text) || strings.Contains(r.err, "protocol error") {
				t.Errorf("version %s, %v: %+v", version, c.args[0], r)
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	var out strings.Builder
	err := fmt.Errorf("above: %w", config.Errorf(config.NotFound, "look\nelsewhere", "no\x1b[31m\n%s", strings.Repeat("x", 1<<20)))
	if status := Refuse(&out, err); status != 4 {
		t.Errorf("status %d", status)
	}
	line := out.String()
	var n int
	if _, err := fmt.Sscanf(line[:4], "%04x", &n); err != nil || n != len(line) || n > 65520 {
		t.Errorf("length %q of %d", line[:4], len(line))
	}
	if strings.Count(line, "\n") != 1 || strings.Contains(line, "\x1b") || !strings.HasSuffix(line, "\nhint: look elsewhere") {
		t.Errorf("%.100q", line)
	}
}

func TestNewChecksItsOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no options are enough")
	}
	d := openDoor(t, options{})
	o := d.o
	o.Listen = d.Addr().(*net.TCPAddr).String()
	if _, err := New(o); err == nil || config.Hint(err) == "" {
		t.Errorf("a taken port: %v", err)
	}
}
