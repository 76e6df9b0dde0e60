package submodule

import (
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/config"
)

// line is a line of known_hosts.
func line(marker, hosts string, key ssh.PublicKey) string {
	return strings.TrimSpace(marker+" "+hosts+" "+string(ssh.MarshalAuthorizedKey(key))) + "\n"
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	host, port, err := net.SplitHostPort(src.addr)
	check(t, err)
	name := "[" + host + "]:" + port
	other := signer(t, newKey(t, "ed25519")).PublicKey()
	rsa := signer(t, newKey(t, "rsa")).PublicKey()
	own := src.host.PublicKey()
	hashed := func(text string) string {
		path := filepath.Join(t.TempDir(), "known_hosts")
		check(t, os.WriteFile(path, []byte(text), 0o600))
		if out, err := exec.Command("ssh-keygen", "-H", "-f", path).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %s", out)
		}
		return string(must[[]byte](t)(os.ReadFile(path)))
	}
	for _, c := range []struct{ name, known, err, hint string }{
		{"known", line("", name, own), "", ""},
		{"known beside others", "# comment\n\n" + line("", name, rsa) + line("", "[*]:"+port+",other", own), "", ""},
		{"hashed", hashed(line("", name, own)), "", ""},
		{"wildcard", line("", "[127.0.?.*]:"+port, own), "", ""},
		{"unknown", "", "the host key of " + src.addr + " is not in known_hosts", "compares the fingerprint"},
		{"only for the usual port", line("", host, own), "is not in known_hosts", ""},
		{"negated", line("", "!"+name+",[*]:"+port, own), "is not in known_hosts", ""},
		{"broken line", "garbage\n" + name + " ssh-ed25519 !!!\n", "is not in known_hosts", ""},
		{"changed", "\n\n" + line("", name, other), "host key of " + src.addr + " CHANGED; no credential was sent", "known_hosts line 3"},
		{"changed to another kind", line("", name, rsa), "CHANGED; no credential was sent", "known_hosts line 1"},
		{"changed, hashed", hashed(line("", name, other)), "CHANGED", "known_hosts line 1"},
		{"revoked", line("", name, own) + line("@revoked", "*", own), "is revoked; no credential was sent", "line 2 revokes it"},
		{"an authority's own key is no host key", line("@cert-authority", name, own), "is not in known_hosts", ""},
		{"unknown marker", line("@trust", name, own), "is not in known_hosts", ""},
	} {
		s := src.source("/", "ed25519")
		check(t, os.WriteFile(s.KnownHosts, []byte(c.known), 0o600))
		w := newWorld(t, s)
		q := w.request(w.app.commit(files{".gitmodules": module("lib", src.url("/lib.git")), "lib": gitlinkTo(lib)}))
		before := src.connections.Load()
		if c.err == "" {
			if res, err := w.r.Resolve(t.Context(), q); err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else {
				res.Close()
			}
			continue
		}
		res, err := w.refused(q)
		wantText(t, err, c.err)
		if !strings.Contains(config.Hint(err), c.hint) {
			t.Errorf("%s: hint %q", c.name, config.Hint(err))
		}
		d := res.Reports[0].Detail
		if len(d) != 2 || d[0] != src.addr+" offered ssh-ed25519" || d[1] != ssh.FingerprintSHA256(own) || res.Reports[0].State != Refused {
			t.Errorf("%s: %s, detail %q", c.name, res.Reports[0].State, d)
		}
		if src.connections.Load() != before {
			t.Errorf("%s: a login was tried", c.name)
		}
	}
}

