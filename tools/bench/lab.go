package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lab is where everything runs: a directory, a git source and a host to deploy
// to (each a real sshd), and the environment in which commands run. All of it
// is on loopback, and ends with close.
type lab struct {
	ctx    context.Context
	dir    string
	binary string // slipway's
	login  string
	source *sshd
	host   *sshd
	pins   string // a known_hosts file of both
	ssh    string // the ssh command of peers, which reaches both
	kept   []func()
}

func newLab(ctx context.Context, binary, tmp string) (*lab, error) {
	dir, err := os.MkdirTemp(tmp, "slipway-bench.")
	if err != nil {
		return nil, err
	}
	l := &lab{ctx: ctx, dir: dir, binary: binary, pins: filepath.Join(dir, "known_hosts")}
	l.kept = append(l.kept, func() { _ = os.RemoveAll(dir) })
	if err := l.prepare(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) close() error {
	for i := len(l.kept) - 1; i >= 0; i-- {
		l.kept[i]()
	}
	return nil
}

func (l *lab) prepare() error {
	if err := os.Chmod(l.dir, 0o711); err != nil { // builds have accounts of their own
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	l.login = me.Username
	settings := "[user]\n\tname = Bench\n\temail = bench@example.com\n[init]\n\tdefaultBranch = main\n" +
		"[protocol \"file\"]\n\tallow = always\n[advice]\n\tdetachedHead = false\n[gc]\n\tauto = 0\n"
	if err := os.WriteFile(l.path(".gitconfig"), []byte(settings), 0o644); err != nil {
		return err
	}
	if err := l.sh("keys", `ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f key; mkdir source`); err != nil {
		return err
	}
	l.ssh = "ssh -F none -i " + l.path("key") + " -o IdentitiesOnly=yes -o UserKnownHostsFile=" + l.pins + " -o LogLevel=ERROR"
	key, err := os.ReadFile(l.path("key.pub"))
	if err != nil {
		return err
	}
	if l.source, err = l.startSSHD("source", `restrict,command="git-shell -c \"$SSH_ORIGINAL_COMMAND\"" `+string(key)); err != nil {
		return err
	}
	l.host, err = l.startSSHD("apphost", string(key))
	return err
}

func (l *lab) path(elem ...string) string { return filepath.Join(append([]string{l.dir}, elem...)...) }

// url is where a repository is, by way of a port.
func (l *lab) url(port int, name string) string {
	return fmt.Sprintf("ssh://%s@127.0.0.1:%d%s/%s", l.login, port, l.path("source"), name)
}

// pin makes the known host key that of one more port.
func (l *lab) pin(port int) error {
	key, err := os.ReadFile(l.path("host.pub"))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(l.pins, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "[127.0.0.1]:%d %s\n", port, strings.Join(strings.Fields(string(key))[:2], " "))
	return errors.Join(err, f.Close())
}

// wire is a link to a port of this machine that is known by the same host key.
func (l *lab) wire(port int, delay time.Duration) (*wire, error) {
	w, err := newWire(fmt.Sprintf("127.0.0.1:%d", port), delay)
	if err != nil {
		return nil, err
	}
	l.kept = append(l.kept, func() { _ = w.Close() })
	return w, l.pin(w.port())
}

// command runs in the lab's directory and environment, with vars beside.
func (l *lab) command(vars []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(l.ctx, name, args...)
	cmd.Dir = l.dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_SSH_COMMAND=" + l.ssh,
	}, vars...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// sh runs a script; vars are its variables.
func (l *lab) sh(what, script string, vars ...string) error {
	cmd := l.command(vars, "sh", "-euc", script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", what, err, out)
	}
	return nil
}

// git gives what a git command prints.
func (l *lab) git(dir string, args ...string) (string, error) {
	cmd := l.command(nil, "git", append([]string{"-C", dir}, args...)...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, problems.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// repository makes a bare one below the source of a fast-import stream, and
// gives its commit.
func (l *lab) repository(name string, stream func(io.Writer) error) (string, error) {
	dir := l.path("source", name+".git")
	if _, err := l.git(l.dir, "init", "-q", "--bare", dir); err != nil {
		return "", err
	}
	cmd := l.command(nil, "git", "-C", dir, "fast-import", "--quiet", "--done")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	if err := errors.Join(stream(in), in.Close(), cmd.Wait()); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	return l.git(dir, "rev-parse", "main")
}

// sshd is a running server of OpenSSH.
type sshd struct {
	port int
	log  string
}

func (l *lab) startSSHD(name, authorized string) (*sshd, error) {
	if os.Geteuid() == 0 { // where it parts with its rights
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	keys := l.path(name + ".keys")
	if err := os.WriteFile(keys, []byte(authorized), 0o644); err != nil {
		return nil, err
	}
	for range 5 { // another may take the port first
		s := &sshd{log: l.path(name + ".log")}
		if err := s.choose(); err != nil {
			return nil, err
		}
		config := fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\n"+
			"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\nMaxStartups 100\n",
			s.port, l.path("host"), keys)
		file := l.path(name + ".config")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			return nil, err
		}
		cmd := l.command(nil, "/usr/sbin/sshd", "-D", "-f", file, "-E", s.log)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		if waitForText(s.log, "listening on 127.0.0.1", ended) != nil {
			continue
		}
		l.kept = append(l.kept, func() { _ = cmd.Process.Signal(syscall.SIGTERM); <-ended })
		return s, l.pin(s.port)
	}
	return nil, fmt.Errorf("%s: sshd does not start: see %s", name, l.path(name+".log"))
}

func (s *sshd) choose() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	return listener.Close()
}

// logins says how often a client has proved its key until now.
func (s *sshd) logins() (int, error) {
	text, err := os.ReadFile(s.log)
	return strings.Count(string(text), "Accepted publickey"), err
}

const patience = 5 * time.Minute

// eventually asks until the answer is yes.
func eventually(what string, ask func() (bool, error)) error {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if yes, err := ask(); yes || err != nil {
			return err
		}
	}
	return fmt.Errorf("no %s after %s", what, patience)
}

// waitForText waits until a file has the text in it; ended says that the process
// which writes it will not any more.
func waitForText(file, text string, ended <-chan error) error {
	return eventually(fmt.Sprintf("%q in %s", text, file), func() (bool, error) {
		got, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
		select {
		case err := <-ended:
			return false, fmt.Errorf("it ended: %w", err)
		default:
			return strings.Contains(string(got), text), nil
		}
	})
}
