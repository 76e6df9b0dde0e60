package receiver

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"slipway/store"
)

// Trap 3, B7: a key that is offered and not proved gives nothing. OpenSSH
// offers the admin's public key, hears that it would do, has no private key
// for it, and goes on with its own.
func TestIdentityIsTheProvedKey(t *testing.T) {
	d := openDoor(t, options{})
	admin := d.keyFile("admin")
	d.keys.put(admin.PublicKey(), store.Key{Name: "admin", Admin: true})
	must(t, os.Remove(filepath.Join(d.dir, "admin")))
	for name, order := range map[string][]string{
		"admin's offered first": {"-i", filepath.Join(d.dir, "admin"), "-i", filepath.Join(d.dir, "ana")},
		"own first":             {"-i", filepath.Join(d.dir, "ana"), "-i", filepath.Join(d.dir, "admin")},
	} {
		client := d.ssh(append(order, anyone, "x")...)
		client.Args = append(client.Args[:1:1], client.Args[1:]...)
		// Drop the helper's own -i, so that the order is the case's.
		for i, a := range client.Args {
			if a == "-i" {
				client.Args = append(client.Args[:i:i], client.Args[i+2:]...)
				break
			}
		}
		if r := finish(t, client); r.out != "ana [\"x\"]\n" || r.status != 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// A client that signs for the admin's key with its own.
	if c, err := d.dial(forger{admin.PublicKey(), d.ana}); err == nil {
		c.Close()
		t.Error("a forged signature gets in")
	}
	// A client that offers the admin's key, hears that it would do, and then
	// proves its own.
	c, err := d.dial(newSigner(t), d.ana)
	must(t, err)
	defer c.Close()
	if r := execOn(t, c, "x"); r.out != "ana [\"x\"]\n" {
		t.Errorf("after an unknown key: %+v", r)
	}
}

// forger shows one key and signs with another.
type forger struct {
	shown gossh.PublicKey
	gossh.Signer
}

func (f forger) PublicKey() gossh.PublicKey { return f.shown }

// Trap 2, B5: nobody gets in without a key, by whatever other method.
func TestPublickeyOnly(t *testing.T) {
	d := openDoor(t, options{})
	for name, auth := range map[string][]gossh.AuthMethod{
		"none":     nil,
		"password": {gossh.Password("x")},
		"keyboard": {gossh.KeyboardInteractive(func(_, _ string, q []string, _ []bool) ([]string, error) {
			return make([]string, len(q)), nil
		})},
	} {
		if c, err := d.dialAs("root", auth...); err == nil {
			c.Close()
			t.Errorf("%s gets in", name)
		}
	}
	client := d.ssh("-o", "PubkeyAuthentication=no", anyone, "x")
	if r := finish(t, client); r.status != 255 || !strings.Contains(r.err, "Permission denied (publickey).") {
		t.Errorf("a real client: %+v", r)
	}
}

// B6, B9: who is turned away is kept for an admin, whatever he calls himself.
func TestTurnedAway(t *testing.T) {
	d := openDoor(t, options{})
	stranger := d.keyFile("stranger")
	r := finish(t, d.ssh("-o", "IdentityFile=none", "-l", "maria", "127.0.0.1", "x"))
	if r.status != 0 {
		t.Errorf("any user name is taken: %+v", r)
	}
	client := d.ssh("maria@127.0.0.1", "x")
	for i, a := range client.Args {
		client.Args[i] = strings.ReplaceAll(a, filepath.Join(d.dir, "ana"), filepath.Join(d.dir, "stranger"))
	}
	if r := finish(t, client); r.status != 255 || !strings.Contains(r.err, "Permission denied (publickey).") {
		t.Errorf("%+v", r)
	}
	a := wait(t, "the attempt", d.keys.attempts)
	if a.User != "maria" || a.Fingerprint != gossh.FingerprintSHA256(stranger.PublicKey()) ||
		a.AuthorizedKey != strings.TrimSpace(string(gossh.MarshalAuthorizedKey(stranger.PublicKey()))) ||
		!strings.HasPrefix(a.Addr, "127.0.0.1:") || a.Count != 1 || a.Last.IsZero() {
		t.Errorf("attempt: %+v", a)
	}
	contains(t, "the log", d.log.String(), a.Fingerprint)

	for _, user := range []string{"root\n", "\x1b[31m", strings.Repeat("x", 100<<10), ""} {
		if c, err := d.dialAs(user, gossh.PublicKeys(newSigner(t))); err == nil {
			c.Close()
			t.Fatal("a stranger gets in")
		}
		a := wait(t, "the attempt", d.keys.attempts)
		if len(a.User) > 64 || strings.ContainsAny(a.User, "\n\x1b") {
			t.Errorf("user %q", a.User)
		}
		if c, err := d.dialAs(user, gossh.PublicKeys(d.ana)); err != nil {
			t.Errorf("user %.20q with a good key: %v", user, err)
		} else {
			c.Close()
		}
	}

	// Seven strange keys at once, then a known one: too many.
	var signers []gossh.Signer
	for range 2 * maxAuthTries {
		signers = append(signers, newSigner(t))
	}
	if c, err := d.dial(append(signers, d.ana)...); err == nil {
		c.Close()
		t.Error("any number of keys may be tried")
	}
	// A few strange keys before the known one are nothing to speak of.
	for len(d.keys.attempts) > 0 {
		<-d.keys.attempts
	}
	c, err := d.dial(newSigner(t), newSigner(t), d.ana)
	must(t, err)
	execOn(t, c, "x")
	c.Close()
	_ = c.Wait()
	if r := finish(t, d.ssh(anyone)); r.status != 0 {
		t.Errorf("%+v", r)
	}
	for len(d.keys.attempts) > 0 {
		if a := <-d.keys.attempts; a.Fingerprint == gossh.FingerprintSHA256(d.ana.PublicKey()) {
			t.Errorf("kept: %+v", a)
		}
	}
}

// B8: weak kinds of keys do not get in, even if the store has them.
func TestKindsOfKeys(t *testing.T) {
	signer := func(k crypto.Signer, err error) gossh.Signer {
		must(t, err)
		s, err := gossh.NewSignerFromKey(k)
		must(t, err)
		return s
	}
	rsaKey := func(bits int) gossh.Signer {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		return signer(k, err)
	}
	ecKey := func(c elliptic.Curve) gossh.Signer {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		return signer(k, err)
	}
	sha1, err := gossh.NewSignerWithAlgorithms(rsaKey(2048).(gossh.AlgorithmSigner), []string{gossh.KeyAlgoRSA})
	must(t, err)

	d := openDoor(t, options{})
	for _, c := range []struct {
		name string
		key  gossh.Signer
		ok   bool
	}{
		{"ed25519", newSigner(t), true},
		{"ecdsa 256", ecKey(elliptic.P256()), true},
		{"ecdsa 521", ecKey(elliptic.P521()), true},
		{"rsa 2048", rsaKey(2048), true},
		{"rsa 1024", rsaKey(1024), false},
		{"rsa by SHA-1", sha1, false},
	} {
		d.keys.put(c.key.PublicKey(), store.Key{Name: "k"})
		client, err := d.dial(c.key)
		if err == nil {
			client.Close()
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	dsa := exec.Command("ssh-keygen", "-q", "-t", "dsa", "-N", "", "-f", filepath.Join(d.dir, "dsa"))
	if out, err := dsa.CombinedOutput(); err == nil { // newer ones make no more of them
		line, err := os.ReadFile(filepath.Join(d.dir, "dsa.pub"))
		must(t, err)
		blob, err := base64.StdEncoding.DecodeString(strings.Fields(string(line))[1])
		must(t, err)
		d.keys.keys[string(blob)] = store.Key{Name: "dsa"}
		client := exec.Command("ssh", append(d.sshArgs("dsa"), "-o", "PubkeyAcceptedAlgorithms=+ssh-dss", anyone)...)
		if r := finish(t, client); r.status != 255 {
			t.Errorf("dsa: %+v", r)
		}
	} else {
		t.Logf("%s", out)
	}
	cert := &gossh.Certificate{Key: d.ana.PublicKey(), CertType: gossh.UserCert, ValidPrincipals: []string{"ana"}, ValidBefore: gossh.CertTimeInfinity}
	must(t, cert.SignCert(rand.Reader, newSigner(t)))
	s, err := gossh.NewCertSigner(cert, d.ana)
	must(t, err)
	if c, err := d.dial(s); err == nil {
		c.Close()
		t.Error("a certificate of nobody gets in")
	}
}

// A store that does not answer lets nobody in.
func TestKeyStoreFails(t *testing.T) {
	_, _, err := (&Server{o: Options{Keys: failing{}}}).identify(t.Context(), newSigner(t).PublicKey(), nil)
	if err == nil || !strings.Contains(err.Error(), io.ErrUnexpectedEOF.Error()) {
		t.Errorf("%v", err)
	}
}

type failing struct{}

func (failing) KeyByBlob(context.Context, []byte) (*store.Key, error) {
	return nil, io.ErrUnexpectedEOF
}

func (failing) KeyByName(context.Context, string) (*store.Key, error) {
	return nil, io.ErrUnexpectedEOF
}
func (failing) AddAttempt(context.Context, store.Attempt) error { return io.ErrUnexpectedEOF }

func TestHostKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host_ed25519")
	first, created, err := LoadHostKey(path)
	must(t, err)
	again, createdAgain, err := LoadHostKey(path)
	must(t, err)
	if !created || createdAgain || string(first.PublicKey().Marshal()) != string(again.PublicKey().Marshal()) {
		t.Error("the key is not kept")
	}
	st, err := os.Stat(path)
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	must(t, os.Chmod(path, 0o644))
	_, _, err = LoadHostKey(path)
	if err == nil {
		t.Fatal("a key that others can read is taken")
	}
	contains(t, "error", err.Error(), "0644")
	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, []byte("junk"), 0o600))
	if _, _, err = LoadHostKey(path); err == nil {
		t.Error("junk is taken")
	}
	if _, _, err = LoadHostKey(filepath.Dir(path)); err == nil {
		t.Error("a directory is taken")
	}
	if _, _, err = LoadHostKey(filepath.Join(path, "below")); err == nil {
		t.Error("a path below a file is taken")
	}
}
