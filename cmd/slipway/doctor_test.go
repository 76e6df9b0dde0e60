package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"slipway/builder"
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
		"\nfail deploys release 3 of shop/dev is not what every host runs\nhint: it is tried again by itself; redeploy shop/dev does so at once\n",
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

// TestDoctorFinds breaks each thing that doctor looks at, and wants the line
// that says so, with what mends it.
func TestDoctorFinds(t *testing.T) {
	path := func(o *office, names ...string) string { return filepath.Join(append([]string{o.dir}, names...)...) }
	database := func(o *office, statements string) {
		db, err := sql.Open("sqlite", path(o, store.File))
		check(o.t, err)
		_, err = db.ExecContext(o.t.Context(), statements)
		check(o.t, errors.Join(err, db.Close()))
	}
	changed := func(o *office, change func(*config.Server)) {
		c := *o.config()
		c.Environments = maps.Clone(c.Environments)
		change(&c)
		o.config = func() *config.Server { return &c }
	}
	source := func(o *office, s config.Source) {
		s.URL = sourceURL(o.t, closedPort(o.t, "ssh://git@127.0.0.1:%d/"))
		changed(o, func(c *config.Server) { c.Sources = []config.Source{s} })
	}
	covered := map[string]bool{}
	for _, l := range []struct {
		name  string
		root  bool // only root has it
		spoil func(*office)
		line  string // begins with the level and what
		hint  string
	}{
		{"a mistake in server.toml", false, func(o *office) {
			check(o.t, os.WriteFile(path(o, config.ServerFile), []byte("[sssh]\n"), 0o600))
		}, "fail config ", "did you mean"},
		{"no server.toml", false, func(o *office) { check(o.t, os.Remove(path(o, config.ServerFile))) }, "warn config ", "slipway init"},
		{"a server.toml that was not read again", false, func(o *office) {
			check(o.t, os.WriteFile(path(o, config.ServerFile), []byte("[limits]\nsubmodules = 3\n"), 0o600))
		}, "warn config ", "kill -HUP"},
		{"open keys", false, func(o *office) { check(o.t, os.Chmod(path(o, keysDir), 0o755)) }, "fail mode ", "chmod go= "},
		{"an open database", false, func(o *office) { check(o.t, os.Chmod(path(o, store.File), 0o640)) }, "fail mode ", "chmod go= "},
		{"no keys", false, func(o *office) { check(o.t, os.Rename(path(o, keysDir), path(o, "k"))) }, "fail mode stat ", "chmod go= "},
		{"a DIR without a way through", true, func(o *office) { check(o.t, os.Chmod(o.dir, 0o700)) }, "fail mode builds of other accounts cannot get through", "chmod 711 "},
		{"no host key", false, func(o *office) { check(o.t, os.Remove(path(o, hostKeyFile))) }, "fail host key ", "serve makes one"},
		{"junk for a host key", false, func(o *office) {
			check(o.t, os.WriteFile(path(o, hostKeyFile), []byte("junk"), 0o600))
		}, "fail host key ", "restore it"},
		{"a damaged database", false, func(o *office) {
			database(o, "PRAGMA ignore_check_constraints = 1; INSERT INTO releases SELECT 'a', 'b', 1, 0, '', '', '', 'nonsense', '', '', '', '', '', '', '', '', '', 0, x'00'")
		}, "fail database ", "restore"},
		{"a forged audit log", false, func(o *office) {
			o.key("maria")
			database(o, "DROP TRIGGER audit_stays; UPDATE audit SET by = 'nobody'")
		}, "fail audit the audit log was changed at event 1", "backup"},
		{"an old git", false, func(o *office) { fakeGit(o.t, "git version 2.20.1") }, "fail git git 2.20 lacks", "install git"},
		{"no git", false, func(o *office) { o.t.Setenv("PATH", o.t.TempDir()) }, "fail git git cannot be started", "apt-get install git"},
		{"what a killed push has left", false, func(o *office) {
			left := path(o, "tmp", "left")
			check(o.t, os.Mkdir(left, 0o700))
			check(o.t, os.Chtimes(left, o.clock, o.clock.Add(-48*time.Hour)))
		}, "warn left over 1 temporary files", "the next start"},
		{"a deploy that hangs", false, func(o *office) {
			check(o.t, o.store.Begin(o.t.Context(), store.Entry{AppEnv: appEnv(o.t, "shop/dev"), Release: 1, Phase: store.Queued, To: 1}))
			o.clock = o.clock.Add(30 * time.Hour)
		}, "warn deploys release 1 of shop/dev is queued since", "cancel shop/dev"},
		{"hosts that differ", false, func(o *office) {
			e := store.Entry{AppEnv: appEnv(o.t, "shop/dev"), Release: 1, Phase: store.Queued, To: 1}
			check(o.t, o.store.Begin(o.t.Context(), e))
			e.Phase = store.Diverged
			check(o.t, o.store.Advance(o.t.Context(), e))
		}, "fail deploys release 1 of shop/dev is not what", "redeploy shop/dev"},
		{"no keys of people", false, func(*office) {}, "warn keys none", "key add"},
		{"a stranger", false, func(o *office) {
			check(o.t, o.store.AddAttempt(o.t.Context(), store.Attempt{Fingerprint: "SHA256:abc", User: "git", Addr: "203.0.113.9:1", AuthorizedKey: "ssh-ed25519 AAAA"}))
		}, "warn turned away 1", "key attempts"},
		{"a source that is down", false, func(o *office) {
			source(o, config.Source{Identity: path(o, hostKeyFile), KnownHosts: path(o, config.ServerFile)})
		}, "warn source ssh://git@127.0.0.1", "what is cached"},
		{"a source's key is gone", false, func(o *office) {
			source(o, config.Source{Identity: path(o, "nosuch"), KnownHosts: path(o, config.ServerFile)})
		}, "fail source ssh://git@127.0.0.1", "must be able to read it"},
		{"a database server that is down", false, func(o *office) {
			down := &config.PostgreSQL{URL: config.NewSecret(closedPort(o.t, "postgres://u:canary@127.0.0.1:%d/postgres"))}
			changed(o, func(c *config.Server) {
				for name, env := range c.Environments {
					e := *env
					e.Services.PostgreSQL = down
					c.Environments[name] = &e
				}
			})
		}, "fail postgresql cannot reach postgresql at 127.0.0.1:", "[services.postgresql]"},
		{"a root in the way", false, func(o *office) {
			check(o.t, os.MkdirAll(path(o, "apps"), 0o755))
			check(o.t, os.WriteFile(path(o, "apps", "dev"), nil, 0o600))
		}, "fail root ", "write to it"},
		{"an environment of another version", false, func(o *office) {
			o.target = func(context.Context, config.Env) (builder.Target, error) { return nil, errors.New("not built in") }
		}, "fail target dev not built in", "[environments.dev]"},
	} {
		t.Run(l.name, func(t *testing.T) {
			if l.root && os.Geteuid() != 0 {
				t.Skip("only root builds as other accounts")
			}
			o := newOffice(t)
			o.t = t
			l.spoil(o)
			covered[strings.TrimPrefix(strings.TrimPrefix(l.line, "fail "), "warn ")] = true
			r := o.do(onServer, "", "doctor")
			said := narrow(r.Out)
			_, after, found := strings.Cut(said, "\n"+l.line)
			_, rest, _ := strings.Cut(after, "\n")
			if !found || !strings.HasPrefix(rest, "hint: ") || !strings.Contains(strings.SplitN(rest, "\n", 2)[0], l.hint) {
				t.Errorf("no line %q with the hint %q in\n%s", l.line, l.hint, r.Out)
			}
			if strings.HasPrefix(l.line, "fail") != (r.Status == 1) {
				t.Errorf("status %d", r.Status)
			}
			if strings.Contains(said, "canary") {
				t.Errorf("a secret is shown:\n%s", r.Out)
			}
		})
	}
	same(t, "little space", checkRoom(lowBytes-1, true, lowInodes).Level, levelWarn)
	same(t, "few inodes", checkRoom(lowBytes, true, lowInodes-1).Level, levelWarn)
	same(t, "inodes that are not counted", checkRoom(lowBytes, false, 0).Level, levelOK)

	// Every kind of line that doctor prints was broken, here or beside its code.
	elsewhere := map[string]bool{"disk": true, "sandbox": true, "limits": true}
	var all []checkJSON
	o := newOffice(t)
	o.key("maria")
	check(t, json.Unmarshal([]byte(o.must(onServer, "", "doctor", "--json")), &all))
	for _, k := range all {
		found := elsewhere[k.What]
		for line := range covered {
			found = found || strings.HasPrefix(line, strings.Fields(k.What)[0]+" ")
		}
		if !found {
			t.Errorf("nothing here breaks the check %q", k.What)
		}
	}
}

// closedPort puts a port of this machine into a format, on which nobody
// listens.
func closedPort(t *testing.T, format string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	check(t, l.Close())
	return fmt.Sprintf(format, port)
}

// fakeGit puts a git of that version first in PATH.
func fakeGit(t *testing.T, version string) {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "git"), []byte("#!/bin/sh\necho '"+version+"'\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}
