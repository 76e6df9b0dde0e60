package submodule

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
)

// What sshclient refuses is seen as it is, and nothing was sent. Its own tests
// have the rules of known_hosts.
func TestHostKeys(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	lib := src.repo("lib.git").commit(files{"l": "l"})
	host, port, err := net.SplitHostPort(src.addr)
	check(t, err)
	name := "[" + host + "]:" + port
	other := sshdtest.Signer(t, sshdtest.NewKey(t, "ed25519")).PublicKey()
	rsa := sshdtest.Signer(t, sshdtest.NewKey(t, "rsa")).PublicKey()
	own := src.host.PublicKey()
	for _, c := range []struct{ name, known, err, hint string }{
		{"known", sshdtest.Known("", name, own), "", ""},
		{"unknown", "", "the host key of " + src.addr + " is not in known_hosts", "compares the fingerprint"},
		{"changed", "\n\n" + sshdtest.Known("", name, other), "host key of " + src.addr + " CHANGED; no credential was sent", "known_hosts line 3"},
		{"changed to another kind", sshdtest.Known("", name, rsa), "CHANGED; no credential was sent", "known_hosts line 1"},
		{"revoked", sshdtest.Known("", name, own) + sshdtest.Known("@revoked", "*", own), "is revoked; no credential was sent", "line 2 revokes it"},
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

// The texts name the source and what to mend of it.
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
	s := src.source("/", "ed25519")
	check(t, try(s))
	of := " of " + address(s.URL)
	key := sshdtest.NewKey(t, "ed25519")
	sshdtest.WriteKey(t, s.Identity, key)
	unknown := src.addr + " does not take the key of source " + address(s.URL) +
		" (" + ssh.FingerprintSHA256(sshdtest.Signer(t, key).PublicKey()) + ")"
	for _, c := range []struct {
		identity   string
		write      string
		text, hint string
	}{
		{s.Identity, "", unknown, "an admin adds identity.pub to that server, for user git"},
		{s.Identity, "no key", "the identity" + of + ": identity is not a private key that can be read", ""},
		{"", "", "the identity" + of + ": none is set", `an admin sets identity = "keys/NAME" in that [[sources]]`},
	} {
		if c.write != "" {
			check(t, os.WriteFile(c.identity, []byte(c.write), 0o600))
		}
		s.Identity = c.identity
		if err := try(s); err == nil || err.Error() != c.text || config.Hint(err) != c.hint {
			t.Errorf("%v, hint %q, want %q, hint %q", err, config.Hint(err), c.text, c.hint)
		}
	}
}
