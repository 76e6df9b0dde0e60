package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// DotCloud is what an app that was made for dotCloud counts on beside its
// variables: ~/current, ~/data and the rest, /home/dotcloud, and a database
// login that makes its own databases.
type DotCloud struct {
	Service string // the first service of code, as DOTCLOUD_SERVICE_NAME has it
	Approot string // its directory in the tree, clean; "." is the root

	steps []dotCloudStep
	roots []string // the directories of all services of code, each once
}

// dotCloudStep is a command that a service wants to have run in its directory.
type dotCloudStep struct {
	service, dir, command string
	byDefault             bool // only if the tree has it
}

var (
	dotCloudName  = NewPattern(`^[a-z0-9_]{1,16}$`)
	dotCloudCode  = []string{"custom", "java", "nodejs", "opa", "perl", "php", "python", "ruby", "static"}
	dotCloudData  = []string{"mongodb", "mysql", "mysql-masterslave", "postgis", "postgresql", "rabbitmq", "redis", "smtp", "solr", "memcached"}
	dotCloudKnown = []string{
		"approot", "buildscript", "config", "environment", "instances", "ports", "postbuild", "postinstall", "prebuild",
		"process", "processes", "requirements", "systempackages", "type",
	}
)

// maxServices bounds what is looked for in the tree.
const maxServices = 32

// dotCloudFile is a dotcloud.yml while it is read.
type dotCloudFile struct {
	foreign
	app   *AppFile
	idle  []string          // services that nothing here starts
	setBy map[string]string // the service of each variable
}

// parseDotCloud reads dotcloud.yml into a.
func parseDotCloud(a *AppFile, data []byte) (Mistakes, []Note) {
	f := &dotCloudFile{foreign: foreign{file: DotCloudName}, app: a, setBy: map[string]string{}}
	top, mistakes := parseYAML(DotCloudName, data)
	if len(mistakes) > 0 {
		return mistakes, nil
	}
	const form = "such as: www: {type: python}"
	a.Services, a.Default, a.DotCloud = []ServiceSpec{}, false, &DotCloud{Service: "www", Approot: "."}
	switch {
	case top.kind == nothing || top.kind == mapping && len(top.keys) == 0:
		f.bad(0, "", "names no service", form)
	case top.kind != mapping:
		f.bad(top.line, "", top.what()+", where services are needed by their names", form)
	}
	if len(top.keys) > maxServices {
		f.bad(0, "", fmt.Sprintf("more than %d services", maxServices), "")
		return f.read()
	}
	for _, name := range top.keys {
		f.service(name, top.at[name], top.get(name))
	}
	slices.SortFunc(a.Services, func(x, y ServiceSpec) int { return strings.Compare(x.Name, y.Name) })
	if len(f.idle) > 0 {
		f.note(0, "nothing is started of %s; [deploy] restart does that", listed(f.idle))
	}
	return f.read()
}

