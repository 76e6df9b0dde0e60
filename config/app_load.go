package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// What an app's own files are called, and how large they may be.
const (
	AppFileName  = "slipway.toml"
	DotCloudName = "dotcloud.yml"
	AppJSONName  = "app.json"
	ProcfileName = "Procfile"
	maxAppBytes  = 64 << 10
)

// AppSources are the files in an app's root that say something of it, each nil
// if it is not there.
type AppSources struct {
	SlipwayTOML, DotCloudYML, AppJSON, Procfile []byte
}

var (
	serviceName = NewPattern(`^[a-z][a-z0-9_]{0,15}$`)
	processName = NewPattern(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
)

// ParseAppFiles reads an app's files: slipway.toml, or in its place dotcloud.yml, or
// app.json; and the Procfile beside any of them. The notes are what they ask for
// and cannot have, in the order of the file. The error is a Mistakes.
func ParseAppFiles(src AppSources) (*AppFile, []Note, error) {
	a := &AppFile{From: []string{}, Services: []ServiceSpec{{"db", "sqlite"}}, Default: true}
	a.Build.Timeout, a.Build.Network, a.Deploy.Health.Timeout = 10*time.Minute, true, 30*time.Second
	var mistakes Mistakes
	var notes []Note
	settled := false // by [processes], even if that is empty
	for _, f := range []struct {
		name string
		data []byte
		read func([]byte) (Mistakes, []Note)
	}{
		{AppFileName, src.SlipwayTOML, func(b []byte) (Mistakes, []Note) { m, s := a.parseTOML(b); settled = s; return m, nil }},
		{DotCloudName, src.DotCloudYML, func(b []byte) (Mistakes, []Note) { return parseDotCloud(a, b) }},
		{AppJSONName, src.AppJSON, func(b []byte) (Mistakes, []Note) { return parseAppJSON(a, b) }},
	} {
		switch {
		case f.data == nil:
		case len(a.From) > 0:
			notes = append(notes, Note{File: f.name, Text: "not read, as there is a " + a.From[0]})
		default:
			a.From = append(a.From, f.name)
			mistakes, notes = f.read(f.data)
		}
	}
	release, processes, wrong := parseProcfile(src.Procfile)
	mistakes = append(mistakes, wrong...)
	if src.Procfile != nil {
		a.From = append(a.From, ProcfileName)
	}
	if a.Deploy.Release == "" {
		a.Deploy.Release = release
	}
	if !settled && a.Processes == nil {
		a.Processes = processes
	}
	if err := mistakes.err(); err != nil {
		return nil, nil, err
	}
	return a, notes, nil
}

// parseTOML reads slipway.toml; processes says that it settles which there are.
func (a *AppFile) parseTOML(data []byte) (mistakes Mistakes, processes bool) {
	doc, top := openDocument(AppFileName, data, maxAppBytes)
	if top == nil {
		return doc.mistakes, false
	}
	a.build(top.table("build"))
	skip := top.table("submodules")
	a.Submodules.Skip = paths(skip, "skip", "vendor/windows-sdk")
	skip.unknown()
	a.vars(top.table("vars"))
	a.services(top)
	a.deploy(top.table("deploy"))
	a.processes(top.table("processes"))
	top.unknown()
	return doc.mistakes, top.has("processes")
}

func (a *AppFile) build(t *table) {
	a.Build.Postinstall = t.filled("postinstall", "./postinstall")
	a.Build.Timeout = t.duration("timeout", a.Build.Timeout, time.Second, 24*time.Hour)
	a.Build.Network = t.boolean("network", a.Build.Network)
	a.Build.Cache = paths(t, "cache", ".npm")
	if a.Build.LFS = t.str("lfs", "", "pointers"); a.Build.LFS != "" && a.Build.LFS != "pointers" {
		t.bad("lfs", quote(a.Build.LFS)+" is not known", `lfs = "pointers" deploys the pointers as they are`)
	}
	switch home := t.str("home", "", "dotcloud"); home {
	case "":
	case "dotcloud":
		a.DotCloud = &DotCloud{Service: "www", Approot: "."}
	default:
		t.bad("home", quote(home)+" is not known", `home = "dotcloud" makes it as dotCloud did`)
	}
	t.unknown()
}

// vars tells variables from the tables of environments by their type.
func (a *AppFile) vars(t *table) {
	for _, name := range slices.Sorted(maps.Keys(t.values)) {
		values, ok := t.values[name].(map[string]any)
		if !ok {
			if a.Vars == nil {
				a.Vars = map[string]string{}
			}
			variable(t, name, a.Vars)
			continue
		}
		env, err := ParseEnv(name)
		if err != nil {
			t.badErr(name, err)
		}
		of := &table{doc: t.doc, path: t.at(name), kind: t.kind + ".*", values: values}
		in := map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			variable(of, name, in)
		}
		if a.EnvVars == nil {
			a.EnvVars = map[Env]map[string]string{}
		}
		a.EnvVars[env] = in
	}
}

