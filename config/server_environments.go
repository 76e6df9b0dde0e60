package config

import (
	"fmt"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const defaultKeep = 5

func (l *loader) environments(top *table) {
	names, tables := top.named("environments")
	var before []*Environment
	for i, t := range tables {
		env, err := ParseEnv(names[i])
		if err != nil {
			t.doc.badErr(t.path, err)
		}
		e := l.environment(t, names[i])
		e.Name = env
		for _, o := range before {
			if sameRoot(e, o) {
				t.bad("root", fmt.Sprintf("the roots of %s and %s lie in each other: %s, %s", o.Name, e.Name, quote(o.Root), quote(e.Root)),
					"give each environment a root of its own")
			}
		}
		before = append(before, e)
		l.c.Environments[env] = e
	}
	if len(top.table("environments").values) == 0 {
		dev := Env{"dev"}
		l.c.Environments[dev] = &Environment{
			Name: dev, Target: "local", Keep: defaultKeep,
			Root: l.defaultRoot("dev"), Services: l.c.Services,
		}
	}
}

func (l *loader) defaultRoot(env string) string { return filepath.Join(l.c.Dir, "apps", env) }

func (l *loader) environment(t *table, name string) *Environment {
	e := &Environment{
		Target:     t.choice("target", "local", targets(nil)...),
		Root:       t.filled("root", "/srv/apps"),
		Branch:     t.str("branch", "", "main"),
		Keep:       t.integer("keep", defaultKeep, 1, 10_000),
		Protected:  t.boolean("protected", false),
		Hosts:      l.hosts(t),
		Identity:   l.file(t, "identity", checkPrivateKey),
		KnownHosts: l.file(t, "known_hosts", checkKnownHosts),
		Via:        l.host(t, "via", "deploy@bastion"),
		User:       t.str("user", "", "apps"),
		Services:   l.services(t.table("services")),
	}
	if e.Services.PostgreSQL == nil {
		e.Services.PostgreSQL = l.c.Services.PostgreSQL
	}
	if e.Branch != "" {
		if text := checkBranch(e.Branch); text != "" {
			t.bad("branch", quote(e.Branch)+": "+text, `a branch alone, such as: branch = "main"`)
		}
	}
	if e.User != "" && !login.MatchString(e.User) {
		t.bad("user", quote(e.User)+" is not the name of a user", `such as: user = "apps"`)
		e.User = ""
	}
	if !slices.Contains(l.built, e.Target) {
		t.bad("target", quote(e.Target)+" is not built into this version", "there are: "+strings.Join(targets(l.built), ", "))
	}
	switch e.Target {
	case "local":
		t.only("target = \"ssh\"", "hosts", "identity", "known_hosts", "via")
		l.local(t, e, name)
	case "ssh":
		l.remote(t, e)
	}
	t.unknown()
	return e
}

// targets are those of all that are built in; nil means all.
func targets(built []string) []string {
	return slices.DeleteFunc([]string{"local", "ssh", "container", "kubernetes"}, func(s string) bool {
		return built != nil && !slices.Contains(built, s)
	})
}

func (l *loader) local(t *table, e *Environment, name string) {
	if e.Root == "" {
		e.Root = l.defaultRoot(name)
	} else if root, text := l.path(e.Root); text != "" {
		t.bad("root", text, "a path below DIR, or an absolute one")
	} else {
		e.Root = root
	}
	// What DIR has beside apps is Slipway's own, and hidden from apps.
	below, err := filepath.Rel(l.c.Dir, e.Root)
	first, rest, _ := strings.Cut(below, "/")
	switch {
	case err != nil || first == "..":
		if within(l.c.Dir, e.Root) {
			t.bad("root", quote(e.Root)+" has DIR in it", "such as: root = \"apps/"+name+"\"")
		}
	case first == "apps" && rest == "" && name != "apps" || first == ".":
		t.bad("root", quote(e.Root)+" is not for one environment alone", "such as: root = \"apps/"+name+"\"")
	case first != "apps":
		t.bad("root", quote(e.Root)+" is a place of Slipway's own", "such as: root = \"apps/"+name+"\", or a path outside of DIR")
	}
	if e.User == "" {
		return
	}
	u, err := user.Lookup(e.User)
	switch {
	case err != nil:
		t.bad("user", "there is no user "+quote(e.User), "useradd --system --no-create-home "+e.User)
	case u.Uid == "0":
		t.bad("user", "root, which nothing confines", "name an unprivileged user, or leave it out: then each APP/ENV has a uid of its own")
	case os.Geteuid() != 0 && u.Uid != fmt.Sprint(os.Geteuid()):
		t.bad("user", "only a server that root runs can run builds as "+quote(e.User), "leave it out")
	}
}

func (l *loader) remote(t *table, e *Environment) {
	if len(e.Hosts) == 0 && !t.has("hosts") {
		t.bad("hosts", "missing", `such as: hosts = ["deploy@app1.example.com"]`)
	}
	switch {
	case e.Root == "" && !t.has("root"):
		t.bad("root", "missing", `such as: root = "/srv/apps"`)
	case e.Root != "" && (!path.IsAbs(e.Root) || path.Clean(e.Root) != strings.TrimSuffix(e.Root, "/")):
		t.bad("root", quote(e.Root)+" is not a clean absolute path other than /", `such as: root = "/srv/apps"`)
	}
	e.Root = strings.TrimSuffix(e.Root, "/")
	l.login(t, &e.KnownHosts)
}

func (l *loader) hosts(t *table) []string {
	const key, example = "hosts", "deploy@app1.example.com"
	list := t.strs(key, example)
	if v, ok := t.values[key].([]any); ok && len(v) == 0 {
		t.bad(key, "empty", `such as: hosts = ["`+example+`"]`)
	}
	seen := map[string]bool{}
	for i, s := range list {
		h, err := ParseHost(s)
		if err != nil {
			t.doc.badErr(t.elem(key, i), err)
			continue
		}
		if seen[h.Addr()] {
			t.doc.bad(t.elem(key, i), h.Addr()+" is there twice", "name each host once")
		}
		seen[h.Addr()] = true
	}
	return list
}

// sameRoot says whether releases of one environment would lie among those of
// the other.
func sameRoot(a, b *Environment) bool {
	if a.Target != b.Target || a.Root == "" || b.Root == "" || !within(a.Root, b.Root) && !within(b.Root, a.Root) {
		return false
	}
	return a.Target == "local" || slices.ContainsFunc(a.Hosts, func(h string) bool {
		return slices.ContainsFunc(b.Hosts, func(o string) bool { return sameHost(h, o) })
	})
}

func sameHost(a, b string) bool {
	h, err := ParseHost(a)
	o, errO := ParseHost(b)
	return err == nil && errO == nil && h.Addr() == o.Addr()
}

// within says whether a is b or lies below it; both are absolute and clean.
func within(a, b string) bool {
	return a == b || strings.HasPrefix(a, strings.TrimSuffix(b, "/")+"/")
}

var login = NewPattern(`^[a-z_][a-z0-9_.-]{0,31}$`)

// checkBranch has git's rules for the name of a branch.
func checkBranch(s string) (text string) {
	switch {
	case strings.HasPrefix(s, "refs/"):
		return "a ref, where the name of a branch is needed"
	case len(s) > 200:
		return "longer than 200 bytes"
	case s == "HEAD" || s == "@" || s[0] == '-' || strings.HasSuffix(s, "."),
		strings.Contains(s, "..") || strings.Contains(s, "@{"),
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`~^:?*[\`, r) }):
		return "not the name of a branch"
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return "not the name of a branch"
		}
	}
	return ""
}

func (l *loader) apps(top *table) {
	names, tables := top.named("apps")
	for i, t := range tables {
		app, err := ParseApp(names[i])
		if err != nil {
			t.doc.badErr(t.path, err)
		}
		a := &AppSettings{Upstream: l.url(t, "upstream", "ssh://git@git.corp.local/team/"+names[i]+".git")}
		if a.Upstream.Path() == "/" {
			t.bad("upstream", a.Upstream.Short()+" names no repository", "the URL that the app itself has on its git server")
		}
		t.unknown()
		l.c.Apps[app] = a
	}
}
