// Package sshdtest runs real OpenSSH servers for tests, as who runs the test
// and for that login alone. Nothing but tests uses it.
package sshdtest

import (
	"bytes"
	"crypto"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"slipway/config"
)

// Options are what differs from an sshd of one ed25519 host key on a free port
// of 127.0.0.1.
type Options struct {
	IP      string        // "" is 127.0.0.1
	Port    int           // 0 is one that is free
	HostKey crypto.Signer // nil is a new one
	Config  string        // lines before ours; sshd takes the first of a kind
	Wrap    []string      // words before sshd's own: ip netns exec NAME
	Env     []string      // NAME=VALUE that sessions have
}

// Server is an sshd that runs until the test ends.
type Server struct {
	Host       config.Host // where it is, and the login that it takes
	Key        ssh.Signer  // its host key
	Log        string      // path of what it writes
	Authorized string      // path of its authorized_keys, empty at first

	argv []string
	cmd  *exec.Cmd
	over chan error // gets one value
}

// mark is a variable by which the processes of a server are known.
const mark = "SSHDTEST_SERVER"

// Start returns once the server listens.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd" // not in an ordinary user's PATH
	}
	if _, err := os.Stat(sshd); err != nil {
		t.Fatalf("this test needs a real sshd: apt-get install openssh-server (%v)", err)
	}
	if os.Geteuid() == 0 {
		check(t, os.MkdirAll("/run/sshd", 0o755)) // sshd insists, as root
	}
	me, err := user.Current()
	check(t, err)
	if o.IP == "" {
		o.IP = "127.0.0.1"
	}
	if o.HostKey == nil {
		o.HostKey = NewKey(t, "ed25519")
	}
	dir := t.TempDir()
	WriteKey(t, filepath.Join(dir, "host"), o.HostKey)
	s := &Server{
		Host: config.Host{User: me.Username, Name: o.IP, Port: o.Port}, Key: Signer(t, o.HostKey),
		Log: filepath.Join(dir, "log"), Authorized: filepath.Join(dir, "authorized"),
	}
	check(t, os.WriteFile(s.Authorized, nil, 0o600))
	for range 20 { // a port that was free a moment ago may be taken by now
		if o.Port == 0 {
			s.Host.Port = freePort(t, o.IP)
		}
		text := fmt.Sprintf("SetEnv %s\n%s\nPort %d\nListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\n"+
			"PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\nLogLevel VERBOSE\n",
			strings.Join(append(o.Env, mark+"="+s.Log), " "), o.Config, s.Host.Port, o.IP, dir, s.Authorized)
		check(t, os.WriteFile(filepath.Join(dir, "config"), []byte(text), 0o600))
		s.argv = append(append([]string{}, o.Wrap...), sshd, "-D", "-E", s.Log, "-f", filepath.Join(dir, "config"))
		if s.start(t) {
			t.Cleanup(s.stop)
			return s
		}
	}
	log, _ := os.ReadFile(s.Log)
	t.Fatalf("sshd does not start: %s", log)
	return nil
}

func (s *Server) start(t testing.TB) bool {
	t.Helper()
	s.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	// A test that is killed cleans nothing up.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.over = make(chan error, 1)
	check(t, s.cmd.Start())
	cmd, over := s.cmd, s.over
	go func() { over <- cmd.Wait(); close(over) }()
	return s.listens()
}

func (s *Server) stop() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.over
}

// listens waits for what sshd says when it is ready; false means that it has
// ended, or never will be.
func (s *Server) listens() bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	ready := fmt.Appendf(nil, "Server listening on %s port %d.", s.Host.Name, s.Host.Port)
	for {
		select {
		case <-s.over:
			return false
		case <-late:
			s.stop()
			return false
		case <-tick.C:
		}
		if log, err := os.ReadFile(s.Log); err == nil && bytes.Contains(log, ready) {
			return true
		}
	}
}

func freePort(t testing.TB, ip string) int {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Allow lets the key of an identity in, beside those that are in already.
// Options are as authorized_keys has them: restrict, command="...".
func (s *Server) Allow(t testing.TB, identity, options string) {
	t.Helper()
	text, err := os.ReadFile(identity)
	check(t, err)
	key, err := ssh.ParsePrivateKey(text)
	check(t, err)
	if options != "" {
		options += " "
	}
	f, err := os.OpenFile(s.Authorized, os.O_WRONLY|os.O_APPEND, 0)
	check(t, err)
	_, err = f.WriteString(options + string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	check(t, err)
	check(t, f.Close())
}

// Known is the line of known_hosts that pins the server.
func (s *Server) Known() string { return Known("", s.Name(), s.Key.PublicKey()) }

// Name is how known_hosts calls the server.
func (s *Server) Name() string { return knownhosts.Normalize(s.Host.Addr()) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
