package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

const contractTOML = `
[ssh]
listen = "127.0.0.1:2222"
address = "deploy@ship.corp:2222"

[limits]
push_bytes = "2GiB"
tree_files = 500_000
handshake = "20s"
memory = 1_073_741_824
uids = "100000-100009"

[[sources]]
url         = "ssh://git@git.corp.local/"
identity    = "keys/git_corp"
known_hosts = "known_hosts"
apps        = ["shop/*"]
instead_of  = ["git@github.com:corp/", "https://github.com/corp/"]

[[sources]]
url      = "https://git.corp.local:8443/"
username = "oauth2"
token    = "file:keys/https_token"
ca       = "keys/corp-ca.pem"

[environments.dev]
target = "local"
root   = "apps/dev"
branch = "main"
keep   = 5

[environments.staging]

[environments.prod]
target = "ssh"
hosts  = ["deploy@app1.example.com", "deploy@app2.example.com:2200"]
root   = "/srv/apps/"
identity = "keys/prod"
known_hosts = "known_hosts"
via = "deploy@bastion"
user = "apps"
protected = true
[environments.prod.services.postgresql]
url = "postgres://admin:canary@10.0.0.5/postgres"

[services.postgresql]
url = "file:keys/postgresql"
url_for_apps = "postgres://db.corp.local:5432?sslmode=require"
create_databases = false

[apps.shop]
upstream = "ssh://git@git.corp.local/team/shop.git"
`

func TestLoadServer(t *testing.T) {
	dir := newDir(t)
	got, doc := parseServer(dir, []byte(contractTOML), 0o600, everything)
	if err := doc.mistakes.err(); err != nil {
		t.Fatal(strings.Join(err.(Mistakes).Lines(), "\n"))
	}
	limits := DefaultLimits()
	limits.Memory, limits.UIDs = 1<<30, [2]int{100_000, 100_009}
	pg := Services{&PostgreSQL{
		URL:        NewSecret("postgres://admin:canary@db.corp.local/postgres"),
		URLForApps: "postgres://db.corp.local:5432?sslmode=require", NoCreate: true,
	}}
	hosts := filepath.Join(dir, "known_hosts")
	want := &Server{
		Dir: dir, SSH: SSH{Listen: "127.0.0.1:2222", Address: "deploy@ship.corp:2222"}, Limits: limits, Services: pg,
		Sources: []Source{{
			URL: parseURLs(t, "ssh://git@git.corp.local/"), Written: "ssh://git@git.corp.local/",
			Identity: filepath.Join(dir, "keys/git_corp"), KnownHosts: hosts, Apps: []Glob{{"shop/*"}},
			InsteadOf: []string{"git@github.com:corp/", "https://github.com/corp/"}, Line: 13,
		}, {
			URL: parseURLs(t, "https://git.corp.local:8443"), Written: "https://git.corp.local:8443/", Apps: []Glob{{"*/*"}},
			Username: "oauth2", Token: NewSecret("glpat-canary"), CA: filepath.Join(dir, "keys/corp-ca.pem"), Line: 20,
		}},
		Environments: map[Env]*Environment{
			{"dev"}:     {Name: Env{"dev"}, Target: "local", Root: filepath.Join(dir, "apps/dev"), Branch: "main", Keep: 5, Services: pg},
			{"staging"}: {Name: Env{"staging"}, Target: "local", Root: filepath.Join(dir, "apps/staging"), Keep: 5, Services: pg},
			{"prod"}: {
				Name: Env{"prod"}, Target: "ssh", Root: "/srv/apps", Keep: 5, Protected: true,
				Hosts:    []string{"deploy@app1.example.com", "deploy@app2.example.com:2200"},
				Identity: filepath.Join(dir, "keys/prod"), KnownHosts: hosts, Via: "deploy@bastion", User: "apps",
				Services: Services{&PostgreSQL{URL: NewSecret("postgres://admin:canary@10.0.0.5/postgres")}},
			},
		},
		Apps: map[App]*AppSettings{{"shop"}: {parseURLs(t, "git@git.corp.local:team/shop.git")}},
	}
	if diff := cmp.Diff(want, got, sameServer); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoadServerWithoutFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not there")
	c, err := LoadServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	dev := c.Environments[Env{"dev"}]
	if len(c.Environments) != 1 || dev == nil || dev.Target != "local" || dev.Root != filepath.Join(dir, "apps", "dev") || dev.Keep != 5 {
		t.Errorf("environments: %+v", c.Environments)
	}
	if c.SSH.Listen != ":2222" || c.Web.Listen != "" || c.Limits.Handshake != 20*time.Second {
		t.Errorf("%+v", c)
	}
}

