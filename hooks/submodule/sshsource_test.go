package submodule

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
)

// sshSource is a git server: an ssh server of its own in front of real git.
type sshSource struct {
	t       testing.TB
	root    string // where the repositories are
	addr    string
	host    ssh.Signer
	allowed map[string]string // key blob -> prefix of the paths that it may read
	hostKey []ssh.Signer

	connections atomic.Int32 // with a finished handshake
	accepted    atomic.Int32
	sessions    atomic.Int32
	most        atomic.Int32                                               // sessions at once on one connection, 0 is any
	protocol    atomic.Bool                                                // whether GIT_PROTOCOL is taken
	before      atomic.Pointer[func(path string) (say string, status int)] // instead of git, if say is not ""
	listener    net.Listener
	wg          sync.WaitGroup
	mu          sync.Mutex
	conns       map[net.Conn]bool
}

func newSSHSource(t testing.TB) *sshSource {
	t.Helper()
	s := &sshSource{t: t, root: t.TempDir(), allowed: map[string]string{}, conns: map[net.Conn]bool{}}
	s.host = sshdtest.Signer(t, sshdtest.NewKey(t, "ed25519"))
	s.hostKey = []ssh.Signer{s.host}
	s.protocol.Store(true)
	s.start("127.0.0.1:0")
	t.Cleanup(s.stop)
	return s
}

func (s *sshSource) start(addr string) {
	s.t.Helper()
	s.listener = must[net.Listener](s.t)(net.Listen("tcp", addr))
	s.addr = s.listener.Addr().String()
	l := s.listener
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c) })
		}
	})
}

// stop ends the server and every connection.
func (s *sshSource) stop() {
	s.listener.Close()
	s.cut()
	s.wg.Wait()
}

func (s *sshSource) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *sshSource) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		s.mu.Lock()
		prefix, ok := s.allowed[string(key.Marshal())]
		s.mu.Unlock()
		if !ok {
			return nil, fmt.Errorf("unknown key")
		}
		return &ssh.Permissions{Extensions: map[string]string{"prefix": prefix}}, nil
	}}
	for _, k := range s.hostKey {
		cfg.AddHostKey(k)
	}
	conn, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	s.connections.Add(1)
	go ssh.DiscardRequests(reqs)
	var open atomic.Int32
	var wg sync.WaitGroup
	defer wg.Wait()
	for ch := range chans {
		if most := s.most.Load(); most > 0 && open.Load() >= most {
			_ = ch.Reject(ssh.ResourceShortage, "no more sessions")
			continue
		}
		open.Add(1)
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer open.Add(-1)
			s.session(channel, requests, conn.Permissions.Extensions["prefix"])
		})
	}
}

func (s *sshSource) session(ch ssh.Channel, requests <-chan *ssh.Request, prefix string) {
	defer ch.Close()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}
	for req := range requests {
		switch req.Type {
		case "env":
			var kv struct{ K, V string }
			_ = ssh.Unmarshal(req.Payload, &kv)
			ok := s.protocol.Load() && kv.K == "GIT_PROTOCOL"
			if ok {
				env = append(env, kv.K+"="+kv.V)
			}
			_ = req.Reply(ok, nil)
		case "exec":
			var c struct{ Command string }
			_ = ssh.Unmarshal(req.Payload, &c)
			_ = req.Reply(true, nil)
			s.sessions.Add(1)
			status := s.uploadPack(ch, env, c.Command, prefix)
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ S uint32 }{uint32(status)}))
			go ssh.DiscardRequests(requests)
			return
		default:
			_ = req.Reply(false, nil)
		}
	}
}

func (s *sshSource) uploadPack(ch ssh.Channel, env []string, command, prefix string) int {
	path, ok := strings.CutPrefix(command, "git-upload-pack '")
	path = strings.TrimSuffix(path, "'")
	if !ok || !strings.HasPrefix(path, prefix) {
		fmt.Fprintf(ch.Stderr(), "ERROR: no access to %s\n", path)
		return 1
	}
	if f := s.before.Load(); f != nil {
		if say, status := (*f)(path); say != "" {
			fmt.Fprint(ch.Stderr(), say)
			return status
		}
	}
	cmd := exec.Command("git", "upload-pack", filepath.Join(s.root, path))
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	if err := cmd.Start(); err != nil {
		return 1
	}
	go func() { _, _ = io.Copy(in, ch); in.Close() }()
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

// source makes a [[sources]] for a prefix, with a key of its own.
func (s *sshSource) source(prefix, kind string) config.Source {
	s.t.Helper()
	dir := s.t.TempDir()
	key := sshdtest.NewKey(s.t, kind)
	identity := filepath.Join(dir, "identity")
	sshdtest.WriteKey(s.t, identity, key)
	s.mu.Lock()
	s.allowed[string(sshdtest.Signer(s.t, key).PublicKey().Marshal())] = strings.TrimSuffix(prefix, "/")
	s.mu.Unlock()
	known := filepath.Join(dir, "known_hosts")
	check(s.t, os.WriteFile(known, []byte(s.knownHostsLine()), 0o600))
	return config.Source{URL: parseURL(s.t, s.url(prefix)), Identity: identity, KnownHosts: known}
}

func (s *sshSource) knownHostsLine() string {
	host, port, _ := net.SplitHostPort(s.addr)
	return sshdtest.Known("", "["+host+"]:"+port, s.host.PublicKey())
}

func (s *sshSource) url(path string) string { return "ssh://git@" + s.addr + path }

// repo makes a repository that the server serves.
func (s *sshSource) repo(name string) repo {
	s.t.Helper()
	return newRepo(s.t, filepath.Join(s.root, name))
}
