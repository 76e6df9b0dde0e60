package config

import (
	"slices"
	"strings"
)

// NeededVar is a variable that the app's file requires without giving it a
// value.
type NeededVar struct {
	Name   string
	Line   int
	Secret bool // any value that nobody can guess will do
}

// appJSONWords are keys that describe the app to people.
var appJSONWords = []string{"$schema", "description", "keywords", "logo", "name", "repository", "success_url", "website"}

// parseAppJSON reads app.json into a: what Heroku and dokku know of it and
// Slipway has too.
func parseAppJSON(a *AppFile, data []byte) (Mistakes, []Note) {
	f := &foreign{file: AppJSONName}
	top, mistakes := parseJSON(AppJSONName, data)
	if len(mistakes) > 0 {
		return mistakes, nil
	}
	if top.kind != mapping && top.kind != nothing {
		f.bad(top.line, "", top.what()+", where an object is needed", "")
	}
	for _, key := range top.keys {
		at, v := top.at[key], top.get(key)
		switch {
		case v.kind == nothing || slices.Contains(appJSONWords, key):
		case key == "env":
			f.env(a, v)
		case key == "scripts":
			for _, name := range v.keys {
				f.note(v.at[name], "scripts.%s: not run; [deploy] release is", name)
			}
		case key == "addons":
			f.addons(a, v)
		case key == "formation":
			f.note(at, "formation: nothing is started; [deploy] restart does that")
		case key == "buildpacks":
			f.note(at, "buildpacks are not used; postinstall builds the app")
		default:
			f.note(at, "%s is not used", key)
		}
	}
	return f.read()
}

func (f *foreign) env(a *AppFile, n *node) {
	if n.kind != mapping {
		f.bad(n.line, "env", n.what()+", where an object is needed", `such as: "env": {"DEBUG": "0"}`)
		return
	}
	a.Vars = map[string]string{}
	for _, name := range n.keys {
		v, key, line := n.get(name), "env."+name, n.at[name]
		switch v.kind {
		case word:
			f.variable(line, key, name, v.text, a.Vars)
		case list:
			f.bad(line, key, "a list, where a string or an object is needed", "put the value in quotes")
		case mapping:
			f.described(a, line, key, name, v)
		case nothing:
		}
	}
}

// described takes a variable that is an object: its value, or that it needs one.
func (f *foreign) described(a *AppFile, line int, key, name string, v *node) {
	value := v.get("value")
	switch {
	case value != nil && value.kind == word:
		f.variable(line, key, name, value.text, a.Vars)
		return
	case value != nil && value.kind != nothing:
		f.bad(value.line, key+".value", value.what()+", where a string is needed", "put the value in quotes")
		return
	}
	generator, required := f.line(key+".generator", v.get("generator")), f.line(key+".required", v.get("required"))
	if generator != "" && generator != "secret" {
		f.note(line, "%s: the generator %s is not known", key, quote(generator))
	}
	if required == "false" && generator == "" {
		return
	}
	unset := map[string]string{}
	f.variable(line, key, name, "", unset)
	if len(unset) > 0 {
		a.Needs = append(a.Needs, NeededVar{Name: name, Line: line, Secret: generator == "secret"})
	}
}

func (f *foreign) addons(a *AppFile, n *node) {
	for _, item := range n.list {
		plan := item
		if item.kind == mapping {
			plan = item.get("plan")
		}
		text := f.line("addons", plan)
		name, _, _ := strings.Cut(text, ":")
		switch name {
		case "":
		case "heroku-postgresql":
			a.Services, a.Default = []ServiceSpec{{"db", "postgresql"}}, false
		default:
			f.note(item.line, "addons: %s is not here; give its address by vars set", name)
		}
	}
}