func variable(t *table, name string, into map[string]string) {
	s, ok := t.values[name].(string)
	if !ok {
		t.bad(name, typeName(t.values[name])+", where a string is needed", "put the value in quotes")
		return
	}
	for _, err := range []error{ParseVarName(name), CheckVarValue(s)} {
		var e *Error
		if errors.As(err, &e) {
			t.bad(name, e.Err.Error(), e.Hint)
		}
	}
	into[name] = s
}

func (a *AppFile) services(top *table) {
	names, tables := top.named("services")
	if !top.has("services") {
		return
	}
	a.Services, a.Default = []ServiceSpec{}, false
	for i, t := range tables {
		s := ServiceSpec{names[i], t.choice("type", "sqlite", "sqlite", "postgresql")}
		if !serviceName.MatchString(s.Name) {
			t.doc.bad(t.path, "not the name of a service", "a-z, 0-9 and '_', led by a letter, at most 16: such as db")
		}
		t.unknown()
		a.Services = append(a.Services, s)
	}
}

func (a *AppFile) deploy(t *table) {
	a.Deploy.Shared = paths(t, "shared", "media")
	a.Deploy.Release = t.filled("release", "./manage.py migrate")
	a.Deploy.Restart = t.filled("restart", "./restart")
	h := t.table("health")
	a.Deploy.Health.Command = h.filled("command", "./healthcheck")
	a.Deploy.Health.Timeout = h.duration("timeout", a.Deploy.Health.Timeout, time.Second, time.Hour)
	if h.has("timeout") && !h.has("command") {
		h.bad("command", "missing", `such as: health = { command = "./healthcheck" }`)
	}
	h.unknown()
	t.unknown()
}

func (a *AppFile) processes(t *table) {
	if len(t.values) == 0 {
		return
	}
	a.Processes = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(t.values)) {
		if !processName.MatchString(name) {
			t.bad(name, "not the name of a process", "letters, digits, '-' and '_', at most 63: such as web")
			continue
		}
		a.Processes[name] = t.filled(name, "gunicorn shop.wsgi")
		if name == "release" {
			t.bad(name, "runs once per deploy and is not a process", "write it as release in [deploy]")
		}
	}
}

// paths takes a list of clean relative paths, none of which is or lies in
// another.
func paths(t *table, key, example string) []string {
	list := t.strs(key, example)
	for i, s := range list {
		if text := checkRelative(s); text != "" {
			hint := fmt.Sprintf("a relative path, such as: %s = [%q]", key, example)
			if clean := path.Clean(s); checkRelative(clean) == "" {
				hint = fmt.Sprintf("did you mean %s?", quote(clean))
			}
			t.doc.bad(t.elem(key, i), quote(s)+": "+text, hint)
			continue
		}
		for _, o := range list[:i] {
			if checkRelative(o) == "" && (within(s, o) || within(o, s)) {
				t.doc.bad(t.elem(key, i), fmt.Sprintf("%s and %s lie in each other", quote(o), quote(s)), "name the outer one alone")
			}
		}
	}
	return list
}

// checkRelative says what is wrong with a path in a tree.
func checkRelative(s string) (text string) {
	switch {
	case s == "" || s == ".":
		return "names nothing"
	case path.IsAbs(s):
		return "an absolute path"
	case len(s) > 1024:
		return "longer than 1024 bytes"
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' }):
		return "has a control byte or a backslash in it"
	case path.Clean(s) == ".." || strings.HasPrefix(path.Clean(s), "../"):
		return "leads out"
	case path.Clean(s) != s:
		return "not in its shortest form"
	}
	for part := range strings.SplitSeq(s, "/") {
		switch {
		case strings.EqualFold(part, ".git"):
			return "git's own"
		case len(part) > 255:
			return "a part of it is longer than 255 bytes"
		}
	}
	if first, _, _ := strings.Cut(s, "/"); first == ".slipway" || first == ".ready" {
		return "a name of Slipway's own"
	}
	return ""
}
