package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// source is a real sshd that stands for the internal git server; every script
// has its own repositories on it.
type source struct {
	ip            string
	port          int
	user          string
	dir           string
	hostKey       string // as a line of known_hosts has it: type and base64
	clientCommand string
}

// startSource starts sshd as our own user, on a port that it found free.
func startSource(t *testing.T) *source { t.Helper(); return startSourceAt(t, "127.0.0.1") }

func startSourceAt(t *testing.T, ip string) *source {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(sshd); err != nil {
		t.Fatalf("these tests need a real sshd: apt-get install openssh-server (%v)", err)
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd insists, as root
			t.Fatal(err)
		}
	}
	s := &source{ip: ip, user: currentUser(), dir: t.TempDir()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"host", "client"} {
		must(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, name)).Run())
	}
	pub, err := os.ReadFile(filepath.Join(s.dir, "client.pub"))
	must(err)
	gate := filepath.Join(s.dir, "gate")
	// Protocol v2 must get through, as on any git server.
	must(os.WriteFile(gate, []byte("#!/bin/sh\necho connected >> \"$(dirname \"$0\")/sessions\"\nexec git-shell -c \"$SSH_ORIGINAL_COMMAND\"\n"), 0o700))
	must(os.WriteFile(filepath.Join(s.dir, "authorized"), []byte(fmt.Sprintf("restrict,command=%q %s", gate, pub)), 0o600))
	hostPub, err := os.ReadFile(filepath.Join(s.dir, "host.pub"))
	must(err)
	s.hostKey = strings.Join(strings.Fields(string(hostPub))[:2], " ")
	s.clientCommand = "ssh -F none -i " + filepath.Join(s.dir, "client") + " -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR -o UserKnownHostsFile=/dev/null"

	for range 20 { // a port that was free a moment ago may be taken by now
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		must(err)
		s.port = l.Addr().(*net.TCPAddr).Port
		l.Close()
		config := fmt.Sprintf(`Port %d
ListenAddress %s
HostKey %s/host
AuthorizedKeysFile %s/authorized
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin yes
AcceptEnv GIT_PROTOCOL
MaxStartups 200
LogLevel ERROR
`, s.port, ip, s.dir, s.dir)
		must(os.WriteFile(filepath.Join(s.dir, "config"), []byte(config), 0o600))
		cmd := exec.Command(sshd, "-D", "-e", "-f", filepath.Join(s.dir, "config"))
		must(cmd.Start())
		over := make(chan error, 1)
		go func() { over <- cmd.Wait() }()
		if answers(net.JoinHostPort(ip, strconv.Itoa(s.port)), over) {
			t.Cleanup(func() { _ = cmd.Process.Kill(); <-over })
			return s
		}
	}
	t.Fatal("sshd does not start")
	return nil
}

// answers waits until something listens there, or the process is over.
func answers(addr string, over chan error) bool {
	for range 500 {
		select {
		case <-over:
			return false
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return true
		}
		<-time.After(10 * time.Millisecond)
	}
	return false
}

// declare puts the source's key and host key into DIR, and returns its part of
// server.toml: every repository below repos.
func (s *source) declare(dir, repos string) (string, error) {
	key, err := os.ReadFile(filepath.Join(s.dir, "client"))
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "keys"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "keys", "source"), key, 0o600)
	}
	if err == nil {
		known := s.known()
		err = os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(known), 0o600)
	}
	return fmt.Sprintf(`[[sources]]
url = "%s/"
identity = "keys/source"
known_hosts = "known_hosts"
instead_of = ["git@git.corp.local:"]
`, s.url(repos)), err
}

// known is the line of known_hosts that pins it.
func (s *source) known() string { return fmt.Sprintf("[%s]:%d %s\n", s.ip, s.port, s.hostKey) }

// url is where a directory of the source's machine is reached.
func (s *source) url(path string) string {
	return fmt.Sprintf("ssh://%s@%s:%d%s", s.user, s.ip, s.port, path)
}

// serverTOML is the configuration that scripts get if they have none: the
// source with its key, and three environments.
func (s *source) serverTOML(ts *testscript.TestScript, more string) string {
	sources, err := s.declare(ts.Getenv("DIR"), ts.Getenv("REPOS"))
	ts.Check(err)
	return `[ssh]
listen = "127.0.0.1:0"
address = "deploy@ship.corp:2222"

` + sources + `
[environments.dev]
target = "local"

[environments.staging]
target = "local"

[environments.prod]
target = "local"
protected = true
` + more
}

var (
	tookTime = regexp.MustCompile(` +\d+(\.\d)?(s|m\d\ds)( |$)`)
	after    = regexp.MustCompile(`\b(in|for) \d+(\.\d)?s\b`)
	waited   = regexp.MustCompile(`^remote: Waited    \d+s`)
	finger   = regexp.MustCompile(`SHA256:[A-Za-z0-9+/]{43}`)
	loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	amount   = regexp.MustCompile(`\d+(\.\d+)? (B|KiB|MiB)`)
	short    = regexp.MustCompile(`\b[0-9a-f]{7}\b`)
)

// folded is where a word that is longer than a line was cut, below a detail.
var folded = regexp.MustCompile(`(?m)^(remote:       [^ ]{65}) *\nremote:       ([^ ]+) *$`)

// unfolded puts such words together again: how long they are hangs on where the
// tests run.
func unfolded(text string) string {
	for folded.MatchString(text) {
		text = folded.ReplaceAllString(text, "$1$2")
	}
	return text
}

// normal makes what differs from run to run equal: times, sizes, object names,
// git's padding of sideband lines.
func normal(ts *testscript.TestScript, text string) string {
	var out []string
	names := map[string]string{}
	for _, line := range strings.Split(unfolded(strings.ReplaceAll(text, "\x1b[K", "")), "\n") {
		if strings.HasPrefix(line, "To ") {
			line = "To REMOTE"
		}
		line = strings.TrimRight(line, " ")
		line = after.ReplaceAllString(line, "$1 TIME")
		line = waited.ReplaceAllString(line, "remote: Waited    TIME")
		line = finger.ReplaceAllString(line, "FINGERPRINT")
		line = tookTime.ReplaceAllString(line, " TIME")
		line = amount.ReplaceAllString(line, "SIZE")
		line = short.ReplaceAllStringFunc(line, func(s string) string {
			if s == "ed25519" {
				return s
			}
			if names[s] == "" {
				names[s] = fmt.Sprintf("COMMIT%d", len(names)+1)
			}
			return names[s]
		})
		line = strings.ReplaceAll(line, ts.Getenv("WORK"), "$WORK")
		line = loopback.ReplaceAllString(line, "127.0.0.1:PORT")
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
