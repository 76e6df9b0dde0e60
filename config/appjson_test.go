package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const fullAppJSON = `{
	"name": "Shop", "description": "Sells \ud83d\ude00", "keywords": ["a"],
	"env": {
		"COLOUR": "red",
		"LEVEL": {"description": "How loud", "value": 3},
		"MAYBE": {"required": false},
		"TOKEN": {"description": "From the vendor"},
		"SECRET_KEY": {"generator": "secret"},
		"DATABASE_URL": {"required": true},
		"NOTHING": null
	},
	"scripts": {"postdeploy": "./setup"},
	"formation": {"web": {"quantity": 1}},
	"addons": ["heroku-postgresql:mini", {"plan": "heroku-redis"}],
	"buildpacks": [{"url": "heroku/python"}],
	"environments": {"test": {}},
	"stack": "heroku-24"
}`

func TestAppJSON(t *testing.T) {
	a, notes, err := ParseAppFiles(AppSources{AppJSON: []byte(fullAppJSON)})
	if err != nil {
		t.Fatal(strings.Join(err.(Mistakes).Lines(), "\n"))
	}
	var lines []string
	for _, n := range notes {
		lines = append(lines, n.String())
	}
	want := strings.Split(strings.TrimSpace(`
app.json:9: DATABASE_URL is not set: Slipway sets it itself
app.json:12: scripts.postdeploy: not run; [deploy] release is
app.json:13: formation: nothing is started; [deploy] restart does that
app.json:14: addons: heroku-redis is not here; give its address by vars set
app.json:15: buildpacks are not used; postinstall builds the app
app.json:16: environments is not used
app.json:17: stack is not used`), "\n")
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("notes: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"COLOUR": "red", "LEVEL": "3"}, a.Vars); diff != "" {
		t.Errorf("vars: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]NeededVar{{"TOKEN", 7, false}, {"SECRET_KEY", 8, true}}, a.Needs); diff != "" {
		t.Errorf("needs: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]ServiceSpec{{"db", "postgresql"}}, a.Services); diff != "" {
		t.Error(diff)
	}
	if a.Settings() != "app.json" || a.DotCloud != nil {
		t.Errorf("%+v", a)
	}
	if a, notes, err = ParseAppFiles(AppSources{SlipwayTOML: []byte{}, AppJSON: []byte(fullAppJSON)}); err != nil || len(notes) != 1 || a.Vars != nil ||
		notes[0].String() != "app.json: not read, as there is a slipway.toml" {
		t.Errorf("beside slipway.toml: %v, %v, %v", a, notes, err)
	}
}

func TestAppJSONMistakes(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{"{\n  \"env\": {,}\n}", "app.json:2: not JSON: invalid character ','"},
		{"{} x", "app.json:1: not JSON"},
		{"[]", "app.json:1: a list, where an object"},
		{"{\"env\": []}", "app.json:1: env: a list"},
		{"{\"env\":\n {\"A\": \"1\",\n \"A\": \"2\"}}", "app.json:3: A is in line 2 already"},
		{"{\"env\":\n {\"a\": \"1\"}}", "app.json:2: env.a: not the name of a variable"},
		{"{\"env\":\n {\"A\": [1]}}", "app.json:2: env.A: a list"},
		{"{\"env\":\n {\"A\": {\"value\": {}}}}", "app.json:2: env.A.value: a table"},
		{"{\"env\":\n {\"A\": \"x\\u0000\"}}", "app.json:2: env.A: has a NUL byte"},
		{"{\"x\": " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}", "nested deeper than 32"},
		{"{\"x\": [" + strings.TrimSuffix(strings.Repeat("0,", 20_000), ",") + "]}", "more than 10000 values"},
		{"\xff", "app.json:1: not UTF-8"},
		{strings.Repeat(" ", 65<<10), "larger than 64 KiB"},
	} {
		_, _, err := ParseAppFiles(AppSources{AppJSON: []byte(c.json)})
		if err == nil {
			t.Errorf("%s is taken", quote(c.json))
			continue
		}
		if got := err.(Mistakes)[0].String(); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", quote(c.json), got, c.want)
		}
	}
}

func FuzzAppJSON(f *testing.F) {
	f.Add([]byte(fullAppJSON))
	f.Add([]byte(`{"env": {"A": {"value": 1e3}}, "scripts": [], "addons": {}}`))
	f.Fuzz(func(t *testing.T, text []byte) { checkForeign(t, AppSources{AppJSON: append([]byte{}, text...)}) })
}
