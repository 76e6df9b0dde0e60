package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// everything is what a version with all features has.
var everything = []string{"local", "ssh", "web", "user_ca", "postgresql"}

// newDir makes a DIR with all files that the tests' server.toml name.
func newDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	line := ssh.MarshalAuthorizedKey(sshPublic)
	open, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	write("keys/git_corp", pem.EncodeToMemory(open), 0o600)
	write("keys/prod", pem.EncodeToMemory(open), 0o600)
	write("keys/loose", pem.EncodeToMemory(open), 0o640)
	write("keys/git_corp.pub", line, 0o644)
	write("keys/user_ca.pub", append([]byte("# the CA\n"), line...), 0o644)
	write("keys/open_ca.pub", line, 0o664)
	write("keys/weak_ca.pub", append(line[:len(line):len(line)], weakKey(t)...), 0o644)
	write("known_hosts", append([]byte("git.corp.local "), line...), 0o644)
	write("broken_hosts", []byte("git.corp.local ssh-ed25519 !!!\n"), 0o644)
	write("keys/https_token", []byte("glpat-canary\n"), 0o600)
	write("keys/two_lines", []byte("one\ntwo\n"), 0o600)
	write("keys/empty", nil, 0o600)
	write("keys/postgresql", []byte("postgres://admin:canary@db.corp.local/postgres\n"), 0o600)

	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "corp"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, public, private)
	if err != nil {
		t.Fatal(err)
	}
	write("keys/corp-ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	return dir
}

// weakKey is a line of a public key that is too short.
func weakKey(t testing.TB) []byte {
	t.Helper()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(&short.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.MarshalAuthorizedKey(key)
}

// lockKey adds keys/locked, whose passphrase is hunter2. It is slow, as it
// should be.
func lockKey(t testing.TB, dir string) (path string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "test", []byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "keys", "locked")
	if err := os.WriteFile(path, pem.EncodeToMemory(locked), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
