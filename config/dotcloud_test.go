package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const fullDotCloud = `
www:
  type: python
  approot: web/
  systempackages: [libxml2, libpq-dev]
  requirements:
    - Django==1.4
  config:
    uwsgi_processes: 4
    static: static
  environment: &env
    DEBUG: 0
    SECRET: "a b"
    EMPTY:
    PATH: /opt/bin
  postinstall: |
    ./setup.sh --now
worker:
  type: python-worker
  approot: ./web
  environment:
    <<: 1
  instances: 2
  processes:
    celery: python manage.py celeryd
    release: ./release
  prebuild: ./pre
cron:
  type: custom
  buildscript: builder
  flavour: x
  ports: {web: http}
  process: ~/run
  environment: {DEBUG: 1}
db:
  type: postgresql
  config: {shared_buffers: 1}
geo: {type: postgis}
`

func TestDotCloud(t *testing.T) {
	text := strings.Replace(fullDotCloud, "    <<: 1\n", "    LEVEL: yes\n", 1)
	a, notes, err := ParseAppFiles(AppSources{DotCloudYML: []byte(text), AppJSON: []byte("{"), Procfile: []byte("release: ./manage.py migrate\nweb: x")})
	if err != nil {
		t.Fatal(strings.Join(err.(Mistakes).Lines(), "\n"))
	}
	if err := a.ResolvePostinstall(func(path string) (bool, error) { return path == "postinstall", nil }); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, n := range notes {
		lines = append(lines, n.String())
	}
	want := strings.Split(strings.TrimSpace(`
dotcloud.yml:5: www.systempackages: an admin has to install libxml2, libpq-dev
dotcloud.yml:6: www.requirements: postinstall has to install Django==1.4
dotcloud.yml:8: www.config is not used: uwsgi_processes, static
dotcloud.yml:15: PATH is not set: Slipway sets it itself
dotcloud.yml:23: worker.instances: one of each service is here
dotcloud.yml:30: cron.buildscript is not run; postinstall is
dotcloud.yml:31: cron.flavour: SERVICE_FLAVOUR is not set; environment sets variables
dotcloud.yml:32: cron.ports: no port is given out; choose one by a var
dotcloud.yml:34: cron.environment.DEBUG is not used: all services have that of www
dotcloud.yml:37: db.config is not used
dotcloud.yml:38: geo is a postgresql; an admin adds postgis to it
dotcloud.yml: nothing is started of www, worker, cron; [deploy] restart does that
app.json: not read, as there is a dotcloud.yml`), "\n")
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("notes: -want +got:\n%s", diff)
	}
	got := map[string]any{
		"from": a.From, "postinstall": a.Build.Postinstall, "vars": a.Vars, "services": a.Services, "processes": a.Processes,
		"release": a.Deploy.Release, "service": a.DotCloud.Service, "approot": a.DotCloud.Approot, "roots": a.DotCloud.Roots(),
	}
	wanted := map[string]any{
		"from": []string{"dotcloud.yml", "Procfile"},
		"postinstall": "(cd web && ./setup.sh --now) && (export DOTCLOUD_SERVICE_NAME=worker; cd web && ./pre) && " +
			"(export DOTCLOUD_SERVICE_NAME=cron; ./postinstall)",
		"vars":      map[string]string{"DEBUG": "0", "SECRET": "a b", "EMPTY": "", "LEVEL": "yes"},
		"services":  []ServiceSpec{{"db", "postgresql"}, {"geo", "postgresql"}},
		"processes": map[string]string{"celery": "python manage.py celeryd", "worker-release": "./release", "cron": "~/run"},
		"release":   "./manage.py migrate", "service": "www", "approot": "web", "roots": []string{"web", "."},
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDotCloudPostinstall(t *testing.T) {
	for _, c := range []struct{ yml, tree, want string }{
		{"www: {type: python}", "postinstall", ""}, // found by its name
		{"www: {type: python}", "", ""},
		{"www: {type: python, approot: a b}", "a b/postinstall", "cd 'a b' && ./postinstall"},
		{"www: {type: python, approot: web}\nwork: {type: python-worker, approot: web}", "web/postinstall", "cd web && ./postinstall"},
		{"www: {type: python, postinstall: python setup.py}", "postinstall", "python setup.py"},
		{"www: {type: python, prebuild: ./a, postbuild: ./b}", "postinstall", "(./a) && (./b) && (./postinstall)"},
		{
			"a: {type: ruby-worker, approot: a}\nb: {type: static, approot: b}", "a/postinstall b/postinstall",
			"(cd a && ./postinstall) && (export DOTCLOUD_SERVICE_NAME=b; cd b && ./postinstall)",
		},
	} {
		a, _, err := ParseAppFiles(AppSources{DotCloudYML: []byte(c.yml)})
		if err == nil {
			err = a.ResolvePostinstall(func(path string) (bool, error) { return strings.Contains(c.tree, path), nil })
		}
		if err != nil || a.Build.Postinstall != c.want {
			t.Errorf("%s with %q: %q, %v; want %q", c.yml, c.tree, a.Build.Postinstall, err, c.want)
		}
	}
}

func TestDotCloudMistakes(t *testing.T) {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+string(c-1)+", ", 9), ", "))
	}
	for _, c := range []struct{ yml, want string }{
		{"", "dotcloud.yml: names no service"},
		{"{}", "dotcloud.yml: names no service"},
		{"# nothing", "dotcloud.yml: names no service"},
		{"- www", "dotcloud.yml:1: a list, where services"},
		{"www: python", "dotcloud.yml:1: www: a word, where a table with a type"},
		{"www:\n  approot: .", "dotcloud.yml:1: www.type: missing"},
		{"\nwww:\n  type: pyton", `dotcloud.yml:3: www.type: "pyton" is not known; did you mean python?`},
		{"www:\n  type: [python]", "dotcloud.yml:2: www.type: a list"},
		{"Www: {type: python}", `dotcloud.yml:1: "Www": not the name of a service`},
		{"2db: {type: postgresql}", "dotcloud.yml:1: 2db: not the name of a database"},
		{"www: {type: python, postinstal: x}", `dotcloud.yml:1: www.postinstal: unknown key; did you mean "postinstall"?`},
		{"db:\n  type: mysql", "dotcloud.yml:2: db.type: mysql is not to be had here; type: postgresql is"},
		{"x:\n  type: redis", "dotcloud.yml:2: x.type: redis is not to be had here; take it out, and name a server of yours by a var: vars set APP/ENV X_URL=..."},
		{"www: {type: python, approot: ../x}", `dotcloud.yml:1: www.approot: "../x": leads out`},
		{"www: {type: python, approot: /x}", `dotcloud.yml:1: www.approot: "/x": an absolute path`},
		{"www:\n  type: python\n  environment:\n    a-b: 1", "dotcloud.yml:4: www.environment.a-b: not the name of a variable"},
		{"www:\n  type: python\n  environment:\n    A: [1]", "dotcloud.yml:4: www.environment.A: a list"},
		{"www:\n  type: python\n  environment: x", "dotcloud.yml:3: www.environment: a word"},
		{"www:\n  type: python\n  postinstall: \"a\\nb\"", "dotcloud.yml:3: www.postinstall: has a control byte"},
		{"www:\n  type: python\n  process: a\n  processes: {b: c}", "dotcloud.yml:3: www.process: beside processes"},
		{"www:\n  type: python\n  processes: {a b: c}", "dotcloud.yml:3: www.processes.a b: not the name of a process"},
		{"www:\n  type: python\nwww:\n  type: ruby", "dotcloud.yml:3: www is in line 1 already"},
		{"www:\n\ttype: python", "dotcloud.yml:2: not YAML: found character that cannot start any token; YAML is indented by spaces"},
		{"www: 'x\n", "dotcloud.yml:2: not YAML: found unexpected end of stream"},
		{"www: *x", "dotcloud.yml: not YAML: unknown anchor 'x' referenced"},
		{"www: \xff", "dotcloud.yml:1: not UTF-8"},
		{"www: &x [*x]", "dotcloud.yml:1: *x is an alias of what it stands in"},
		{"<<: {a: b}", "dotcloud.yml:1: keys merged by << are not read; write them out"},
		{"? [a]\n: b", "dotcloud.yml:1: a key that is no word"},
		{"www: " + deep, "nested deeper than 32"},
		{"www: " + strings.Repeat("[", 20_000), "dotcloud.yml"},
		{bomb, "more than 10000 values, aliases counted in full"},
		{strings.Repeat("#", 65<<10), "dotcloud.yml: larger than 64 KiB"},
	} {
		_, _, err := ParseAppFiles(AppSources{DotCloudYML: []byte(c.yml)})
		if err == nil {
			t.Errorf("%s is taken", quote(c.yml))
			continue
		}
		m := err.(Mistakes)[0]
		got := m.String()
		if m.Hint != "" {
			got += "; " + m.Hint
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", quote(c.yml), got, c.want)
		}
	}
}

