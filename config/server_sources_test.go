package config

import (
	"strings"
	"testing"
)

func TestSources(t *testing.T) {
	dir := newDir(t)
	c, doc := parseServer(dir, []byte(`
[[sources]]
url = "ssh://git@h/"
identity = "keys/git_corp"
instead_of = ["git@github.com:corp/", "https://github.com/"]
[[sources]]
url = "ssh://git@h/team/"
identity = "keys/git_corp"
apps = ["shop/*"]
instead_of = ["https://github.com/corp/team/"]
[[sources]]
url = "ssh://git@h/team/secret.git"
identity = "keys/git_corp"
apps = ["*/prod"]
`), 0o600, builtIn())
	if err := doc.mistakes.err(); err != nil {
		t.Fatal(strings.Join(err.(Mistakes).Lines(), "\n"))
	}
	for _, w := range []struct{ raw, want string }{
		{"git@github.com:corp/ui.git", "ssh://git@h/ui.git"},
		{"https://github.com/corp/x", "ssh://git@h/corp/x"},
		{"https://github.com/corp/team/x", "ssh://git@h/team/x"},
		{"https://github.com", "https://github.com"},
		{"git@gitlab.com:x", "git@gitlab.com:x"},
		{"../x", "../x"},
		{"", ""},
	} {
		if got := c.Rewrite(w.raw); got != w.want {
			t.Errorf("%s becomes %s, want %s", w.raw, got, w.want)
		}
	}
	for _, w := range []struct {
		ae, url string
		want    int // -1 is none
	}{
		{"shop/dev", "git@h:x", 0},
		{"shop/dev", "git@h:team/x", 1},
		{"blog/dev", "git@h:team/x", 0},
		{"shop/dev", "git@h:team/secret", 1},
		{"shop/prod", "git@h:team/secret", 2},
		{"shop/prod", "git@h:team/secret.git", 2},
		{"shop/prod", "root@h:team/x", -1},
		{"shop/prod", "https://h/team/x", -1},
	} {
		ae, err := ParseAppEnv(w.ae)
		if err != nil {
			t.Fatal(err)
		}
		got := c.Source(ae, parseURLs(t, w.url))
		switch {
		case w.want < 0 && got != nil:
			t.Errorf("%s gets %s from %s", w.ae, w.url, got.URL)
		case w.want >= 0 && (got == nil || got != &c.Sources[w.want]):
			t.Errorf("%s gets %s from %v, want source %d", w.ae, w.url, got, w.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"*/*", "shop/dev", true},
		{"shop/*", "*/dev", true},
		{"shop/*", "blog/*", false},
		{"shop/dev", "shop/dev", true},
		{"shop/dev", "shop/prod", false},
		{"a*b/*", "ab/x", true},
		{"a*b/*", "*a/x", false},
		{"a?/x", "ab/x", true},
		{"a?/x", "a/x", false},
		{"s*p/d", "sh*/*", true},
		{"*-*/x", "ab/x", false},
	} {
		if overlap(c.a, c.b) != c.want || overlap(c.b, c.a) != c.want {
			t.Errorf("%s and %s: want %v", c.a, c.b, c.want)
		}
	}
}

func TestParseHost(t *testing.T) {
	for _, c := range []struct{ in, addr, out string }{
		{"deploy@app1.example.com:2200", "app1.example.com:2200", "deploy@app1.example.com:2200"},
		{"App1:22", "app1:22", "app1"},
		{"u@[::1]:1", "[::1]:1", "u@[::1]:1"},
		{"[::1]", "[::1]:22", "[::1]"},
		{"", "", ""},
		{"::1", "", ""},
		{"u:p@h", "", ""},
		{"h:0", "", ""},
		{"-h", "", ""},
		{"h h", "", ""},
	} {
		h, err := ParseHost(c.in)
		if (err != nil) != (c.out == "") {
			t.Errorf("%q: %v", c.in, err)
		} else if err == nil && (h.Addr() != c.addr || h.String() != c.out) {
			t.Errorf("%q: %s, %s", c.in, h.Addr(), h)
		}
	}
}
