package config

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseSourceURL(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ssh://git@git.corp.local/team/shop.git", "ssh://git@git.corp.local/team/shop.git"},
		{"ssh://git@git.corp.local/", "ssh://git@git.corp.local/"},
		{"ssh://git@git.corp.local", "ssh://git@git.corp.local/"},
		{"ssh://git.corp.local/x", "ssh://git.corp.local/x"},
		{"ssh://git@GIT.Corp.Local:22/x/", "ssh://git@git.corp.local/x"},
		{"ssh://git@git.corp.local:2222/x", "ssh://git@git.corp.local:2222/x"},
		{"git@git.corp.local:team/shop.git", "ssh://git@git.corp.local/team/shop.git"},
		{"git@git.corp.local:/team/shop.git", "ssh://git@git.corp.local/team/shop.git"},
		{"git.corp.local:shop", "ssh://git.corp.local/shop"},
		{"git@[::1]:shop", "ssh://git@[::1]/shop"},
		{"ssh://git@[2001:DB8::0001]:2200/x", "ssh://git@[2001:db8::1]:2200/x"},
		{"https://git.corp.local:8443/a/b", "https://git.corp.local:8443/a/b"},
		{"https://git.corp.local:443/a/b/", "https://git.corp.local/a/b"},
		{"https://git.corp.local:22/a", "https://git.corp.local:22/a"},
		{"https://ana@git.corp.local/a", "https://ana@git.corp.local/a"},
		{"https://127.0.0.1/a", "https://127.0.0.1/a"},
		{"https://h/~ana/x", "https://h/~ana/x"},
		{"https://h/a%20b/%7Eana/%61%c3%a9", "https://h/a%20b/~ana/a%C3%A9"},
		{"https://h/r", "https://h/r"},
		{"https://h/R", "https://h/R"},
		{"https://h/a..b/.x/...", "https://h/a..b/.x/..."},
	} {
		u, err := ParseSourceURL(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := u.String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
		again, err := ParseSourceURL(u.String())
		if err != nil || again != u {
			t.Errorf("%s: read again as %v, %v", u, again, err)
		}
	}
}

