package ssh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/builder"
	"slipway/builder/sshclient/sshdtest"
	"slipway/builder/targettest"
	"slipway/config"
)

// said is what a person is told: by doctor, and by a push.
type said struct{ text, hint string }

func (s said) is(t *testing.T, text, hint string) {
	t.Helper()
	if !strings.Contains(s.text, text) || !strings.Contains(s.hint, hint) || hint == "" {
		t.Errorf("it says\n%s\nhint: %s\nand not\n%s\nhint: %s", s.text, s.hint, text, hint)
	}
	if strings.ContainsFunc(s.text+s.hint, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("it is no plain text: %q", s)
	}
}

// doctor is the first thing that doctor finds wrong, of the host.
func (f *field) doctor(t *testing.T) said {
	t.Helper()
	for _, c := range f.target(t).Doctor(t.Context()) {
		if c.Level == "fail" {
			return said{c.Text, c.Hint}
		}
	}
	return said{}
}

// place is how a push fails that brings a file of a size.
func (f *field) place(t *testing.T, size int) said {
	t.Helper()
	ae, err := config.ParseAppEnv("shop/prod")
	if err != nil {
		t.Fatal(err)
	}
	tree := &targettest.Tree{Files: map[string]string{"file": noise(size)}}
	if _, err = f.target(t).Place(t.Context(), builder.Ref{AppEnv: ae, Number: 1}, tree); err == nil {
		return said{}
	}
	return said{err.Error(), config.Hint(err)}
}

// noise is text that does not compress to nothing.
func noise(size int) string {
	var b strings.Builder
	for x := uint64(1); b.Len() < size; {
		x = x*6364136223846793005 + 1442695040888963407
		fmt.Fprintf(&b, "%016x", x)
	}
	return b.String()[:size]
}

