package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"slipway/config"
)

func TestInit(t *testing.T) {
	old := syscall.Umask(0o077) // no other test of this package runs beside this one
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "a dir", "slipway")
	check(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	var out bytes.Buffer
	check(t, runInit(t.Context(), dir, &out))
	host, err := os.Hostname()
	check(t, err)
	quoted := "'" + dir + "'"
	same(t, "said", regexp.MustCompile(`SHA256:\S{43}`).ReplaceAllString(out.String(), "FINGERPRINT"), dir+"\n\n"+text(`
		made  keys/         credentials: for sources, hosts, and what the database encrypts
		made  server.toml   settings, each with its default
		made  host_ed25519  the server's SSH host key
		made  slipway.db    keys, releases, vars, audit log

		host key  FINGERPRINT

		next
		`)+"  slipway --home "+quoted+" key add NAME --admin < ~/.ssh/id_ed25519.pub\n  slipway --home "+quoted+" serve\n"+
		"  git remote add deploy ssh://deploy@"+host+":2222/APP/dev\n")
	for name, want := range map[string]os.FileMode{
		"": 0o711, "keys": 0o700, "keys/age": 0o600, "server.toml": 0o644, "host_ed25519": 0o600, "slipway.db": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		check(t, err)
		same(t, "mode of "+name, info.Mode().Perm(), want)
	}
	cfg, err := config.LoadServer(dir)
	check(t, err)
	same(t, "listens", cfg.SSH.Listen, ":2222")

	// Again: nothing is overwritten, and what is missing is made.
	key, err := os.ReadFile(filepath.Join(dir, "host_ed25519"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "server.toml"), []byte("[ssh]\nlisten = \"127.0.0.1:2022\"\n[environments.live]\ntarget = \"local\"\n"), 0o600))
	check(t, os.Chmod(dir, 0o755))
	out.Reset()
	check(t, runInit(t.Context(), dir, &out))
	again, err := os.ReadFile(filepath.Join(dir, "host_ed25519"))
	check(t, err)
	if !bytes.Equal(key, again) || strings.Contains(out.String(), "made") || strings.Count(out.String(), "kept") != 4 {
		t.Errorf("again:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "ssh://deploy@127.0.0.1:2022/APP/live\n") {
		t.Errorf("the remote is another:\n%s", out.String())
	}
	info, err := os.Stat(dir)
	check(t, err)
	same(t, "mode of a directory in use", info.Mode().Perm(), os.FileMode(0o755))
	entries, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	check(t, err)
	same(t, "left over", len(entries), 0)
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) result {
		var out, errs bytes.Buffer
		return result{configCommand(dir, args, &out, &errs), out.String(), errs.String()}
	}
	same(t, "no file", run("check"), result{0, "ok\n", "note: there is no " + filepath.Join(dir, "server.toml") + "; the defaults are in force\n"})
	same(t, "wrong words", run("chek").Status, 2)
	same(t, "wrong words", run().Status, 2)

	check(t, os.WriteFile(filepath.Join(dir, "server.toml"), []byte("[ssh]\nlisen = \":2222\"\n\n[[sources]]\nurll = \"ssh://git@git.corp.local/\"\n"), 0o600))
	r := run("check")
	if r.Status != 1 || r.Out != "" || !strings.Contains(r.Err, "server.toml:2: ssh.lisen: unknown key\nhint: did you mean \"listen\"?\n") ||
		!strings.Contains(r.Err, "server.toml:5: sources[0].urll: unknown key\nhint: did you mean \"url\"?\n") {
		t.Errorf("%+v", r)
	}
	r = run("check", "--json")
	var all []mistakeJSON
	if err := json.Unmarshal([]byte(r.Out), &all); err != nil || r.Status != 1 || r.Err != "" || len(all) < 2 || all[0].Line != 2 || all[0].Key != "ssh.lisen" {
		t.Errorf("%+v: %v", r, err)
	}

	check(t, os.WriteFile(filepath.Join(dir, "server.toml"), []byte(config.ServerTemplate()), 0o600))
	same(t, "the template", run("check"), result{0, "ok\n", ""})
	same(t, "as JSON", run("check", "--json"), result{0, "[]\n", ""})

	// Where the file keeps something from starting, that is a failure of what
	// was to start.
	check(t, os.WriteFile(filepath.Join(dir, "server.toml"), []byte("[web]\nlisten = 1\n"), 0o600))
	_, err := config.LoadServer(dir)
	var errs bytes.Buffer
	same(t, "status", fail(&errs, err), 1)
	if !strings.HasPrefix(errs.String(), "error: server.toml:2: web.listen: ") {
		t.Errorf("%s", errs.String())
	}
}
