package receiver

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"slipway/builder"
	"slipway/store"
)

// certifier signs certificates in a test.
type certifier struct {
	t  *testing.T
	ca gossh.Signer
	at time.Time
}

// issue makes a certificate that is good for maria, but for what change does
// to it.
func (c certifier) issue(key gossh.PublicKey, change func(*gossh.Certificate)) *gossh.Certificate {
	c.t.Helper()
	cert := &gossh.Certificate{
		Key: key, CertType: gossh.UserCert, KeyId: "maria@corp", Serial: 7, ValidPrincipals: []string{"maria"},
		ValidAfter: uint64(c.at.Add(-time.Hour).Unix()), ValidBefore: uint64(c.at.Add(time.Hour).Unix()),
	}
	if change != nil {
		change(cert)
	}
	must(c.t, cert.SignCert(rand.Reader, c.ca))
	return cert
}

func (c certifier) signer(key gossh.Signer, change func(*gossh.Certificate)) gossh.Signer {
	c.t.Helper()
	s, err := gossh.NewCertSigner(c.issue(key.PublicKey(), change), key)
	must(c.t, err)
	return s
}

// TestCertificates: which certificates let in, as whom, and why the others do
// not. Each that is refused is kept for an admin, with its authority.
func TestCertificates(t *testing.T) {
	at := time.Date(2026, 11, 25, 4, 5, 0, 0, time.UTC)
	ca, second, foreign := newSigner(t), newSigner(t), newSigner(t)
	var seen store.Caller
	d := openDoor(t, options{
		now:     func() time.Time { return at },
		trusted: func() []gossh.PublicKey { return []gossh.PublicKey{second.PublicKey(), ca.PublicKey()} },
		command: func(_ context.Context, c store.Caller, _ []string, _ Stdio, _ *builder.Terminal) int {
			seen = c
			return 0
		},
	})
	d.keys.put(newSigner(t).PublicKey(), store.Key{Name: "maria", Admin: true})
	good := certifier{t, ca, at}
	option := func(name, value string) func(*gossh.Certificate) {
		return func(c *gossh.Certificate) { c.CriticalOptions = map[string]string{name: value} }
	}
	principals := func(all ...string) func(*gossh.Certificate) {
		return func(c *gossh.Certificate) { c.ValidPrincipals = all }
	}
	key := newSigner(t)
	for _, l := range []struct {
		name   string
		by     certifier
		change func(*gossh.Certificate)
		why    string // "" is let in
		as     string
	}{
		{"good", good, nil, "", "maria"},
		{"by another of the authorities", certifier{t, second, at}, nil, "", "maria"},
		{"the first principal with a name", good, principals("ops", "ana", "maria"), "", "ana"},
		{"for ever", good, func(c *gossh.Certificate) { c.ValidAfter, c.ValidBefore = 0, gossh.CertTimeInfinity }, "", "maria"},
		{"from the first second on", good, func(c *gossh.Certificate) { c.ValidAfter = uint64(at.Unix()) }, "", "maria"},
		{"extensions mean nothing", good, func(c *gossh.Certificate) { c.Extensions = map[string]string{"x@y": "z", "permit-pty": ""} }, "", "maria"},
		{"from here", good, option("source-address", "192.0.2.1,127.0.0.0/8"), "", "maria"},
		{"from here exactly", good, option("source-address", "127.0.0.1"), "", "maria"},

		{"of nobody's authority", certifier{t, foreign, at}, nil, "its authority is not one of [ssh] user_ca", ""},
		{"signed by itself", certifier{t, key, at}, nil, "its authority is not one of", ""},
		{"of a host", good, func(c *gossh.Certificate) { c.CertType = gossh.HostCert }, "certificate of a host", ""},
		{"of no kind", good, func(c *gossh.Certificate) { c.CertType = 0 }, "certificate of a host", ""},
		{"principals that are no keys", good, principals("root", "ops"), "no principal of it is the name of a key", ""},
		{"expired this second", good, func(c *gossh.Certificate) { c.ValidBefore = uint64(at.Unix()) }, "it has expired", ""},
		{"not valid yet", good, func(c *gossh.Certificate) { c.ValidAfter = uint64(at.Unix()) + 1 }, "not valid yet", ""},
		{"times beyond time", good, func(c *gossh.Certificate) { c.ValidBefore = 1 << 63 }, "expired", ""},
		{"force-command", good, option("force-command", "vars list shop/prod"), "critical option force-command has no meaning", ""},
		{"an unknown option", good, option("verify-required", ""), "critical option verify-required has no meaning", ""},
		{"from elsewhere", good, option("source-address", "192.0.2.0/24,10.1.2.3"), "not valid from 127.0.0.1", ""},
		{"from an empty list", good, option("source-address", ""), "not valid from 127.0.0.1", ""},
		{"from a list that is wrong", good, option("source-address", "127.0.0.1,nonsense"), "not valid from 127.0.0.1", ""},
	} {
		t.Run(l.name, func(t *testing.T) {
			for len(d.keys.attempts) > 0 {
				<-d.keys.attempts
			}
			seen = store.Caller{}
			c, err := d.dial(l.by.signer(key, l.change))
			if l.why == "" {
				must(t, err)
				defer c.Close()
				execOn(t, c, "x")
				if seen.Name != l.as || seen.Admin != (l.as == "maria") || seen.Fingerprint != gossh.FingerprintSHA256(key.PublicKey()) ||
					seen.Key() != seen.Fingerprint+" certificate maria@corp serial 7" {
					t.Errorf("%+v", seen)
				}
				return
			}
			if err == nil {
				c.Close()
				t.Fatal("it lets in")
			}
			a := wait(t, "the attempt", d.keys.attempts)
			line := strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key.PublicKey())))
			if a.Fingerprint != gossh.FingerprintSHA256(key.PublicKey()) || !strings.HasPrefix(a.AuthorizedKey, line+" certificate maria@corp serial 7 for ") ||
				!strings.Contains(a.AuthorizedKey, "by CA "+gossh.FingerprintSHA256(l.by.ca.PublicKey())) || !strings.Contains(a.AuthorizedKey, l.why) {
				t.Errorf("kept: %+v", a)
			}
		})
	}
}