// fake has sessions find a program of ours first.
func fake(t *testing.T, f *field, o *sshdtest.Options, name, script string) {
	t.Helper()
	bin := filepath.Join(f.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.Env = append(o.Env, "PATH="+bin+":/usr/local/bin:/usr/bin:/bin")
}

func TestRootTexts(t *testing.T) {
	t.Parallel()
	f := newField(t, 1)
	f.env.Root = filepath.Join(f.dir, "file", "apps")
	if err := os.WriteFile(filepath.Dir(f.env.Root), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.doctor(t).is(t, f.env.Root+": ", "write to it")
	f.place(t, 1).is(t, filepath.Dir(f.env.Root)+": not a directory", "correct root in server.toml: "+f.env.Root)
	if os.Geteuid() == 0 {
		return // whom no mode stops
	}
	f.env.Root = filepath.Join(f.dir, "locked", "apps")
	if err := os.Mkdir(filepath.Dir(f.env.Root), 0o555); err != nil {
		t.Fatal(err)
	}
	f.doctor(t).is(t, f.env.Root+": ", "write to it")
	f.place(t, 1).is(t, "permission denied", "let the login that releases are made by write to "+f.env.Root)
}

func TestFullHost(t *testing.T) {
	t.Parallel()
	mount := func(at string) []string {
		words := []string{"sh", "-c", `mount -t tmpfs -o size=2m,mode=755 tmpfs "$0" && exec "$@"`, at}
		if os.Geteuid() == 0 {
			return append([]string{"unshare", "-m"}, words...)
		}
		words = append([]string{"unshare", "-Urm"}, words...)
		return append(words, "unshare", "-U", fmt.Sprintf("--map-user=%d", os.Geteuid()), fmt.Sprintf("--map-group=%d", os.Getegid()))
	}
	if argv := append(mount(t.TempDir()), "true"); exec.Command(argv[0], argv[1:]...).Run() != nil {
		t.Skip("this account cannot mount a small file system")
	}
	n := 0
	f := newFieldWith(t, 2, func(f *field, o *sshdtest.Options) {
		if n++; n == 2 {
			o.Wrap = mount(f.env.Root)
			return
		}
		if err := os.Mkdir(f.env.Root, 0o755); err != nil {
			t.Fatal(err)
		}
	})
	host := f.hosts[1].Host.Name
	f.place(t, 8<<20).is(t, host+": the file system "+f.env.Root+" is full: ", "free some space there, or keep fewer releases")
}

func TestLoginTexts(t *testing.T) {
	t.Parallel()
	f := newField(t, 1)
	s, known := f.hosts[0], f.env.KnownHosts
	other := sshdtest.Signer(t, sshdtest.NewKey(t, "ed25519")).PublicKey()
	for _, c := range []struct{ known, text, hint string }{
		{"", "the host key of " + s.Host.Addr() + " is not in known_hosts", "an admin compares the fingerprint, then adds it to known_hosts"},
		{sshdtest.Known("", s.Name(), other), "host key of " + s.Host.Addr() + " CHANGED; no credential was sent", "an admin must find out why"},
	} {
		f.env.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(f.env.KnownHosts, []byte(c.known), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, s := range []said{f.doctor(t), f.place(t, 1)} {
			s.is(t, c.text, c.hint)
			s.is(t, " offered ssh-ed25519 SHA256:", c.hint)
		}
	}
	f.env.KnownHosts = known
	if err := os.Truncate(s.Authorized, 0); err != nil {
		t.Fatal(err)
	}
	f.doctor(t).is(t, s.Host.Addr()+" does not take the key of environment ", "an admin adds identity.pub to ~/.ssh/authorized_keys of "+s.Host.User)
}

func TestJumpHost(t *testing.T) {
	t.Parallel()
	f := newField(t, 1)
	jump := sshdtest.Start(t, sshdtest.Options{IP: "127.0.9.1"})
	jump.Allow(t, f.env.Identity, "")
	f.env.Via = jump.Host.String()
	f.doctor(t).is(t, "the host key of "+jump.Host.Addr()+" is not in known_hosts", "adds it to known_hosts")
	f.env.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(f.env.KnownHosts, []byte(jump.Known()+f.hosts[0].Known()), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := f.place(t, 1); s.text != "" {
		t.Errorf("through a jump host: %v", s)
	}
	if log, err := os.ReadFile(jump.Log); err != nil || !strings.Contains(string(log), "Accepted publickey") {
		t.Errorf("not through the jump host: %s, %v", log, err)
	}
	f.pool.Forget()
	jump.Lose(t)
	s := f.doctor(t)
	s.is(t, "cannot reach jump host "+jump.Host.Addr()+": connection refused", "once more")
}

func TestMachineTexts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ program, script, text, hint string }{
		"architecture": {"uname", "case $1 in -m) echo riscv64;; -s) echo Linux;; esac", " runs Linux-riscv64, for which there is no agent", "agents are made for Linux on x86_64 and aarch64"},
		"system":       {"uname", "case $1 in -m) echo amd64;; -s) echo FreeBSD;; esac", " runs FreeBSD-amd64, for which there is no agent", "agents are made for Linux on x86_64 and aarch64"},
		"arm64":        {"uname", "case $1 in -m) echo aarch64;; -s) echo Linux;; esac", " is a machine of another kind (aarch64), and its agent is not here", "put this version for Linux on arm64 at "},
		"gzip":         {"gzip", "echo 'gzip: no room for you' >&2; exit 1", ": gzip: no room for you", "the login needs a home with room in it, and gzip and sha256sum"},
		"damaged":      {"sha256sum", "cat > /dev/null; echo 0  -", ": what arrived is damaged", "the login needs a home with room in it, and gzip and sha256sum"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFieldWith(t, 1, func(f *field, o *sshdtest.Options) { fake(t, f, o, c.program, c.script) })
			s := f.doctor(t)
			s.is(t, f.hosts[0].Host.Name, c.hint)
			s.is(t, c.text, c.hint)
		})
	}
}

// What lies in the place of the program for another kind of machine is looked at.
func TestForeignAgent(t *testing.T) {
	t.Parallel()
	f := newFieldWith(t, 1, func(f *field, o *sshdtest.Options) {
		fake(t, f, o, "uname", "case $1 in -m) echo aarch64;; -s) echo Linux;; esac")
	})
	path := filepath.Join(f.dir, "slipway-linux-arm64")
	self, err := os.Executable() // of this machine's kind
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	f.doctor(t).is(t, path+" is not slipway for Linux on arm64", "build")
}

func TestSudo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, text, hint string }{
		"allowed": {`[ "$1 $2" = "-n --" ] || exit 9; shift 2; exec "$@"`, "", ""},
		"refused": {"echo 'sudo: a password is required' >&2; exit 1", "so builds cannot have an account of their own: sudo: a password is required", "ALL=(root) NOPASSWD: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFieldWith(t, 1, func(f *field, o *sshdtest.Options) { fake(t, f, o, "sudo", c.script) })
			f.env.User = "nobody"
			if f.hosts[0].Host.User == "root" {
				t.Skip("root needs no sudo; TestRealSudo is for it")
			}
			if s := f.doctor(t); c.text != "" || s.text != "" {
				s.is(t, c.text, c.hint)
			}
		})
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	for ahead, text := range map[time.Duration]string{time.Hour: "its clock is 1h0m0s off", -time.Hour: "its clock is 1h0m0s off", time.Second: "", 0: ""} {
		all := checkClock("host app1", ahead)
		switch {
		case text == "" && len(all) == 0:
		case len(all) != 1 || all[0].Text != text || all[0].Level != "warn" || !strings.Contains(all[0].Hint, "NTP"):
			t.Errorf("%s ahead: %+v", ahead, all)
		}
	}
}