// The ids are those of the table of bad inputs and of the CVEs behind them.
func TestParseSourceURLRefuses(t *testing.T) {
	for _, c := range []struct{ id, in, text string }{
		{"B88", "-u./x", "local path"},
		{"B88", "--upload-pack=x", "local path"},
		{"B88 host", "-oProxyCommand=x:y", "begins with '-'"},
		{"B89", "ext::sh -c x", "remote helper"},
		{"B89", "fd::17", "remote helper"},
		{"B89", "::x", "remote helper"},
		{"B89", "file:///etc/passwd", "scheme"},
		{"B89", "/abs", "local path"},
		{"B89", "rel/ative", "local path"},
		{"B89", "./x", "local path"},
		{"B89", "../x:y", "local path"},
		{"B89", "git://h/x", "scheme"},
		{"B89", "http://h/x", "scheme"},
		{"B89", "ftp://h/x", "scheme"},
		{"B89", "git+ssh://h/x", "scheme"},
		{"B89", "SSH://h/x", "scheme"},
		{"B90", "ssh://-oProxyCommand=x/y", "begins with '-'"},
		{"B90", "ssh://-o@h/y", "user name"},
		{"B90", "ssh://git@-h/y", "begins with '-'"},
		{"B90", "ssh://h:99999/x", "port"},
		{"B90", "ssh://h:0/x", "port"},
		{"B90", "ssh://h:+22/x", "port"},
		{"B90", "ssh://h:022/x", "port"},
		{"B90", "ssh://h:/x", "port"},
		{"B90", "h1:-x", "begins with '-'"},
		{"B90", "ssh://h/-x", "begins with '-'"},
		{"B90", "ssh://h/%2Dx", "begins with '-'"},
		{"B91", "https://h/%0a", "control byte"},
		{"B91", "https://h/%0D", "control byte"},
		{"B91", "https://h/%00", "control byte"},
		{"B91", "https://h/x\r", "control byte"},
		{"B91", "https://h/x\n", "control byte"},
		{"B91", "https://h/\x1b[0m", "control byte"},
		{"B91", "https://h/a b", "character"},
		{"B91", "git@h1:a b", "character"},
		{"B91", "https://h/" + strings.Repeat("x", 600), "longer"},
		{"B91", "https://h/%2e%2e/x", "encoded"},
		{"B91", "https://h/a%2fb", "encoded"},
		{"B91", "https://h/a%5Cb", "encoded"},
		{"B91", "https://h/%252e", "encoded"},
		{"B91", "https://h/%zz", "hexadecimal"},
		{"B91", "https://h/%4", "hexadecimal"},
		{"B91", "https://h/%+4", "hexadecimal"},
		{"B91", `https://h/a\b`, "character"},
		{"B91", "https://h/caf\u00e9", "ASCII"},
		{"B91", "https://h/a?b", "query"},
		{"B91", "https://h/a#b", "fragment"},
		{"B91", "https://h?x", "no '/'"},
		{"B92", "https://u:hunter2@h/r", "password"},
		{"B92", "https://:hunter2@h/r", "password"},
		{"B92", "https://u:@h/r", "password"},
		{"B92", "https://u:hunter2/w@h/r", "port"},
		{"B92", "https://u:hun@ter2@h/r", "password"},
		{"B92", "u1:hunter2@h:r", "password"},
		{"B92", "http://u:hunter2@h/r", "scheme"},
		{"B92", "https://u%3Ahunter2@h/r", "user name"},
		{"B92", "https://hunter2@h/../r", "'..'"},
		{"B92", "http://hunter2@h/r", "scheme"},
		{"B93", "https://h/r/../../x", "'..'"},
		{"B93", "https://h/r/./x", "'.'"},
		{"B93", "https://h/r//x", "empty"},
		{"B93", "https://h/r//", "empty"},
		{"B93", "https://b\u00fccher.example/r", "name of"},
		{"B93", "https://\u212acorp/r", "name of"},
		{"B93", "https://h./r", "ends with '.'"},
		{"B93", "https://a..b/r", "name of"},
		{"B93", "https://a_b/r", "name of"},
		{"CVE-2020-5260", "https://h%0ahost=x/", "name of"},
		{"CVE-2020-11008", "https:///x", "no host"},
		{"CVE-2020-11008", "ssh://git@/x", "no host"},
		{"CVE-2024-50349", "https://h%0d/x", "name of"},
		{"CVE-2019-1350", "C:x", "drive"},
		{"address", "https://[::1/x", "IPv6"},
		{"address", "https://[fe80::1%25eth0]/x", "IPv6"},
		{"address", "https://::1/x", "name of"},
		{"address", "https://2130706433/x", "IPv4"},
		{"address", "https://127.1/x", "IPv4"},
		{"address", "https://0x7f.0.0.1/x", "IPv4"},
		{"address", "https://127.0.0.01/x", "IPv4"},
		{"scp port", "[git@h:2222]:x", "user name"},
		{"home", "ssh://h/~root/x", "home"},
		{"home", "git@h1:~/x", "home"},
		{"home", "ssh://h/%7Eroot/x", "home"},
		{"empty", "", "empty"},
		{"no path", "git@h1:", "no path"},
		{"long when canonical", "git@h1:" + strings.Repeat("x", 504), "longer"},
	} {
		u, err := ParseSourceURL(c.in)
		if err == nil {
			t.Errorf("%s: %q is taken as %s", c.id, c.in, u)
			continue
		}
		msg := err.Error()
		if !strings.Contains(msg, c.text) {
			t.Errorf("%s: %q: %q does not say %q", c.id, c.in, msg, c.text)
		}
		if strings.Contains(msg, "hunter2") || strings.Contains(msg, "ter2") {
			t.Errorf("%s: %q shows the password", c.id, msg)
		}
		if printable(msg) != msg {
			t.Errorf("%s: %q is not plain", c.id, msg)
		}
		if KindOf(err) != Usage {
			t.Errorf("%s: kind %v", c.id, KindOf(err))
		}
		if !u.IsZero() || u.String() != "" {
			t.Errorf("%s: a value beside the error: %v", c.id, u)
		}
	}
}

