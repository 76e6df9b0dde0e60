package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"slipway/config"
	"slipway/store"
)

var lastLine = regexp.MustCompile(`^\d+ checks: \d+ ok, \d+ warn, 0 fail$`)

// narrow makes one space of many, and begins with a new line.
func narrow(s string) string {
	var b strings.Builder
	b.WriteString("\n")
	for line := range strings.Lines(s) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

func TestDoctor(t *testing.T) {
	o := newOffice(t)
	maria := o.key("maria", "--admin")
	r := o.do(maria, "", "doctor")
	lines := strings.Split(strings.TrimSpace(r.Out), "\n")
	if r.Status != 0 || r.Err != "" || !lastLine.MatchString(lines[len(lines)-1]) {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{
		"ok config ", "ok host key ", "ok database ", "ok audit ", "ok keys 1, of them 1 of admins\n", "ok turned away nobody\n", "ok target prod local\n",
	} {
		if !strings.Contains(narrow(r.Out), "\n"+want) {
			t.Errorf("no line %q in\n%s", want, r.Out)
		}
	}

	// What is wrong is said, each with what mends it.
	check(t, os.Chmod(filepath.Join(o.dir, hostKeyFile), 0o644))
	check(t, os.WriteFile(filepath.Join(o.dir, config.ServerFile), []byte("[sssh]\n"), 0o600))
	check(t, o.store.AddAttempt(t.Context(), store.Attempt{Fingerprint: "SHA256:abc", User: "git", Addr: "203.0.113.9:4711", AuthorizedKey: "ssh-ed25519 AAAA"}))
	ae := appEnv(t, "shop/dev")
	check(t, o.store.Begin(t.Context(), store.Entry{AppEnv: ae, Release: 3, Phase: store.Queued, To: 3}))
	check(t, o.store.Advance(t.Context(), store.Entry{AppEnv: ae, Release: 3, Phase: store.Diverged, To: 3}))
	r = o.do(maria, "", "doctor")
	same(t, "status", []any{r.Status, r.Err}, []any{1, ""})
	for _, want := range []string{
		"\nfail config ", "\nfail mode ", "\nhint: chmod go= " + filepath.Join(o.dir, hostKeyFile) + "\n", "can be read by others: mode 0644",
		"\nfail deploys release 3 of shop/dev is not what every host runs\nhint: redeploy shop/dev, once the host answers\n",
		"\nwarn turned away 1, the last SHA256:abc from 203.0.113.9:4711 as git, 2026-11-25 04:05 UTC\nhint: ",
		"echo 'ssh-ed25519 AAAA' | slipway key add NAME",
	} {
		if !strings.Contains(narrow(r.Out), want) {
			t.Errorf("%q is not in\n%s", want, r.Out)
		}
	}
	var all []checkJSON
	r = o.do(maria, "", "doctor", "--json")
	check(t, json.Unmarshal([]byte(r.Out), &all))
	fails := 0
	for _, k := range all {
		if k.Level == levelFail {
			fails++
		}
		if (k.Level == levelOK) != (k.Hint == "") {
			t.Errorf("hint of %+v", k)
		}
	}
	same(t, "as JSON", []int{r.Status, fails}, []int{1, 3})
}
