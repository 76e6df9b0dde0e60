package submodule

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshdServer is a real OpenSSH server that runs as we do.
type sshdServer struct {
	port       int
	authorized string
	log        string
}

func currentUser(t testing.TB) string {
	t.Helper()
	return must[*user.User](t)(user.Current()).Username
}

// startSSHD starts sshd with the host key of src. A port that was free a moment
// ago may be taken by now: another is tried then.
func startSSHD(t *testing.T, sshd string, src *sshSource) sshdServer {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		check(t, os.MkdirAll("/run/sshd", 0o755)) // sshd insists, as root
	}
	key := newKey(t, "ed25519")
	src.host = signer(t, key)
	writeKey(t, filepath.Join(dir, "host"), key)
	s := sshdServer{authorized: filepath.Join(dir, "authorized"), log: filepath.Join(dir, "log")}
	for range 20 {
		l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
		s.port = l.Addr().(*net.TCPAddr).Port
		l.Close()
		config := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\n"+
			"PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\nLogLevel INFO\n",
			s.port, dir, s.authorized)
		check(t, os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600))
		cmd := exec.Command(sshd, "-D", "-E", s.log, "-f", filepath.Join(dir, "config"))
		check(t, cmd.Start())
		over := make(chan error, 1)
		go func() { over <- cmd.Wait() }()
		if answers(s.port, over) {
			t.Cleanup(func() { _ = cmd.Process.Kill(); <-over })
			return s
		}
	}
	t.Fatal("sshd does not start")
	return s
}

func answers(port int, over chan error) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for {
		select {
		case <-over:
			return false
		case <-late:
			return false
		case <-tick.C:
		}
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return true
		}
	}
}

// allow lets the key of an identity in, for git alone.
func (s sshdServer) allow(t *testing.T, identity string) {
	t.Helper()
	key := must[ssh.Signer](t)(ssh.ParsePrivateKey(must[[]byte](t)(os.ReadFile(identity))))
	line := `restrict,command="git-shell -c \"$SSH_ORIGINAL_COMMAND\"" ` + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
	check(t, os.WriteFile(s.authorized, []byte(line), 0o600))
}