// A certificate that was changed after it was signed is worth nothing, nor is
// one that another key's holder shows.
func TestForgedCertificate(t *testing.T) {
	ca := newSigner(t)
	at := time.Now()
	d := openDoor(t, options{trusted: func() []gossh.PublicKey { return []gossh.PublicKey{ca.PublicKey()} }})
	changed := certifier{t, ca, at}.issue(d.ana.PublicKey(), func(c *gossh.Certificate) { c.ValidPrincipals = []string{"ops"} })
	changed.ValidPrincipals = []string{"ana"}
	if err := checkCertificate(changed, []gossh.PublicKey{ca.PublicKey()}, &net.TCPAddr{}, at); err == nil ||
		!strings.Contains(err.Error(), "signature does not verify") {
		t.Errorf("changed: %v", err)
	}
	for _, principals := range [][]string{nil, {""}} {
		changed.ValidPrincipals = principals
		if err := checkCertificate(changed, []gossh.PublicKey{ca.PublicKey()}, &net.TCPAddr{}, at); !errors.Is(err, errPrincipals) {
			t.Errorf("principals %q: %v", principals, err)
		}
	}
	own := certifier{t, ca, at}.issue(d.ana.PublicKey(), func(c *gossh.Certificate) { c.ValidPrincipals = []string{"ana"} })
	if c, err := d.dial(forger{own, newSigner(t)}); err == nil {
		c.Close()
		t.Error("another key's certificate lets in")
	}
	// Text of whoever calls himself an authority can do nothing to a terminal
	// or a shell.
	hostile := certifier{t, newSigner(t), at}.signer(newSigner(t), func(c *gossh.Certificate) {
		c.KeyId, c.ValidPrincipals = "'; rm -rf /\n\x1b[31m", []string{"$(reboot)", strings.Repeat("x", 1000)}
	})
	for len(d.keys.attempts) > 0 {
		<-d.keys.attempts
	}
	if c, err := d.dial(hostile); err == nil {
		c.Close()
		t.Error("a stranger's certificate lets in")
	}
	a := wait(t, "the attempt", d.keys.attempts)
	if strings.ContainsAny(a.AuthorizedKey, "'\";$()\n\x1b\\") || len(a.AuthorizedKey) > 600 {
		t.Errorf("kept: %q", a.AuthorizedKey)
	}
}

