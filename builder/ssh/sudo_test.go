package ssh

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway/builder"
	"slipway/builder/sshclient/sshdtest"
	"slipway/builder/targettest"
	"slipway/config"
)

// TestRealSudo logs in as an ordinary user, who may become root by the rule that
// the hint of a refusal gives, and by no other.
func TestRealSudo(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can write the rules of sudo; TestSudo is for everybody")
	}
	if _, err := exec.LookPath("sudo"); err != nil {
		t.Skip("sudo is not installed")
	}
	who := ordinaryUser(t)
	var rules string
	f := newFieldWith(t, 1, func(f *field, o *sshdtest.Options) {
		rules = filepath.Join(f.dir, "sudoers")
		if err := os.WriteFile(rules, []byte("# none yet\n"), 0o440); err != nil {
			t.Fatal(err)
		}
		// An account without a password is locked for sshd, unless it has "*".
		shadow := filepath.Join(f.dir, "shadow")
		if err := os.WriteFile(shadow, []byte(who.Username+":*:19000:0:99999:7:::\nroot:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		o.Wrap = []string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/sudoers && mount --bind "$1" /etc/shadow && mount -t tmpfs tmpfs /etc/sudoers.d && shift && exec "$@"`, rules, shadow}
	})
	s, home := f.hosts[0], f.homes[0]
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	for _, err := range []error{os.Chown(home, uid, gid), os.Chmod(s.Authorized, 0o644), os.Mkdir(f.env.Root, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{filepath.Dir(s.Authorized), f.dir, filepath.Dir(f.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil { // the login has to get through
			t.Fatal(err)
		}
	}
	f.env.User, f.env.Hosts = "nobody", []string{fmt.Sprintf("%s@%s", who.Username, s.Host.Addr())}
	no := f.doctor(t)
	no.is(t, who.Username+" may not become root on "+s.Host.Name, "allow it there: "+who.Username+" ALL=(root) NOPASSWD: ")

	_, rule, _ := strings.Cut(no.hint, "allow it there: ")
	rule, _, _ = strings.Cut(rule, "; ")
	// The home here is not where the hint thinks.
	rule = strings.Replace(rule, "/home/"+who.Username, home, 1)
	if err := os.WriteFile(rules, []byte(rule+"\n"), 0o440); err != nil {
		t.Fatal(err)
	}
	target := f.target(t)
	ae, err := config.ParseAppEnv("shop/prod")
	if err != nil {
		t.Fatal(err)
	}
	stage := builder.Stage{Ref: builder.Ref{AppEnv: ae, Number: 1}, Build: 1, App: &config.AppFile{}}
	stage.App.Build.Timeout = time.Minute
	tree := &targettest.Tree{Files: map[string]string{"postinstall": "#!/bin/sh\necho \"as $(id -un)\"\n"}}
	var out bytes.Buffer
	_, err = target.Place(t.Context(), stage.Ref, tree)
	if err == nil {
		err = target.Stage(t.Context(), stage, &out)
	}
	if err != nil || !strings.Contains(out.String(), "as nobody\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := target.Discard(context.WithoutCancel(t.Context()), stage.Ref); err != nil {
		t.Error(err)
	}
}

// ordinaryUser is one that can log in, $TEST_USER if that is set.
func ordinaryUser(t *testing.T) *user.User {
	t.Helper()
	text, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Split(strings.TrimSpace(line), ":")
		if len(words) != 7 || strings.HasSuffix(words[6], "nologin") || strings.HasSuffix(words[6], "false") {
			continue
		}
		uid, _ := strconv.Atoi(words[2])
		name := os.Getenv("TEST_USER")
		if words[0] == name || name == "" && uid >= 1000 && uid < 60000 {
			u, err := user.Lookup(words[0])
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
	}
	t.Skip("there is no ordinary user who can log in")
	return nil
}