func (f *dotCloudFile) service(name string, line int, n *node) {
	key := quote(name)
	if dotCloudName.MatchString(name) {
		key = name
	} else {
		f.bad(line, key, "not the name of a service", "a-z, 0-9 and '_', at most 16 of them: such as www")
	}
	if n.kind != mapping {
		f.bad(line, key, n.what()+", where a table with a type is needed", "such as: "+name+": {type: python}")
		return
	}
	kind := f.line(key+".type", n.get("type"))
	language, _ := strings.CutSuffix(kind, "-worker")
	switch {
	case n.get("type") == nil:
		f.bad(line, key+".type", "missing", "such as: type: python")
	case kind == "": // said already
	case slices.Contains(dotCloudData, kind):
		f.data(key, name, kind, n)
	case slices.Contains(dotCloudCode, language):
		f.code(key, name, language, language == kind, n)
	default:
		known := append(slices.Clone(dotCloudCode), dotCloudData...)
		hint := "one of: " + strings.Join(known, ", ")
		if near := Nearest(kind, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		f.bad(n.at["type"], key+".type", quote(kind)+" is not known", hint)
	}
}

// data takes a service that keeps data.
func (f *dotCloudFile) data(key, name, kind string, n *node) {
	if kind != "postgresql" && kind != "postgis" {
		hint := "take it out, and name a server of yours by a var: vars set APP/ENV " + strings.ToUpper(name) + "_URL=..."
		if strings.HasPrefix(kind, "mysql") {
			hint = "type: postgresql is, with other settings in the app; or take it out, and name a server of yours by a var"
		}
		f.bad(n.at["type"], key+".type", kind+" is not to be had here", hint)
		return
	}
	if !serviceName.MatchString(name) {
		f.bad(n.at["type"], key, "not the name of a database's service", "let a letter lead it: such as db")
		return
	}
	if kind == "postgis" {
		f.note(n.at["type"], "%s is a postgresql; an admin adds postgis to it", key)
	}
	for _, k := range n.keys {
		if k != "type" {
			f.note(n.at[k], "%s.%s is not used", key, k)
		}
	}
	f.app.Services = append(f.app.Services, ServiceSpec{Name: name, Type: "postgresql"})
}

// code takes a service that runs the app's own code.
func (f *dotCloudFile) code(key, name, language string, web bool, n *node) {
	root := f.approot(key, n)
	d := f.app.DotCloud
	if len(d.roots) == 0 {
		d.Service, d.Approot = name, root
	}
	if !slices.Contains(d.roots, root) {
		d.roots = append(d.roots, root)
	}
	for _, k := range []string{"prebuild", "postbuild", "postinstall"} {
		if command := f.line(key+"."+k, n.get(k)); command != "" {
			f.step(dotCloudStep{service: name, dir: root, command: command})
		} else if k == "postinstall" {
			f.step(dotCloudStep{service: name, dir: root, command: "./postinstall", byDefault: true})
		}
	}
	f.environment(key, name, n.get("environment"))
	f.processes(key, name, n)
	if web || n.get("process") != nil || n.get("processes") != nil {
		f.idle = append(f.idle, key)
	}
	f.without(key, language, n)
}

// without says what has no counterpart.
func (f *dotCloudFile) without(key, language string, n *node) {
	for _, k := range n.keys {
		at, full, v := n.at[k], key+"."+k, n.get(k)
		switch k {
		case "systempackages":
			if all := f.words(full, v); len(all) > 0 {
				f.note(at, "%s: an admin has to install %s", full, listed(all))
			}
		case "requirements":
			if all := f.words(full, v); len(all) > 0 {
				f.note(at, "%s: postinstall has to install %s", full, listed(all))
			}
		case "config":
			if v.kind == mapping && len(v.keys) > 0 {
				f.note(at, "%s is not used: %s", full, listed(v.keys))
			}
		case "buildscript":
			f.note(at, "%s is not run; postinstall is", full)
		case "ports":
			f.note(at, "%s: no port is given out; choose one by a var", full)
		case "instances":
			if !slices.Equal(f.words(full, v), []string{"1"}) {
				f.note(at, "%s: one of each service is here", full)
			}
		default:
			switch {
			case slices.Contains(dotCloudKnown, k):
			case language == "custom":
				f.note(at, "%s: SERVICE_%s is not set; environment sets variables", full, strings.ToUpper(k))
			default:
				f.unknown(at, full, k, dotCloudKnown)
			}
		}
	}
}

func (f *dotCloudFile) approot(key string, n *node) string {
	root := f.line(key+".approot", n.get("approot"))
	if root == "" {
		return "."
	}
	clean := path.Clean(root)
	if clean == "." {
		return clean
	}
	if text := checkRelative(clean); text != "" {
		f.bad(n.at["approot"], key+".approot", quote(root)+": "+text, "a directory of the repository, such as: approot: web")
		return "."
	}
	return clean
}

// step notes a command; one that another service has run in the same place is
// not run twice.
func (f *dotCloudFile) step(s dotCloudStep) {
	d := f.app.DotCloud
	same := func(o dotCloudStep) bool { return o.dir == s.dir && o.command == s.command }
	if !slices.ContainsFunc(d.steps, same) {
		d.steps = append(d.steps, s)
	}
}

func (f *dotCloudFile) environment(key, service string, n *node) {
	key += ".environment"
	if n == nil || n.kind == nothing {
		return
	}
	if n.kind != mapping {
		f.bad(n.line, key, n.what()+", where variables are needed by their names", "such as: environment: {DEBUG: 0}")
		return
	}
	vars := map[string]string{}
	for _, name := range n.keys {
		v := n.get(name)
		if v.kind != word && v.kind != nothing {
			f.bad(v.line, key+"."+name, v.what()+", where a value is needed", "put it in quotes")
			continue
		}
		f.variable(n.at[name], key+"."+name, name, v.text, vars)
		value, ok := vars[name]
		if !ok {
			continue
		}
		if f.app.Vars == nil {
			f.app.Vars = map[string]string{}
		}
		if was, twice := f.app.Vars[name]; twice && was != value {
			f.note(n.at[name], "%s.%s is not used: all services have that of %s", key, name, f.setBy[name])
			continue
		}
		f.app.Vars[name], f.setBy[name] = value, service
	}
}

// processes takes what dotCloud's supervisor would start, a name of the service's
// own where it has but one.
func (f *dotCloudFile) processes(key, service string, n *node) {
	one, many := n.get("process"), n.get("processes")
	if one != nil && many != nil {
		f.bad(n.at["process"], key+".process", "beside processes", "keep one of the two")
		return
	}
	if command := f.line(key+".process", one); command != "" {
		f.process(service, service, command)
	}
	if many == nil || many.kind == nothing {
		return
	}
	if many.kind != mapping {
		f.bad(many.line, key+".processes", many.what()+", where commands are needed by their names", "such as: processes: {worker: ./work}")
		return
	}
	for _, name := range many.keys {
		if !processName.MatchString(name) {
			f.bad(many.at[name], key+".processes."+name, "not the name of a process", "letters, digits, '-' and '_', at most 63: such as web")
		} else if command := f.line(key+".processes."+name, many.get(name)); command != "" {
			f.process(name, service, command)
		}
	}
}

func (f *dotCloudFile) process(name, service, command string) {
	if f.app.Processes == nil {
		f.app.Processes = map[string]string{}
	}
	if _, taken := f.app.Processes[name]; taken || name == "release" {
		name = service + "-" + name
	}
	f.app.Processes[name] = command
}

// resolve settles what is run as postinstall, once it is known which files the
// tree has: has says whether a path of it is there.
func (d *DotCloud) resolve(has func(path string) (bool, error)) (command string, err error) {
	var parts []dotCloudStep
	for _, s := range d.steps {
		if s.byDefault {
			there, err := has(path.Join(s.dir, s.command))
			if err != nil {
				return "", err
			}
			if !there {
				continue
			}
		}
		parts = append(parts, s)
	}
	if len(parts) == 1 && parts[0].byDefault && parts[0].dir == "." {
		return "", nil // the file that is found without being named
	}
	lines := make([]string, len(parts))
	for i, s := range parts {
		lines[i] = s.command
		if s.dir != "." {
			lines[i] = "cd " + shellQuote(s.dir) + " && " + s.command
		}
		if s.service != d.Service {
			lines[i] = "export DOTCLOUD_SERVICE_NAME=" + s.service + "; " + lines[i]
		}
		if len(parts) > 1 {
			lines[i] = "(" + lines[i] + ")"
		}
	}
	return strings.Join(lines, " && "), nil
}
