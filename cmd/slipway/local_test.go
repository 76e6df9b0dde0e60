package main

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"slipway/config"
)

// TestHome: where DIR comes from, and what is left of the command line.
func TestHome(t *testing.T) {
	t.Setenv("SLIPWAY_HOME", "")
	t.Setenv("XDG_STATE_HOME", "/state")
	t.Setenv("HOME", "/users/maria")
	fallback := "/state/slipway"
	if os.Geteuid() == 0 {
		fallback = "/var/lib/slipway"
	}
	here, err := filepath.Abs("x")
	check(t, err)
	for _, l := range []struct {
		line, variable, dir, rest string // dir "" is an error
	}{
		{"", "", fallback, ""},
		{"key list", "", fallback, "key list"},
		{"key list", "/srv/s", "/srv/s", "key list"},
		{"--home /a key list", "/srv/s", "/a", "key list"},
		{"key --home /a list", "", "/a", "key list"},
		{"key list --home=/a", "", "/a", "key list"},
		{"--home /a --home /b", "", "/b", ""},
		{"--home x", "", here, ""},
		{"--home /a/../b/", "", "/b", ""},
		{"run shop/dev -- ls --home /etc", "", fallback, "run shop/dev -- ls --home /etc"},
		{"run --home /a shop/dev -- --home", "", "/a", "run shop/dev -- --home"},
		{"-- --home=/a", "", fallback, "-- --home=/a"},
		{"key list --home", "", "", ""},
		{"--home= key list", "/srv/s", "", ""},
		{"--home --json", "", "", ""},
		{"--home -- key", "", "", ""},
		{"--homes /a", "", fallback, "--homes /a"},
	} {
		t.Setenv("SLIPWAY_HOME", l.variable)
		dir, rest, err := home(strings.Fields(l.line))
		switch {
		case l.dir == "":
			if err == nil || config.KindOf(err) != config.Usage || config.Hint(err) == "" {
				t.Errorf("%s: %s, %v", l.line, dir, err)
			}
		case err != nil || dir != l.dir || strings.Join(rest, " ") != l.rest:
			t.Errorf("%s: %s, %q, %v", l.line, dir, rest, err)
		}
	}
}

func FuzzHome(f *testing.F) {
	for _, s := range []string{"--home\x00/a\x00key", "--home=", "--\x00--home", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		dir, rest, err := home(strings.Split(line, "\x00"))
		if err != nil {
			if config.Hint(err) == "" {
				t.Fatal(err)
			}
			return
		}
		if i := slices.Index(rest, "--"); i >= 0 {
			rest = rest[:i]
		}
		if !filepath.IsAbs(dir) || slices.ContainsFunc(rest, func(s string) bool { return s == "--home" || strings.HasPrefix(s, "--home=") }) {
			t.Fatalf("%q, %q", dir, rest)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	public, err := gossh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		f.Fatal(err)
	}
	line := string(gossh.MarshalAuthorizedKey(public))
	for _, s := range []string{line, line + line, "from=\"*\" " + line, "# x\n\n" + line, "-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-rsa AAAA", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parseKey(text)
		switch {
		case err != nil:
			if config.KindOf(err) != config.Usage || config.Hint(err) == "" {
				t.Fatalf("%v", err)
			}
		default:
			key, err := gossh.ParsePublicKey(k.Blob)
			if err != nil || gossh.FingerprintSHA256(key) != k.Fingerprint || key.Type() != k.Type {
				t.Fatalf("%+v, %v", k, err)
			}
		}
	})
}
