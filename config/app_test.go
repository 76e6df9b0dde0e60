package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const contractApp = `
[build]
postinstall = "./postinstall"
timeout = "15m"
network = false
cache   = [".npm"]
lfs = "pointers"

[submodules]
skip = ["vendor/windows-sdk"]

[vars]
DJANGO_SETTINGS_MODULE = "shop.settings"
KEY = """
-----BEGIN-----
$x 'y' "z"
"""
[vars.prod]
DEBUG = "0"

[services.db]
type = "postgresql"
[services.cache]

[deploy]
shared  = ["media", "var/data.db"]
release = "./manage.py migrate"
restart = "./restart"
health  = { command = "./healthcheck", timeout = "20s" }

[processes]
web = "gunicorn shop.wsgi"
`

func contractAppFile() *AppFile {
	a := &AppFile{
		Vars:      map[string]string{"DJANGO_SETTINGS_MODULE": "shop.settings", "KEY": "-----BEGIN-----\n$x 'y' \"z\"\n"},
		EnvVars:   map[Env]map[string]string{{"prod"}: {"DEBUG": "0"}},
		Services:  []ServiceSpec{{"cache", "sqlite"}, {"db", "postgresql"}},
		Processes: map[string]string{"web": "gunicorn shop.wsgi"},
	}
	a.Build.Postinstall, a.Build.Timeout, a.Build.Cache, a.Build.LFS = "./postinstall", 15*time.Minute, []string{".npm"}, "pointers"
	a.Submodules.Skip = []string{"vendor/windows-sdk"}
	a.Deploy.Shared, a.Deploy.Release, a.Deploy.Restart = []string{"media", "var/data.db"}, "./manage.py migrate", "./restart"
	a.Deploy.Health = Health{"./healthcheck", 20 * time.Second}
	return a
}

// parseApp reads a slipway.toml and a Procfile, "" if there is none.
func parseApp(slipway, procfile string) (*AppFile, error) {
	var src AppSources
	if slipway != "" {
		src.SlipwayTOML = []byte(slipway)
	}
	if procfile != "" {
		src.Procfile = []byte(procfile)
	}
	a, _, err := ParseAppFiles(src)
	return a, err
}

func TestParseAppFile(t *testing.T) {
	byDefault := &AppFile{From: []string{}, Services: []ServiceSpec{{"db", "sqlite"}}, Default: true}
	byDefault.Build.Timeout, byDefault.Build.Network, byDefault.Deploy.Health.Timeout = 10*time.Minute, true, 30*time.Second
	with := func(change func(*AppFile)) *AppFile {
		a := *byDefault
		a.From = []string{}
		change(&a)
		return &a
	}
	for _, c := range []struct {
		name, toml, procfile string
		want                 *AppFile
	}{
		{"nothing", "", "", with(func(*AppFile) {})},
		{"all", contractApp, "web: other\nrelease: other\n", contractAppFile()},
		{"Procfile", "", "# x\r\nweb: gunicorn shop.wsgi --bind :8000\r\n\nrelease: ./manage.py migrate\nworker-1:celery\n", with(func(a *AppFile) {
			a.Deploy.Release = "./manage.py migrate"
			a.Processes = map[string]string{"web": "gunicorn shop.wsgi --bind :8000", "worker-1": "celery"}
		})},
		{"release from the Procfile, processes not", "[processes]\nweb = \"x\"", "web: y\nold: z\nrelease: r", with(func(a *AppFile) {
			a.Deploy.Release, a.Processes = "r", map[string]string{"web": "x"}
		})},
		{"no services", "[services]", "", with(func(a *AppFile) { a.Services, a.Default = []ServiceSpec{}, false })},
		{"no processes", "[processes]", "web: x", with(func(*AppFile) {})},
	} {
		got, err := parseApp(c.toml, c.procfile)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.toml != "" {
			c.want.From = append(c.want.From, "slipway.toml")
		}
		if c.procfile != "" {
			c.want.From = append(c.want.From, "Procfile")
		}
		if diff := cmp.Diff(c.want, got, sameServer); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back AppFile
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, &back, sameServer); diff != "" {
			t.Errorf("%s: not the same after JSON:\n%s", c.name, diff)
		}
	}
	a, _, err := ParseAppFiles(AppSources{})
	if err != nil || len(a.AllVars(Env{"prod"})) != 0 {
		t.Errorf("nil: %v", err)
	}
	want := map[string]string{"A": "0", "B": "2"}
	vars := AppFile{Vars: map[string]string{"A": "1", "B": "2"}, EnvVars: map[Env]map[string]string{{"prod"}: {"A": "0"}}}
	if diff := cmp.Diff(want, vars.AllVars(Env{"prod"})); diff != "" {
		t.Error(diff)
	}
}