func TestLoadServerFile(t *testing.T) {
	dir := newDir(t)
	path := filepath.Join(dir, ServerFile)
	if err := os.WriteFile(path, []byte("[ssh]\n\nlissten = \":1\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadServer(dir)
	if want := `server.toml:3: ssh.lissten: unknown key`; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if KindOf(err) != Usage || Hint(err) != `did you mean "listen"?` {
		t.Errorf("kind %v, hint %q", KindOf(err), Hint(err))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadServer(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

// Every mistake of a file is said at once, in the order of its lines.
func TestServerMistakes(t *testing.T) {
	dir := newDir(t)
	_, doc := parseServer(dir, []byte(`# line 1
[ssh]
listen = 2222
[limits]
push_bytes = "2GB2"
deploys_at_once = 0
handshake = 20

[[sources]]
url = "ssh://git@h/"
identity = "keys/git_corp"
[[sources]]
urll = "ssh://git@git.corp.local/"
apps = [
  "shop/*",
  "no glob",
]
token = "glpat-canary"
[environments.Prod]
[enviroments.prod]
`), 0o600, everything)
	got := strings.Join(doc.mistakes.err().(Mistakes).Lines(), "\n")
	want := `server.toml:3: ssh.listen: a number, where a string is needed
hint: such as: listen = "127.0.0.1:2222"
server.toml:5: limits.push_bytes: "2GB2" is not a size: a whole number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB
hint: such as: push_bytes = "2GiB"
server.toml:6: limits.deploys_at_once: 0 is out of range
hint: from 1 to 1024; the default is 4
server.toml:7: limits.handshake: a number, where a duration is needed
hint: such as: handshake = "20s"
server.toml:12: sources[1].url: missing
hint: such as: url = "ssh://git@git.corp.local/"
server.toml:13: sources[1].urll: unknown key
hint: did you mean "url"?
server.toml:14: sources[1].apps[1]: parse "no glob": not a pattern over APP/ENV
hint: use two patterns, such as 'shop/*' or '*/dev'
server.toml:18: sources[1].token: a secret itself, where the place of one is needed
hint: token = "file:keys/token" or "env:NAME"
server.toml:19: environments.Prod: parse environment "Prod": not a valid name
hint: a-z, 0-9 and '-', at most 63 of them, not led by '-': such as prod
server.toml:20: enviroments: unknown key
hint: did you mean "environments"?`
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What a version has not is said, and nothing is promised that it ignores.
func TestNotBuiltIn(t *testing.T) {
	dir := newDir(t)
	for _, in := range []string{
		"[ssh]\nuser_ca = \"keys/user_ca.pub\"",
		"[web]\nlisten = \":8080\"",
		"[services.postgresql]\nurl = \"postgres://u@h/\"",
		"[environments.p]\ntarget = \"ssh\"\nroot = \"/srv\"\nidentity = \"keys/prod\"\nhosts = [\"h\"]",
	} {
		if _, doc := parseServer(dir, []byte(in), 0o600, everything); doc.mistakes.err() != nil {
			t.Errorf("%q: %v", in, doc.mistakes)
		}
		_, doc := parseServer(dir, []byte(in), 0o600, []string{"local"})
		if err := doc.mistakes.err(); err == nil || !strings.Contains(err.Error(), "not built into this version") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// The keys of the authorities are read with the file that names them, so that
// a reload takes them too.
func TestUserCA(t *testing.T) {
	dir := newDir(t)
	c, doc := parseServer(dir, []byte("[ssh]\nuser_ca = \"keys/user_ca.pub\""), 0o600, builtIn())
	if err := doc.mistakes.err(); err != nil {
		t.Fatal(err)
	}
	if len(c.SSH.Authorities) != 1 || c.SSH.Authorities[0].Type() != ssh.KeyAlgoED25519 || c.SSH.UserCA != filepath.Join(dir, "keys/user_ca.pub") {
		t.Errorf("%+v", c.SSH)
	}
}

// The command in the hint really removes the passphrase.
func TestPassphraseHint(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen")
	}
	dir := newDir(t)
	path := lockKey(t, dir)
	data, mode, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, hint := checkPrivateKey(path, data, mode)
	if !strings.HasPrefix(hint, "ssh-keygen -p -f "+path) {
		t.Fatalf("hint: %s", hint)
	}
	// What a person would type at the prompts.
	if out, err := exec.Command("ssh-keygen", "-q", "-p", "-f", path, "-P", "hunter2", "-N", "").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if data, mode, err = readFile(path); err != nil {
		t.Fatal(err)
	}
	if text, _ := checkPrivateKey(path, data, mode); text != "" {
		t.Error(text)
	}
}

func FuzzServer(f *testing.F) {
	dir := newDir(f)
	f.Add([]byte(contractTOML))
	f.Add([]byte(uncomment(template(everything), func(string) bool { return false })))
	f.Add([]byte("a.b.c = [[{x=1},\n2]] # y\n[[a.\"b\"]]\n'x' = \"\"\"\n\"\"\"\"\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, doc := parseServer(dir, data, 0o600, everything)
		err := doc.mistakes.err()
		if err == nil {
			if c == nil || len(c.Environments) == 0 {
				t.Fatal("neither a server nor a mistake")
			}
			return
		}
		lines := 1 + strings.Count(string(data), "\n")
		for _, m := range err.(Mistakes) {
			if m.Text == "" || m.Line > lines || printable(m.String()) != m.String() || printable(m.Hint) != m.Hint {
				t.Fatalf("%+v of %d lines", m, lines)
			}
		}
	})
}
