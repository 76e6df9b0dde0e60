package sshclient

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
)

func TestKnownHosts(t *testing.T) {
	t.Parallel()
	host := config.Host{User: "deploy", Name: "app1.corp.local", Port: 2200}
	const name = "[app1.corp.local]:2200"
	key, authority := sshdtest.Signer(t, sshdtest.NewKey(t, "ed25519")), sshdtest.Signer(t, sshdtest.NewKey(t, "ecdsa"))
	own, ca := key.PublicKey(), authority.PublicKey()
	other := sshdtest.Signer(t, sshdtest.NewKey(t, "ed25519")).PublicKey()
	rsa := sshdtest.Signer(t, sshdtest.NewKey(t, "rsa")).PublicKey()
	line := sshdtest.Known
	dir := t.TempDir()
	hashed := func(text string) string {
		path := filepath.Join(dir, "hashed")
		check(t, os.WriteFile(path, []byte(text), 0o600))
		if out, err := exec.Command("ssh-keygen", "-H", "-f", path).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %s", out)
		}
		return readFile(t, path)
	}
	certified := func(change func(*ssh.Certificate)) ssh.PublicKey {
		c := &ssh.Certificate{Key: own, CertType: ssh.HostCert, ValidPrincipals: []string{host.Name}, ValidBefore: ssh.CertTimeInfinity}
		change(c)
		check(t, c.SignCert(rand.Reader, authority))
		return c
	}
	valid := certified(func(*ssh.Certificate) {})
	expired := certified(func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(-time.Hour).Unix()) })
	pinned := line("@cert-authority", "[*.corp.local]:2200", ca)
	for _, c := range []struct {
		name, known string
		key         ssh.PublicKey
		err, hint   string
	}{
		{"known", line("", name, own), own, "", ""},
		{"known beside others", "# comment\n\n" + line("", name, rsa) + line("", "[*]:2200,other", own), own, "", ""},
		{"hashed", hashed(line("", name, own)), own, "", ""},
		{"hashed, another", hashed(line("", "other", own)), own, "is not in known_hosts", ""},
		{"wildcard", line("", "[app?.*.local]:2200", own), own, "", ""},
		{"written in capitals", line("", "[APP1.Corp.local]:2200", own), own, "", ""},
		{"unknown", "", own, "the host key of app1.corp.local:2200 is not in known_hosts", "compares the fingerprint"},
		{"only for the usual port", line("", "app1.corp.local", own), own, "is not in known_hosts", ""},
		{"negated", line("", "!"+name+",[*]:2200", own), own, "is not in known_hosts", ""},
		{"broken lines", "garbage\n" + name + " ssh-ed25519 !!!\n|1|!!|x ssh-rsa AAAA\n", own, "is not in known_hosts", ""},
		{"a key under another's kind", strings.Replace(line("", name, own), "ssh-ed25519", "ssh-rsa", 1), own, "is not in known_hosts", ""},
		{"changed", "\n\n" + line("", name, other), own, "host key of app1.corp.local:2200 CHANGED; no credential was sent", "known_hosts line 3"},
		{"changed to another kind", line("", name, rsa), own, "CHANGED; no credential was sent", "known_hosts line 1"},
		{"changed, beside another kind", line("", name, rsa) + line("", name, other), own, "CHANGED; no credential was sent", "known_hosts line 2"},
		{"changed, hashed", hashed(line("", name, other)), own, "CHANGED", "known_hosts line 1"},
		{"revoked", line("", name, own) + line("@revoked", "*", own), own, "is revoked; no credential was sent", "line 2 revokes it"},
		{"an authority's own key is no host key", line("@cert-authority", name, own), own, "is not in known_hosts", ""},
		{"unknown marker", line("@trust", name, own), own, "is not in known_hosts", ""},

		{"certificate", pinned, valid, "", ""},
		{"certificate that expired", pinned, expired, "the host certificate of app1.corp.local:2200 is not valid", "renews"},
		{"certificate for another host", pinned, certified(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"other"} }), "the host certificate of", ""},
		{"certificate of a user", pinned, certified(func(c *ssh.Certificate) { c.CertType = ssh.UserCert }), "the host certificate of", ""},
		{"authority revoked", pinned + line("@revoked", "*", ca), valid, "is revoked", ""},
		{"certified key revoked", pinned + line("@revoked", "*", own), valid, "is revoked", ""},
		{"certificate expired, key pinned", pinned + line("", name, own), expired, "", ""},
		{"no authority, key pinned", line("", name, own), valid, "", ""},
		{"authority for another host", line("@cert-authority", "other", ca), valid, "is not in known_hosts", ""},
	} {
		path := filepath.Join(dir, "known_hosts")
		check(t, os.WriteFile(path, []byte(c.known), 0o600))
		known, err := readKnownHosts(path)
		check(t, err)
		err = known.check(host, c.key, time.Now)
		var no *Error
		switch {
		case c.err == "" && err == nil:
		case c.err == "" || !errors.As(err, &no) || !strings.Contains(err.Error(), c.err) || !strings.Contains(config.Hint(err), c.hint):
			t.Errorf("%s: %v, hint %q", c.name, err, config.Hint(err))
		case no.Unreachable() || no.Addr != host.Addr() || len(no.Detail) != 2:
			t.Errorf("%s: %+v", c.name, no)
		}
	}
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