func parseURLs(t testing.TB, s string) SourceURL {
	t.Helper()
	u, err := ParseSourceURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestSourceURLParts(t *testing.T) {
	for _, c := range []struct {
		in, scheme, user, host, path, addr, short string
		port                                      int
	}{
		{"git@git.corp.local:web/ui.git", "ssh", "git", "git.corp.local", "/web/ui.git", "git.corp.local:22", "git.corp.local/web/ui.git", 22},
		{"https://[::1]:8443/x", "https", "", "::1", "/x", "[::1]:8443", "[::1]:8443/x", 8443},
		{"https://h", "https", "", "h", "/", "h:443", "h/", 443},
	} {
		u := parseURLs(t, c.in)
		if u.Scheme() != c.scheme || u.User() != c.user || u.Host() != c.host || u.Path() != c.path ||
			u.Addr() != c.addr || u.Short() != c.short || u.Port() != c.port {
			t.Errorf("%s: %q %q %q %q %q %q %d", c.in, u.Scheme(), u.User(), u.Host(), u.Path(), u.Addr(), u.Short(), u.Port())
		}
		text, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		var back SourceURL
		if err := json.Unmarshal(text, &back); err != nil || back != u {
			t.Errorf("%s goes through JSON as %s and comes back as %s (%v)", u, text, back, err)
		}
	}
}

func TestResolve(t *testing.T) {
	const base = "ssh://git@git.corp.local:2222/team/shop.git"
	for _, c := range []struct{ base, relative, want string }{
		{base, "../lib.git", "ssh://git@git.corp.local:2222/team/lib.git"},
		{base, "../lib.git/", "ssh://git@git.corp.local:2222/team/lib.git"},
		{base, "./lib.git", "ssh://git@git.corp.local:2222/team/shop.git/lib.git"},
		{base, "../../other/lib.git", "ssh://git@git.corp.local:2222/other/lib.git"},
		{base, ".././../other/lib", "ssh://git@git.corp.local:2222/other/lib"},
		{base, "../", "ssh://git@git.corp.local:2222/team"},
		{base + "/", "../lib.git", "ssh://git@git.corp.local:2222/team/lib.git"},
		{"git@h1:shop.git", "../lib.git", "ssh://git@h1/lib.git"},
		{"https://h/a/b", "../c", "https://h/a/c"},
		{base, "../../../x", ""},
		{base, "../../../../x", ""},
		{base, "../a/../b", ""},
		{base, "..", ""},
		{base, "../..", ""},
		{base, "..//x", ""},
		{base, ".//x", ""},
		{base, "../%2e%2e/x", ""},
		{base, "../x\n", ""},
		{base, "lib.git", ""},
		{base, "/lib.git", ""},
		{base, "", ""},
		{base, "https://h/x", ""},
		{base, "../" + strings.Repeat("x", 505), ""},
		{base, "../" + strings.Repeat("x", 480), ""},
		{"", "../x", ""},
	} {
		var u SourceURL
		if c.base != "" {
			u = parseURLs(t, c.base)
		}
		got, err := u.Resolve(c.relative)
		if (err != nil) != (c.want == "") || got.String() != c.want {
			t.Errorf("%s from %s: got %q, %v; want %q", c.relative, c.base, got, err, c.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		entry, url string
		want       bool
	}{
		{"ssh://git@h/", "ssh://git@h/team/shop.git", true},
		{"ssh://git@h", "git@h:22/shop", true}, // scp's form has no port: 22 is a directory
		{"ssh://git@h/team", "ssh://git@h/team/shop", true},
		{"ssh://git@h/team/", "ssh://git@h:22/team/shop", true},
		{"ssh://git@h/team", "ssh://git@h/teams/shop", false},
		{"ssh://git@h/team", "ssh://git@h/team", true},
		{"ssh://git@h/shop", "ssh://git@h/shop.git", true},
		{"ssh://git@h/shop.git", "ssh://git@h/shop", true},
		{"ssh://git@h/shop.git", "ssh://git@h/shop/x", false},
		{"ssh://git@h/shop", "ssh://git@h/shop.git/x", false},
		{"ssh://git@h/shop", "ssh://git@h/shop.gitx", false},
		{"ssh://git@h/shop", "ssh://git@h/Shop", false},
		{"ssh://git@h/", "ssh://h/x", false},
		{"ssh://git@h/", "ssh://root@h/x", false},
		{"ssh://git@h/", "ssh://git@h:2222/x", false},
		{"ssh://git@h/", "ssh://git@hh/x", false},
		{"ssh://git@h/", "https://git@h/x", false},
		{"https://h/", "https://h:443/x", true},
		{"https://h/%7ea", "https://h/~a/x", true},
	} {
		if got := parseURLs(t, c.entry).Covers(parseURLs(t, c.url)); got != c.want {
			t.Errorf("%s covers %s: %v", c.entry, c.url, got)
		}
	}
	if (SourceURL{}).Covers(SourceURL{}) {
		t.Error("nothing covers nothing")
	}
}

func FuzzParseSourceURL(f *testing.F) {
	for _, s := range []string{
		"ssh://git@git.corp.local:2222/team/shop.git", "git@h:x", "https://[::1]:1/%20", "https://u:p@h/", "h:-x",
		"ext::sh", "ssh://h/%7e", "https://127.1/", "[a@b:1]:x", "../x", "./%2e",
	} {
		f.Add(s, "../lib.git")
	}
	f.Fuzz(func(t *testing.T, s, relative string) {
		u, err := ParseSourceURL(s)
		if err != nil {
			if !u.IsZero() || printable(err.Error()) != err.Error() {
				t.Fatalf("%v, %q", u, err)
			}
			return
		}
		check := func(u SourceURL) {
			again, err := ParseSourceURL(u.String())
			if err != nil || again != u {
				t.Fatalf("%q is read again as %q, %v", u, again, err)
			}
			if !u.Covers(u) || len(u.String()) > maxURL {
				t.Fatalf("%q does not cover itself, or is too long", u)
			}
			for _, bad := range []string{"/../", "/./", "//", " ", "\n", "\\", "%2E", "%2F", "%0", "%1"} {
				if strings.Contains(u.Path()+"/", bad) && u.Path() != "/" {
					t.Fatalf("%q has %q in it", u, bad)
				}
			}
		}
		check(u)
		if r, err := u.Resolve(relative); err == nil {
			check(r)
			if r.Host() != u.Host() || r.User() != u.User() || r.Port() != u.Port() || r.Scheme() != u.Scheme() {
				t.Fatalf("%q from %q leads to %q", relative, u, r)
			}
		}
	})
}