func TestHostCertificates(t *testing.T) {
	t.Parallel()
	ca := signer(t, newKey(t, "ecdsa"))
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	host, port, err := net.SplitHostPort(src.addr)
	check(t, err)
	name := "[" + host + "]:" + port
	certify := func(change func(*ssh.Certificate)) {
		c := &ssh.Certificate{
			Key: src.host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{host}, ValidBefore: ssh.CertTimeInfinity,
		}
		change(c)
		check(t, c.SignCert(rand.Reader, ca))
		src.hostKey = []ssh.Signer{must[ssh.Signer](t)(ssh.NewCertSigner(c, src.host)), src.host}
	}
	authority := line("@cert-authority", "[127.0.0.*]:"+port, ca.PublicKey())
	for _, c := range []struct {
		name, known, err string
		change           func(*ssh.Certificate)
	}{
		{"valid", authority, "", func(*ssh.Certificate) {}},
		{"expired", authority, "the host certificate of", func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(-time.Hour).Unix()) }},
		{"for another host", authority, "the host certificate of", func(c *ssh.Certificate) { c.ValidPrincipals = []string{"other"} }},
		{"a user's", authority, "the host certificate of", func(c *ssh.Certificate) { c.CertType = ssh.UserCert }},
		{"authority revoked", authority + line("@revoked", "*", ca.PublicKey()), "is revoked", func(*ssh.Certificate) {}},
		{"key revoked", authority + line("@revoked", "*", src.host.PublicKey()), "is revoked", func(*ssh.Certificate) {}},
		{"expired, but pinned too", authority + line("", name, src.host.PublicKey()), "", func(c *ssh.Certificate) { c.ValidBefore = 1 }},
		{"authority for another host", line("@cert-authority", "other", ca.PublicKey()), "is not in known_hosts", func(*ssh.Certificate) {}},
	} {
		certify(c.change)
		s := src.source("/", "ed25519")
		check(t, os.WriteFile(s.KnownHosts, []byte(c.known), 0o600))
		w := newWorld(t, s)
		q := w.request(w.app.commit(files{".gitmodules": module("lib", src.url("/lib.git")), "lib": gitlinkTo(lib)}))
		res, err := w.r.Resolve(t.Context(), q)
		res.Close()
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	try := func(s config.Source) error {
		w := newWorld(t, s)
		res, err := w.r.Resolve(t.Context(), w.request(w.app.commit(files{".gitmodules": module("lib", src.url("/lib.git")), "lib": gitlinkTo(lib)})))
		res.Close()
		return err
	}
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		check(t, try(src.source("/", kind)))
	}

	// A certificate beside the key is used; the key alone is not known.
	s := src.source("/", "ed25519")
	ca := signer(t, newKey(t, "ed25519"))
	key := newKey(t, "ed25519")
	writeKey(t, s.Identity, key)
	wantText(t, try(s), "does not take the key of source")
	cert := &ssh.Certificate{Key: signer(t, key).PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"git"}, ValidBefore: ssh.CertTimeInfinity}
	check(t, cert.SignCert(rand.Reader, ca))
	check(t, os.WriteFile(s.Identity+"-cert.pub", ssh.MarshalAuthorizedKey(cert), 0o600))
	src.mu.Lock()
	src.allowed[string(ca.PublicKey().Marshal())] = ""
	src.mu.Unlock()
	check(t, try(s))
	check(t, os.WriteFile(s.Identity+"-cert.pub", ssh.MarshalAuthorizedKey(ca.PublicKey()), 0o600))
	wantText(t, try(s), "identity-cert.pub is not a certificate of identity")

	s = src.source("/", "ed25519")
	if out, err := exec.Command("ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", s.Identity).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %s", out)
	}
	err := try(s)
	wantText(t, err, "identity has a passphrase")
	if !strings.Contains(config.Hint(err), "ssh-keygen -p -N '' -f ") {
		t.Errorf("hint %q", config.Hint(err))
	}
	check(t, os.WriteFile(s.Identity, []byte("no key"), 0o600))
	wantText(t, try(s), "identity is not a private key")
	s.Identity = ""
	wantText(t, try(s), "none is set")
}

func TestWildcard(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"*", "", true},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"a*c", "acd", false},
		{"?", "a", true},
		{"?", "", false},
		{"*.corp", "git.corp", true},
		{"*.corp", "corp", false},
		{"a**b", "ab", true},
		{strings.Repeat("*a", 40), strings.Repeat("a", 200) + "b", false},
	} {
		if wildcard(c.pattern, c.s) != c.want {
			t.Errorf("%q %q", c.pattern, c.s)
		}
	}
}
