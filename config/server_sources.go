package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

func (l *loader) sources(tables []*table) {
	for _, t := range tables {
		s := Source{
			URL:       l.url(t, "url", "ssh://git@git.corp.local/"),
			Apps:      l.globs(t, "apps"),
			InsteadOf: l.insteadOf(t),
			Username:  t.str("username", "git", "oauth2"),
			Token:     l.secret(t, "token", false),
			Line:      t.doc.line(t.path),
			Written:   t.str("url", "", ""),
		}
		s.Identity = l.file(t, "identity", checkPrivateKey)
		s.KnownHosts = l.file(t, "known_hosts", checkKnownHosts)
		s.CA = l.file(t, "ca", checkCA)
		if !t.has("url") {
			t.bad("url", "missing", `such as: url = "ssh://git@git.corp.local/"`)
		}
		switch s.URL.Scheme() {
		case "ssh":
			t.only("https", "username", "token", "ca")
			l.login(t, &s.KnownHosts)
			s.Username = ""
		case "https":
			t.only("ssh", "identity", "known_hosts")
			if s.URL.User() != "" {
				t.bad("url", "a user name in an https URL", "leave it out, and set username")
			}
			if s.Username == "" || strings.ContainsAny(s.Username, ":") {
				t.bad("username", "empty, or with ':' in it", `such as: username = "oauth2"; the default is "git"`)
			}
		}
		t.unknown()
		l.clash(t, s)
		l.c.Sources = append(l.c.Sources, s)
	}
}

// login is common to sources and targets that are reached by ssh: they need an
// identity, and their known_hosts is DIR's own if none is named.
func (l *loader) login(t *table, knownHosts *string) {
	if !t.has("identity") {
		t.bad("identity", "missing", "a private key; such as: ssh-keygen -t ed25519 -N '' -f "+
			shellWord(filepath.Join(l.c.Dir, "keys", "NAME")))
	}
	if t.has("known_hosts") {
		return
	}
	path := filepath.Join(l.c.Dir, "known_hosts")
	if data, mode, err := readFile(path); err == nil {
		if text, hint := checkKnownHosts(path, data, mode); text != "" {
			t.bad("known_hosts", text, hint)
			return
		}
		*knownHosts = path
		return
	}
	t.bad("known_hosts", "missing, and there is no "+printable(path), "the file that pins the hosts' keys; such as: known_hosts = \"known_hosts\"")
}

// only notes keys that are there although they are for another scheme or
// target.
func (t *table) only(what string, keys ...string) {
	for _, key := range keys {
		if t.has(key) {
			t.bad(key, "is for "+what+" only", "leave it out")
		}
	}
}

func (l *loader) url(t *table, key, example string) SourceURL {
	s := t.filled(key, example)
	if s == "" {
		return SourceURL{}
	}
	u, err := ParseSourceURL(s)
	if err != nil {
		t.badErr(key, err)
	}
	return u
}

func (l *loader) globs(t *table, key string) []Glob {
	if !t.has(key) {
		_ = t.strs(key, "shop/*")
		return []Glob{{"*/*"}}
	}
	list := t.strs(key, "shop/*")
	if v, ok := t.values[key].([]any); ok && len(v) == 0 {
		t.bad(key, "empty: no app may use it", `such as: apps = ["shop/*"]; the default is ["*/*"]`)
	}
	var globs []Glob
	for i, s := range list {
		g, err := ParseGlob(s)
		if err != nil {
			t.doc.badErr(t.elem(key, i), err)
			continue
		}
		globs = append(globs, g)
	}
	return globs
}

func (l *loader) insteadOf(t *table) []string {
	const key = "instead_of"
	list := t.strs(key, "git@github.com:corp/")
	for i, s := range list {
		text := ""
		switch {
		case s == "":
			text = "empty: it would match every URL"
		case len(s) > maxURL:
			text = fmt.Sprintf("longer than %d bytes", maxURL)
		case printable(s) != s || strings.Contains(s, " "):
			text = quote(s) + " has a byte in it that no URL has"
		case redactURL(s) != s && strings.Contains(s, "://"):
			text = "has a login in it, which may be a secret"
		}
		if text != "" {
			t.doc.bad(t.elem(key, i), text, `such as: instead_of = ["git@github.com:corp/"]`)
		}
	}
	return list
}

// clash notes what s and an earlier source both claim.
func (l *loader) clash(t *table, s Source) {
	for i := range l.c.Sources {
		o := &l.c.Sources[i]
		same := !s.URL.IsZero() && s.URL.Covers(o.URL) && o.URL.Covers(s.URL)
		for _, g := range s.Apps {
			for _, og := range o.Apps {
				if same && overlap(g.pattern, og.pattern) {
					t.bad("url", fmt.Sprintf("the source of line %d has the same url for the same apps (%s and %s)", o.Line, g, og),
						"give each its own apps")
					same = false
				}
			}
		}
		for j, p := range s.InsteadOf {
			for _, op := range o.InsteadOf {
				if p == op && p != "" {
					t.doc.bad(t.elem("instead_of", j), fmt.Sprintf("the source of line %d has it too", o.Line), "one source only can stand for a URL")
				}
			}
		}
	}
}

// overlap says whether there is a text that both patterns match; '*' and '?'
// match anything but '/'.
func overlap(a, b string) bool {
	// possible[j]: what is before a[i] and before b[j] can match the same text.
	possible := make([]bool, len(b)+1)
	possible[0] = true
	for j := 0; j < len(b) && b[j] == '*'; j++ {
		possible[j+1] = true
	}
	for i := range len(a) {
		next := make([]bool, len(b)+1)
		next[0] = possible[0] && a[i] == '*'
		for j := range len(b) {
			x, y := a[i], b[j]
			switch {
			case x == '*': // stands for nothing, or for b[j] too
				next[j+1] = possible[j+1] || next[j] && y != '/'
			case y == '*':
				next[j+1] = next[j] || possible[j+1] && x != '/'
			default:
				next[j+1] = possible[j] && (x == y || x == '?' && y != '/' || y == '?' && x != '/')
			}
		}
		possible = next
	}
	return possible[len(b)]
}