func FuzzDotCloud(f *testing.F) {
	f.Add([]byte(fullDotCloud))
	f.Add([]byte("a: &x {type: *x}\n--- !!binary x\n"))
	f.Fuzz(func(t *testing.T, yml []byte) { checkForeign(t, AppSources{DotCloudYML: append([]byte{}, yml...)}) })
}

// checkForeign reads a file of another's format, and looks at all that can come
// of it.
func checkForeign(t *testing.T, src AppSources) {
	t.Helper()
	a, notes, err := ParseAppFiles(src)
	if err != nil {
		for _, m := range err.(Mistakes) {
			if m.Text == "" || printable(m.String()) != m.String() || printable(m.Hint) != m.Hint {
				t.Fatalf("%+v", m)
			}
		}
		return
	}
	for _, n := range notes {
		if n.Text == "" || printable(n.String()) != n.String() {
			t.Fatalf("%+v", n)
		}
	}
	if err := a.ResolvePostinstall(func(string) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(a.Build.Postinstall, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }) {
		t.Fatalf("%q", a.Build.Postinstall)
	}
	for name, value := range a.Vars {
		if ParseVarName(name) != nil || CheckVarValue(value) != nil {
			t.Fatalf("%q=%q", name, value)
		}
	}
	for name := range a.Processes {
		if !processName.MatchString(name) {
			t.Fatalf("%q", name)
		}
	}
	for _, s := range a.Services {
		if !serviceName.MatchString(s.Name) {
			t.Fatalf("%+v", s)
		}
	}
	if d := a.DotCloud; d != nil && d.Approot != "." && checkRelative(d.Approot) != "" {
		t.Fatalf("%+v", d)
	}
}