// What changes while a connection is open holds for its next command: the
// time, the authorities, the key of that name. Removing it ends the connection.
func TestCertificateInOpenConnection(t *testing.T) {
	ca := newSigner(t)
	began := time.Now()
	var late, withdrawn atomic.Bool
	d := openDoor(t, options{
		now: func() time.Time {
			if late.Load() {
				return began.Add(2 * time.Hour)
			}
			return began
		},
		trusted: func() []gossh.PublicKey {
			if withdrawn.Load() {
				return nil
			}
			return []gossh.PublicKey{ca.PublicKey()}
		},
	})
	row := newSigner(t).PublicKey()
	d.keys.put(row, store.Key{Name: "maria"})
	c, err := d.dial(certifier{t, ca, began}.signer(newSigner(t), nil))
	must(t, err)
	defer c.Close()
	expect := func(status int, text string) {
		t.Helper()
		r := execOn(t, c, "x")
		if r.status != status || !strings.Contains(r.out+r.err, text) {
			t.Errorf("%+v, want %d and %q", r, status, text)
		}
	}
	expect(0, "maria [\"x\"]")
	late.Store(true)
	expect(3, "it has expired\nhint: get another certificate")
	late.Store(false)
	withdrawn.Store(true)
	expect(3, "certificates are not taken")
	withdrawn.Store(false)
	expect(0, "maria")
	d.keys.drop(row)
	expect(3, "no principal of it is the name of a key")
	d.DropKey("ana")
	expect(3, "no principal")
	d.DropKey("maria")
	over := make(chan struct{})
	go func() { defer close(over); _ = c.Wait() }()
	wait(t, "the connection's end", over)
}

// What OpenSSH's own tools make and show is taken, whatever kinds of keys.
func TestCertificatesOfOpenSSH(t *testing.T) {
	var trusted atomic.Pointer[[]gossh.PublicKey]
	trusted.Store(&[]gossh.PublicKey{})
	d := openDoor(t, options{trusted: func() []gossh.PublicKey { return *trusted.Load() }})
	keygen := func(args ...string) {
		t.Helper()
		cmd := exec.Command("ssh-keygen", args...)
		cmd.Dir = d.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %s", err, out)
		}
	}
	var authorities []gossh.PublicKey
	keys := map[string][]string{"ed25519": nil, "ecdsa": nil, "rsa": {"-b", "2048"}}
	for kind, bits := range keys {
		keygen(append([]string{"-q", "-t", kind, "-N", "", "-f", "ca_" + kind}, bits...)...)
		keygen(append([]string{"-q", "-t", kind, "-N", "", "-f", "user_" + kind}, bits...)...)
		line, err := os.ReadFile(filepath.Join(d.dir, "ca_"+kind+".pub"))
		must(t, err)
		key, _, _, _, err := gossh.ParseAuthorizedKey(line)
		must(t, err)
		authorities = append(authorities, key)
	}
	trusted.Store(&authorities)
	as := func(user string, options ...string) result {
		t.Helper()
		cmd := d.ssh(anyone, "x")
		for i, a := range cmd.Args {
			cmd.Args[i] = strings.ReplaceAll(a, filepath.Join(d.dir, "ana"), filepath.Join(d.dir, user))
		}
		cmd.Args = append(cmd.Args[:1:1], append(options, cmd.Args[1:]...)...)
		return finish(t, cmd)
	}
	for _, pair := range [][2]string{{"ed25519", "ed25519"}, {"rsa", "rsa"}, {"ecdsa", "rsa"}, {"rsa", "ecdsa"}} {
		keygen("-q", "-s", "ca_"+pair[0], "-I", "id", "-n", "ana", "-V", "-1m:+5m", "user_"+pair[1]+".pub")
		if r := as("user_" + pair[1]); r.status != 0 || r.out != "ana [\"x\"]\n" {
			t.Errorf("%v: %+v", pair, r)
		}
	}
	// To other servers a certificate without principals is everybody's.
	keygen("-q", "-s", "ca_ed25519", "-I", "id", "user_ed25519.pub")
	if r := as("user_ed25519"); r.status != 255 || !strings.Contains(r.err, "Permission denied (publickey).") {
		t.Errorf("without principals: %+v", r)
	}
	// An authority that signs by SHA-1 proves nothing.
	keygen("-q", "-s", "ca_rsa", "-t", "ssh-rsa", "-I", "id", "-n", "ana", "user_ed25519.pub")
	if r := as("user_ed25519", "-o", "CASignatureAlgorithms=+ssh-rsa"); r.status != 255 {
		t.Errorf("by SHA-1: %+v", r)
	}
	// Those before may be noted only now.
	for !strings.Contains(wait(t, "the attempt", d.keys.attempts).AuthorizedKey, "has signed by SHA-1") {
	}
}
