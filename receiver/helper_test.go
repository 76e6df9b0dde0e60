package receiver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test for something that comes at once when
// all is well.
const patience = 20 * time.Second

// keyring is a KeyStore in memory.
type keyring struct {
	mu       sync.Mutex
	keys     map[string]store.Key
	attempts chan store.Attempt
}

func (k *keyring) KeyByBlob(_ context.Context, blob []byte) (*store.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.keys[string(blob)]
	if !ok {
		return nil, nil
	}
	return &key, nil
}

func (k *keyring) KeyByName(_ context.Context, name string) (*store.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if key.Name == name {
			return &key, nil
		}
	}
	return nil, nil
}

func (k *keyring) AddAttempt(_ context.Context, a store.Attempt) error {
	k.attempts <- a
	return nil
}

func (k *keyring) put(key gossh.PublicKey, row store.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	row.Blob, row.Fingerprint = key.Marshal(), gossh.FingerprintSHA256(key)
	k.keys[string(row.Blob)] = row
}

func (k *keyring) drop(key gossh.PublicKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, string(key.Marshal()))
}

// logged is a log that can be read while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// door is a running server of a test, with one key that it knows.
type door struct {
	*Server
	t    *testing.T
	keys *keyring
	log  *logged
	ana  gossh.Signer
	dir  string // ana's key file and known_hosts, for real clients
	host gossh.PublicKey
}

// options adjusts a door before it opens.
type options struct {
	git     func(context.Context, GitRequest, Stdio) int
	command func(context.Context, store.Caller, []string, Stdio, *builder.Terminal) int
	limits  Limits
	trusted func() []gossh.PublicKey
	now     func() time.Time
	timing  func(*timing)
}

func newSigner(t testing.TB) gossh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	s, err := gossh.NewSignerFromKey(private)
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openDoor(t *testing.T, o options) *door {
	t.Helper()
	d := &door{t: t, log: &logged{}, dir: t.TempDir()}
	d.keys = &keyring{keys: map[string]store.Key{}, attempts: make(chan store.Attempt, 100)}
	host, created, err := LoadHostKey(filepath.Join(d.dir, "host_ed25519"))
	must(t, err)
	if !created {
		t.Fatal("the host key was not made")
	}
	d.host = host.PublicKey()
	d.ana = d.keyFile("ana")
	d.keys.put(d.ana.PublicKey(), store.Key{Name: "ana"})
	if o.limits == (Limits{}) {
		o.limits = Limits{Handshake: patience, Connections: 256}
	}
	if o.command == nil {
		o.command = func(_ context.Context, c store.Caller, argv []string, io Stdio, _ *builder.Terminal) int {
			fmt.Fprintf(io.Out, "%s %q\n", c.Name, argv)
			return 0
		}
	}
	if o.git == nil {
		o.git = func(_ context.Context, r GitRequest, io Stdio) int {
			return Refuse(io.Out, config.Errorf(config.Denied, "ask ana", "%s of %s is not for you", r.Service, r.Repo))
		}
	}
	if o.now == nil {
		o.now = time.Now
	}
	d.Server, err = New(Options{
		Listen: "127.0.0.1:0", HostKey: host, Keys: d.keys, Git: o.git, Command: o.command,
		Limits: func() Limits { return o.limits }, Log: zerolog.New(d.log), Now: o.now, Authorities: o.trusted,
	})
	must(t, err)
	if o.timing != nil {
		o.timing(&d.timing)
	}
	must(t, os.WriteFile(filepath.Join(d.dir, "known_hosts"),
		[]byte(fmt.Sprintf("[127.0.0.1]:%d %s", d.port(), gossh.MarshalAuthorizedKey(d.host))), 0o600))
	served := make(chan error, 1)
	go func() { served <- d.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", d.log)
		}
	})
	return d
}

func (d *door) port() int { return d.Addr().(*net.TCPAddr).Port }

// keyFile makes a key that a real client can use by its name.
func (d *door) keyFile(name string) gossh.Signer {
	d.t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(d.t, err)
	s, err := gossh.NewSignerFromKey(private)
	must(d.t, err)
	block, err := gossh.MarshalPrivateKey(private, name)
	must(d.t, err)
	must(d.t, os.WriteFile(filepath.Join(d.dir, name), pem.EncodeToMemory(block), 0o600))
	must(d.t, os.WriteFile(filepath.Join(d.dir, name+".pub"), gossh.MarshalAuthorizedKey(s.PublicKey()), 0o600))
	return s
}

// sshArgs are the options of a real client that reads nothing of its user's.
func (d *door) sshArgs(key string) []string {
	return []string{
		"-F", "/dev/null", "-p", fmt.Sprint(d.port()), "-o", "UserKnownHostsFile=" + filepath.Join(d.dir, "known_hosts"),
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", filepath.Join(d.dir, key),
	}
}

// ssh is a real client with ana's key; args begin with its own options.
func (d *door) ssh(args ...string) *exec.Cmd {
	return exec.Command("ssh", append(d.sshArgs("ana"), args...)...)
}

const anyone = "anyone@127.0.0.1"

// result is what a real command said and ended with.
type result struct {
	out, err string
	status   int
}

func finish(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// dial is a raw client.
func (d *door) dial(signers ...gossh.Signer) (*gossh.Client, error) {
	if len(signers) == 0 {
		signers = []gossh.Signer{d.ana}
	}
	return d.dialAs("anyone", gossh.PublicKeys(signers...))
}

func (d *door) dialAs(user string, auth ...gossh.AuthMethod) (*gossh.Client, error) {
	return gossh.Dial("tcp", d.Addr().String(), &gossh.ClientConfig{
		User: user, Auth: auth, HostKeyCallback: gossh.FixedHostKey(d.host), Timeout: patience,
	})
}

func (d *door) client() *gossh.Client {
	d.t.Helper()
	c, err := d.dial()
	must(d.t, err)
	d.t.Cleanup(func() { c.Close() })
	return c
}

// exec runs one command on a raw client's connection.
func execOn(t *testing.T, c *gossh.Client, command string) result {
	t.Helper()
	s, err := c.NewSession()
	must(t, err)
	defer s.Close()
	var out, errs bytes.Buffer
	s.Stdout, s.Stderr = &out, &errs
	err = s.Run(command)
	return result{out.String(), errs.String(), statusOf(t, err)}
}

func statusOf(t *testing.T, err error) int {
	t.Helper()
	switch e := err.(type) {
	case nil:
		return 0
	case *gossh.ExitError:
		return e.ExitStatus()
	default:
		t.Fatalf("no exit status: %v", err)
		return -1
	}
}

// wait receives what must come.
func wait[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func contains(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s is %q, without %q", what, text, part)
	}
}

// ends reads a connection to its end and says how long that took.
func ends(t *testing.T, nc net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	must(t, nc.SetReadDeadline(began.Add(patience)))
	_, err := io.Copy(io.Discard, nc)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatal("the connection stays open")
	}
	return time.Since(began)
}
