package config

import (
	"strings"
	"testing"
)

// Each row is one thing wrong in an otherwise right file; the rest of the file
// must stay right.
func TestServerValues(t *testing.T) {
	dir := newDir(t)
	lockKey(t, dir)
	t.Setenv("SLIPWAY_TEST_TOKEN", "canary-env")
	t.Setenv("SLIPWAY_TEST_EMPTY", "")
	const source = "[[sources]]\nurl = \"ssh://git@h/\"\nidentity = \"keys/git_corp\"\n"
	const https = "[[sources]]\nurl = \"https://h/\"\n"
	const remote = "[environments.p]\ntarget = \"ssh\"\nroot = \"/srv\"\nidentity = \"keys/prod\"\n"
	const hosts = "hosts = [\"h\"]\n"
	for _, c := range []struct{ in, key, text string }{
		{`a = `, "a", "expected value"},
		{`token = glpat-canary`, "token", "not a value of TOML"},
		{"[ssh]\nlisten = \":1\"\nlisten = \":2\"", "", "already"},
		{"a\xff = 1", "", "UTF-8"},
		{`ssh = 1`, "ssh", "a table is needed"},
		{`sources = 1`, "sources", "list of tables"},
		{`sources = [1]`, "sources", "list of tables"},
		{`environments.dev = 1`, "environments.dev", "a table is needed"},
		{"\"a.b\\u001b\" = 1", `"a.b`, "unknown key"},

		{"[ssh]\nlisten = \"\"", "ssh.listen", "not host:port"},
		{"[ssh]\nlisten = \"2222\"", "ssh.listen", "not host:port"},
		{"[ssh]\nlisten = \":65536\"", "ssh.listen", "port"},
		{"[ssh]\nlisten = \":ssh\"", "ssh.listen", "port"},
		{"[ssh]\nlisten = \"a b:1\"", "ssh.listen", "host"},
		{"[ssh]\nlisten = \"\\n:1\"", "ssh.listen", "control byte"},
		{"[ssh]\naddress = \"ssh://h\"", "ssh.address", "host"},
		{"[ssh]\nuser_ca = \"keys/git_corp\"", "ssh.user_ca", "not an ssh public key"},
		{"[ssh]\nuser_ca = \"keys/empty\"", "ssh.user_ca", "no key"},
		{"[ssh]\nuser_ca = \"keys/open_ca.pub\"", "ssh.user_ca", "others may change it"},
		{"[ssh]\nuser_ca = \"keys/weak_ca.pub\"", "ssh.user_ca", "weak_ca.pub:2: an RSA key has 2048 to 4096 bits, not 1024"},
		{"[web]\nlisten = \"8080\"", "web.listen", "not host:port"},

		{"[limits]\npush_bytes = -1", "limits.push_bytes", "out of range"},
		{"[limits]\npush_bytes = 1.5", "limits.push_bytes", "a decimal number"},
		{"[limits]\npush_bytes = \"9999999999999TiB\"", "limits.push_bytes", "too large"},
		{"[limits]\npush_bytes = \"99999999999999999999\"", "limits.push_bytes", "too large"},
		{"[limits]\ntree_files = \"many\"", "limits.tree_files", "a string, where a number"},
		{"[limits]\nhandshake = \"20\"", "limits.handshake", "not a duration"},
		{"[limits]\nhandshake = \"-1s\"", "limits.handshake", "out of range"},
		{"[limits]\nhandshake = \"9999999h\"", "limits.handshake", "not a duration"},
		{"[limits]\nsandbox = \"requires\"", "limits.sandbox", "not known"},
		{"[limits]\nmemory = \"1MiB\"", "limits.memory", "too little"},
		{"[limits]\nuids = \"1-5\"", "limits.uids", "out of range"},
		{"[limits]\nuids = \"9000-8000\"", "limits.uids", "ends before"},
		{"[limits]\nuids = \"60000-70000\"", "limits.uids", "nobody"},
		{"[limits]\nuids = \"x\"", "limits.uids", "LOW-HIGH"},
		{"[limits]\nuids = 5", "limits.uids", "a number"},

		{source + "username = \"x\"", "sources[0].username", "https only"},
		{source + "ca = \"keys/corp-ca.pem\"", "sources[0].ca", "https only"},
		{source + "apps = []", "sources[0].apps", "empty"},
		{source + "apps = \"*/*\"", "sources[0].apps", "list of strings"},
		{source + "apps = [1]", "sources[0].apps[0]", "a number"},
		{source + "instead_of = [\"\"]", "sources[0].instead_of[0]", "empty"},
		{source + "instead_of = [\"https://u:canary@h/\"]", "sources[0].instead_of[0]", "secret"},
		{source + "known_hosts = \"broken_hosts\"", "sources[0].known_hosts", "broken_hosts"},
		{source + "known_hosts = \"nowhere\"", "sources[0].known_hosts", "there is no "},
		{source + "known_hosts = \"keys\"", "sources[0].known_hosts", "not a regular file"},
		{source + "known_hosts = \"../x\"", "sources[0].known_hosts", "leads out"},
		{source + "known_hosts = \"\"", "sources[0].known_hosts", "empty"},
		{source + source, "sources[1].url", "same url"},
		{source + "apps = [\"shop/*\"]\n" + source + "apps = [\"*/dev\"]", "sources[1].url", "same url"},
		{source + "instead_of = [\"x\"]\n" + strings.Replace(source, "h/", "i/", 1) + "instead_of = [\"x\"]", "sources[1].instead_of[0]", "line 1"},
		{"[[sources]]\nurl = \"ssh://git@h/\"", "sources[0].identity", "missing"},
		{"[[sources]]\nurl = \"http://u:canary@h/\"", "sources[0].url", "scheme"},
		{strings.Replace(source, "git_corp", "locked", 1), "sources[0].identity", "passphrase"},
		{strings.Replace(source, "git_corp", "loose", 1), "sources[0].identity", "mode 0640"},
		{strings.Replace(source, "git_corp", "git_corp.pub", 1), "sources[0].identity", "public key"},
		{strings.Replace(source, "git_corp", "https_token", 1), "sources[0].identity", "not an ssh private key"},
		{https + "identity = \"keys/git_corp\"", "sources[0].identity", "ssh only"},
		{https + "username = \"\"", "sources[0].username", "empty"},
		{https + "token = \"glpat-canary\"", "sources[0].token", "a secret itself"},
		{https + "token = \"file:keys/empty\"", "sources[0].token", "empty"},
		{https + "token = \"file:keys/two_lines\"", "sources[0].token", "more than one line"},
		{https + "token = \"file:keys/loose\"", "sources[0].token", "mode 0640"},
		{https + "token = \"file:../../etc/passwd\"", "sources[0].token", "leads out"},
		{https + "token = \"env:SLIPWAY_TEST_NOT_SET\"", "sources[0].token", "has no"},
		{https + "token = \"env:SLIPWAY_TEST_EMPTY\"", "sources[0].token", "empty"},
		{https + "token = 5", "sources[0].token", "a number"},
		{https + "ca = \"keys/git_corp\"", "sources[0].ca", "PRIVATE KEY"},
		{https + "ca = \"known_hosts\"", "sources[0].ca", "not PEM"},
		{"[[sources]]\nurl = \"https://u@h/\"", "sources[0].url", "user name"},

		{"[environments.dev]\ntarget = \"locl\"", "environments.dev.target", "not known"},
		{"[environments.dev]\ntarget = \"container\"", "environments.dev.target", "not built into this version"},
		{"[environments.dev]\ntarget = \"kubernetes\"", "environments.dev.target", "not built into this version"},
		{"[environments.dev]\nkeep = 0", "environments.dev.keep", "out of range"},
		{"[environments.dev]\nprotected = \"yes\"", "environments.dev.protected", "a string"},
		{"[environments.dev]\nbranch = \"refs/heads/main\"", "environments.dev.branch", "a ref"},
		{"[environments.dev]\nbranch = \"-x\"", "environments.dev.branch", "name of a branch"},
		{"[environments.dev]\nbranch = \"a..b\"", "environments.dev.branch", "name of a branch"},
		{"[environments.dev]\nbranch = \"a.lock\"", "environments.dev.branch", "name of a branch"},
		{"[environments.dev]\nroot = \"../x\"", "environments.dev.root", "leads out"},
		{"[environments.dev]\nroot = \"keys\"", "environments.dev.root", "Slipway's own"},
		{"[environments.dev]\nroot = \"apps\"", "environments.dev.root", "one environment alone"},
		{"[environments.dev]\nroot = \".\"", "environments.dev.root", "one environment alone"},
		{"[environments.dev]\nroot = \"/\"", "environments.dev.root", "DIR in it"},
		{"[environments.dev]\nroot = \"\"", "environments.dev.root", "empty"},
		{"[environments.a]\nroot = \"apps/x\"\n[environments.b]\nroot = \"apps/x/y\"", "environments.b.root", "lie in each other"},
		{"[environments.dev]\nhosts = [\"h\"]", "environments.dev.hosts", "only"},
		{"[environments.dev]\nuser = \"root\"", "environments.dev.user", "confines"},
		{"[environments.dev]\nuser = \"no-such-user\"", "environments.dev.user", "no user"},
		{"[environments.dev]\nuser = \"-x\"", "environments.dev.user", "name of a user"},
		{remote, "environments.p.hosts", "missing"},
		{remote + "hosts = []", "environments.p.hosts", "empty"},
		{remote + "hosts = [\"-oProxyCommand=x\"]", "environments.p.hosts[0]", "begins with '-'"},
		{remote + "hosts = [\"a@b@c\"]", "environments.p.hosts[0]", "user name"},
		{remote + "hosts = [\"a/b\"]", "environments.p.hosts[0]", "host alone"},
		{remote + "hosts = [\"h\", \"x@h:22\"]", "environments.p.hosts[1]", "twice"},
		{remote + hosts + "via = \"a b\"", "environments.p.via", "host"},
		{strings.Replace(remote, `"/srv"`, `"srv"`, 1) + hosts, "environments.p.root", "absolute"},
		{strings.Replace(remote, `"/srv"`, `"/a/../b"`, 1) + hosts, "environments.p.root", "absolute"},
		{strings.Replace(remote, `"/srv"`, `"/"`, 1) + hosts, "environments.p.root", "absolute"},
		{remote + hosts + strings.Replace(remote, ".p]", ".q]", 1) + hosts, "environments.q.root", "lie in each other"},

		{"[web]\npprof = \"file:keys/https_token\"", "web.pprof", "no window"},
		{"[web]\nlisten = \"127.0.0.1:1\"\npprof = \"canary\"", "web.pprof", "a secret itself"},

		{"[services.postgresql]", "services.postgresql.url", "missing"},
		{"[services.postgresql]\nurl = \"mysql://u:canary@h/\"", "services.postgresql.url", "not a postgres"},
		{"[services.postgresql]\nurl = \"postgres://u:can%ary@h/\"", "services.postgresql.url", "not a URL"},
		{"[services.postgresql]\nurl = \"postgres://u:canary@/x\"", "services.postgresql.url", "no host"},
		{"[services.postgresql]\nurl = \"postgres://h/x\"", "services.postgresql.url", "no login"},
		{"[services.postgresql]\nurl = \"postgres://u@h/\"\nurl_for_apps = \"postgres://u:canary@h\"", "services.postgresql.url_for_apps", "login"},
		{"[services.postgresql]\nurl = \"postgres://u@h/\"\nurl_for_apps = \"postgres://h/db\"", "services.postgresql.url_for_apps", "database"},
		{"[services.mysql]", "services.mysql", "unknown key"},

		{"[apps.Shop]", "apps.Shop", "not a valid name"},
		{"[apps.shop]\nupstream = \"../x\"", "apps.shop.upstream", "local path"},
		{"[apps.shop]\nupstream = \"ssh://h/\"", "apps.shop.upstream", "no repository"},
	} {
		_, doc := parseServer(dir, []byte(c.in), 0o600, everything)
		err := doc.mistakes.err()
		if err == nil {
			t.Errorf("%q is taken", c.in)
			continue
		}
		ms := err.(Mistakes)
		if len(ms) != 1 || !strings.Contains(ms[0].Text, c.text) || c.key != "" && !strings.HasPrefix(ms[0].Key, c.key) || c.key == "" && ms[0].Line == 0 {
			t.Errorf("%q: want %s: %q, got\n%s", c.in, c.key, c.text, strings.Join(ms.Lines(), "\n"))
		}
		if all := strings.Join(ms.Lines(), "\n"); strings.Contains(all, "canary") || printable(strings.ReplaceAll(all, "\n", "")) != strings.ReplaceAll(all, "\n", "") {
			t.Errorf("%q: shows a secret, or is not plain:\n%s", c.in, all)
		}
	}
	c, doc := parseServer(dir, []byte(https+"token = \"env:SLIPWAY_TEST_TOKEN\""), 0o600, everything)
	if doc.mistakes.err() != nil || c.Sources[0].Token.Reveal() != "canary-env" {
		t.Errorf("token from the environment: %v", doc.mistakes)
	}
	_, doc = parseServer(dir, []byte("[services.postgresql]\nurl = \"postgres://u:canary@h/\""), 0o644, everything)
	if err := doc.mistakes.err(); err == nil || !strings.Contains(err.Error(), "others may read") {
		t.Errorf("a password in a file for all: %v", err)
	}
}