func TestAppMistakes(t *testing.T) {
	_, err := parseApp(`[biuld]
[build]
timeout = 600
[vars]
PORT = 8000
debug-mode = "1"
[vars.prod]
LD_PRELOAD = "x"
[deploy]
shared = ["media/", "/etc"]
`, "web gunicorn\nweb: a\nweb: b\n")
	if err == nil {
		t.Fatal("all is taken")
	}
	want := `Procfile:1: not NAME: COMMAND
hint: such as: web: gunicorn shop.wsgi
Procfile:3: web is in line 2 already
hint: keep one of them
slipway.toml:1: biuld: unknown key
hint: did you mean "build"?
slipway.toml:3: build.timeout: a number, where a duration is needed
hint: such as: timeout = "10m"
slipway.toml:5: vars.PORT: a number, where a string is needed
hint: put the value in quotes
slipway.toml:6: vars.debug-mode: not the name of a variable
hint: A-Z, 0-9 and '_', not led by a digit, at most 255 of them: such as DEBUG_MODE
slipway.toml:8: vars.prod.LD_PRELOAD: names that begin with LD_ are the loader's own
hint: set it in the command that needs it
slipway.toml:10: deploy.shared[0]: "media/": not in its shortest form
hint: did you mean "media"?
slipway.toml:10: deploy.shared[1]: "/etc": an absolute path
hint: a relative path, such as: shared = ["media"]`
	got := strings.Join(err.(Mistakes).Lines(), "\n")
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAppValues(t *testing.T) {
	for _, c := range []struct{ toml, key, text string }{
		{"[build]\npostinstall = \"\"", "build.postinstall", "empty"},
		{"[build]\npostinstall = \"a\\u0000b\"", "build.postinstall", "control byte"},
		{"[build]\npostinstall = \"a\\nb\"", "build.postinstall", "control byte"},
		{"[build]\ntimeout = \"0s\"", "build.timeout", "out of range"},
		{"[build]\ntimeout = \"25h\"", "build.timeout", "out of range"},
		{"[build]\nnetwork = \"no\"", "build.network", "a string"},
		{"[build]\nlfs = \"yes\"", "build.lfs", "not known"},
		{"[build]\ncache = \".npm\"", "build.cache", "list of strings"},
		{"[build]\ncache = [\"../x\"]", "build.cache[0]", "leads out"},
		{"[build]\ncache = [\"a/../../x\"]", "build.cache[0]", "leads out"},
		{"[build]\ncache = [\"..\"]", "build.cache[0]", "leads out"},
		{"[build]\ncache = [\"\"]", "build.cache[0]", "nothing"},
		{"[build]\ncache = [\".\"]", "build.cache[0]", "nothing"},
		{"[build]\ncache = [\"a//b\"]", "build.cache[0]", "shortest"},
		{"[build]\ncache = [\"a\\\\b\"]", "build.cache[0]", "backslash"},
		{"[build]\ncache = [\"a\\u001bb\"]", "build.cache[0]", "control byte"},
		{"[deploy]\nshared = [\".git\"]", "deploy.shared[0]", "git's own"},
		{"[deploy]\nshared = [\"a/.GIT/hooks\"]", "deploy.shared[0]", "git's own"},
		{"[deploy]\nshared = [\".slipway/x\"]", "deploy.shared[0]", "Slipway's own"},
		{"[deploy]\nshared = [\"a\", \"a\"]", "deploy.shared[1]", "lie in each other"},
		{"[deploy]\nshared = [\"a/b\", \"a\"]", "deploy.shared[1]", "lie in each other"},
		{"[deploy]\nshared = [\"" + strings.Repeat("x", 256) + "\"]", "deploy.shared[0]", "255"},
		{"[deploy]\nshared = [\"" + strings.Repeat("x/", 600) + "x\"]", "deploy.shared[0]", "1024"},
		{"[deploy]\nhealth = \"./check\"", "deploy.health", "a table"},
		{"[deploy]\nhealth = { timeout = \"5s\" }", "deploy.health.command", "missing"},
		{"[deploy]\nhealth = { comand = \"x\" }", "deploy.health.comand", "unknown key"},
		{"[submodules]\nskip = [1]", "submodules.skip[0]", "a number"},
		{"[vars]\nHOME = \"/\"", "vars.HOME", "sets it itself"},
		{"[vars]\nSLIPWAY_X = \"/\"", "vars.SLIPWAY_X", "Slipway's own"},
		{"[vars]\nA = \"a\\u0000b\"", "vars.A", "NUL"},
		{"[vars]\nA = true", "vars.A", "true or false"},
		{"[vars]\nA = [\"x\"]", "vars.A", "a list"},
		{"[vars]\n\"A=B\" = \"x\"", `vars."A=B"`, "name of a variable"},
		{"[vars.Prod]", "vars.Prod", "not a valid name"},
		{"[vars.prod.x]", "vars.prod.x", "a table, where a string"},
		{"[services.DB]", "services.DB", "name of a service"},
		{"[services.a23456789_1234567]", "services.a23456789_1234567", "name of a service"},
		{"[services.db]\ntype = \"postgres\"", "services.db.type", "not known"},
		{"[services.db]\nversion = 15", "services.db.version", "unknown key"},
		{"services = { db = \"postgresql\" }", "services.db", "a table is needed"},
		{"[processes]\n\"a b\" = \"x\"", `processes."a b"`, "name of a process"},
		{"[processes]\nweb = \"\"", "processes.web", "empty"},
		{"[processes]\nrelease = \"x\"", "processes.release", "not a process"},
		{"[[build]]", "build", "a list, where a table"},
		{"x = " + strings.Repeat("[", 60_000), "", "too deeply"},
		{"x = " + strings.Repeat("{a=", 20_000), "", "too deeply"},
		{strings.Repeat("a.", 30_000) + "a = 1", "", "too"},
		{"[" + strings.Repeat("a.", 120) + "a]", "", "too many parts"},
		{"[" + strings.Repeat("a", 30_000) + "]", "", "too long"},
		{strings.Repeat("a", 30_000) + " = 1", "", "too long"},
		{strings.Repeat("#", 65<<10), "", "larger than 64 KiB"},
	} {
		shown := quote(c.toml)
		_, err := parseApp(c.toml, "")
		if err == nil {
			t.Errorf("%s is taken", shown)
			continue
		}
		ms := err.(Mistakes)
		if len(ms) != 1 || !strings.Contains(ms[0].Text, c.text) || ms[0].Key != c.key {
			t.Errorf("%s: want %s: %q, got\n%s", shown, c.key, c.text, strings.Join(ms.Lines(), "\n"))
		}
	}
}

func TestProcfile(t *testing.T) {
	for _, c := range []struct{ in, text string }{
		{"web:", "no command"},
		{": x", "name of a process"},
		{"a b: x", "name of a process"},
		{"-x: y", "name of a process"},
		{"web: a\x00b", "control byte"},
		{"web: a\x1bb", "control byte"},
		{"web: \xff", "UTF-8"},
		{"release: a\nrelease: b", "line 1 already"},
		{strings.Repeat("x", 65<<10), "larger"},
	} {
		_, _, mistakes := parseProcfile([]byte(c.in))
		if len(mistakes) != 1 || !strings.Contains(mistakes[0].Text, c.text) {
			t.Errorf("%q: want %q, got %v", cut(c.in), c.text, mistakes)
		}
	}
}

// A file that is no configuration at all may not fill a screen, nor take long.
func TestManyMistakes(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "k%d = 1\n", i)
	}
	_, err := parseApp(b.String(), "")
	ms, ok := err.(Mistakes)
	if !ok || len(ms) != maxMistakes+1 || !strings.Contains(ms[maxMistakes].Text, "4900 more") {
		t.Fatalf("%d mistakes, the last: %v", len(ms), ms[len(ms)-1])
	}
}

func FuzzAppFile(f *testing.F) {
	f.Add([]byte(contractApp), []byte("web: x\nrelease: y"))
	f.Add([]byte("[vars]\nA=1\n[vars.x]\n'b'='c'"), []byte(":\n#"))
	f.Fuzz(func(t *testing.T, slipway, procfile []byte) {
		a, err := parseApp(string(slipway), string(procfile))
		if err != nil {
			for _, m := range err.(Mistakes) {
				if m.Text == "" || printable(m.String()) != m.String() || printable(m.Hint) != m.Hint {
					t.Fatalf("%+v", m)
				}
			}
			return
		}
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back AppFile
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, &back, sameServer); diff != "" {
			t.Fatalf("not the same after JSON:\n%s", diff)
		}
		for _, list := range [][]string{a.Build.Cache, a.Submodules.Skip, a.Deploy.Shared} {
			for _, p := range list {
				if checkRelative(p) != "" {
					t.Fatalf("%q", p)
				}
			}
		}
	})
}
