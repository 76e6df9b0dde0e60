package submodule

import (
	"fmt"
	"strings"
	"testing"

	"slipway/store"
)

// hostile are .gitmodules that no plan may follow, with a gitlink at "a". Each
// is refused before any source is asked. GOOD is the URL of a repository that
// exists.
var hostile = []struct{ name, text, want string }{
	{"B88 url option", module("a", "-u./x"), "its URL begins like an option"},
	{"B88 path option", "[submodule \"a\"]\n\tpath = -a\n\turl = GOOD\n", "its path begins like an option"},
	{"B89 ext", module("a", "ext::sh -c touch% /tmp/x"), "a remote helper"},
	{"B89 fd", module("a", "fd::17"), "a remote helper"},
	{"B89 file", module("a", "file:///etc"), `scheme "file" is not allowed`},
	{"B89 absolute path", module("a", "/etc"), "a local path"},
	{"B89 home path", module("a", "~/x"), "a local path"},
	{"B89 plain path", module("a", "x/y"), "a local path"},
	{"B89 git", module("a", "git://h/x.git"), `scheme "git" is not allowed`},
	{"B89 http", module("a", "http://h/x.git"), `scheme "http" is not allowed`},
	{"B89 ftp", module("a", "ftp://h/x.git"), `scheme "ftp" is not allowed`},
	{"B89 git+ssh", module("a", "git+ssh://h/x.git"), "is not allowed"},
	{"B89 upload-pack", module("a", "--upload-pack=touch /tmp/x"), "its URL begins like an option"},
	{"B90 proxy command", module("a", "ssh://-oProxyCommand=x/y"), "host begins with '-'"},
	{"B90 proxy command as user", module("a", "ssh://-oProxyCommand=x@h/y"), "user name"},
	{"B90 port", module("a", "ssh://h:99999/x"), "port"},
	{"B90 scp path", module("a", "git@h:-x"), "path begins with '-'"},
	{"B90 scp host", module("a", "-oProxyCommand=x:y"), "its URL begins like an option"},
	{"B91 LF", module("a", "ssh://git@h/%0ahost=x"), "control byte"},
	{"B91 CR", module("a", "https://h/x%0d"), "control byte"},
	{"B91 raw CR", "[submodule \"a\"]\n\tpath = a\n\turl = \"ssh://h/x\r\"\n", "control character"},
	{"B91 raw LF", "[submodule \"a\"]\n\tpath = a\n\turl = \"ssh://h/x\\nhost=y\"\n", "control character"},
	{"B91 ESC", module("a", "ssh://h/\x1b[31mx"), "control character"},
	{"B91 space", module("a", "ssh://h/a b"), "character"},
	{"B91 long", module("a", "ssh://h/"+strings.Repeat("a", 600)), "longer than"},
	{"B92 password", module("a", "https://u:hunter2@h/r"), "password"},
	{"B92 password with slash", module("a", "https://u:hun/ter2@h/r"), ""},
	{"B93 dots", module("a", "ssh://h/r/../../x"), "'.' or '..'"},
	{"B93 encoded dots", module("a", "ssh://h/r/%2e%2e/x"), "encoded"},
	{"B93 encoded slash", module("a", "ssh://h/r%2fx"), "encoded"},
	{"B93 trailing dot", module("a", "https://git.corp./x"), "ends with '.'"},
	{"B93 query", module("a", "https://h/x?a=b"), "query"},
	{"B93 IDN", module("a", "https://g\u0456t.corp/x"), "host is not a name"},
	{"B94 no base", module("a", "../x"), "upstream is not known"},
	{"B102 no value", "[submodule \"a\"]\n\tpath = a\n\turl\n", "url has no value"},
	{"B102 path twice", module("a", "GOOD") + "[submodule \"b\"]\n\tpath = a\n\turl = GOOD\n", "has the same path"},
	{"B102 syntax", "[submodule \"a\n\"]\n\tpath = a\n", "cannot be parsed"},
	{"B102 NUL", "[submodule \"a\"]\n\tpath = a\n\turl = GOOD\x00x\n", "cannot be parsed"},
	{"B102 include", "[include]\n\tpath = /etc/passwd\n", "gitlink without an entry"},
	{"B103 update command", module("a", "GOOD") + "\tupdate = !touch /tmp/x\n", "update = !COMMAND is never run"},
	{"B103 update unknown", module("a", "GOOD") + "\tupdate = frobnicate\n", "no way to update"},
	{"B105 path up", module("a", "GOOD") + "[submodule \"b\"]\n\tpath = ../b\n\turl = GOOD\n", "has . or .. in it"},
	{"B105 path up inside", module("a", "GOOD") + "[submodule \"b\"]\n\tpath = x/../../b\n\turl = GOOD\n", "has . or .. in it"},
	{"B105 .git", module("a", "GOOD") + module(".git/hooks", "GOOD"), "lies in git's own directory"},
	{"B105 .GIT", module("a", "GOOD") + module("x/.GiT/y", "GOOD"), "lies in git's own directory"},
	{"B105 git~1", module("a", "GOOD") + module("GIT~1", "GOOD"), "lies in git's own directory"},
	{"B105 .git with dots", module("a", "GOOD") + "[submodule \"b\"]\n\tpath = \".git. . \"\n\turl = GOOD\n", "lies in git's own directory"},
	{"B105 .git stream", module("a", "GOOD") + "[submodule \"b\"]\n\tpath = .git::$INDEX_ALLOCATION\n\turl = GOOD\n", "lies in git's own directory"},
	{"B105 HFS .git", module("a", "GOOD") + "[submodule \"b\"]\n\tpath = .g\u200cit\n\turl = GOOD\n", "lies in git's own directory"},
	{"B105 backslash", module("a", "GOOD") + "[submodule \"b\"]\n\tpath = \"..\\\\x\"\n\turl = GOOD\n", `has a \ in it`},
	{"B105 absolute", module("a", "GOOD") + module("/b", "GOOD"), "is absolute"},
	{"B105 double slash", module("a", "GOOD") + module("x//b", "GOOD"), "is not clean"},
	{"B105 slash at the end", "[submodule \"a\"]\n\tpath = a/\n\turl = GOOD\n", "is not clean"},
	{"B105 inside another", module("a", "GOOD") + module("a/b", "GOOD"), "lies inside the submodule a"},
	{"B105 over a link", module("a", "GOOD") + module("l/b", "GOOD"), "leads over the symbolic link l"},
	{"CVE-2018-11235 name", "[submodule \"../../x\"]\n\tpath = a\n\turl = GOOD\n", "its name leads out"},
	{"name with backslash", "[submodule \"x\\\\..\\\\y\"]\n\tpath = a\n\turl = GOOD\n", "its name leads out"},
	{"name empty", "[submodule \"\"]\n\tpath = a\n\turl = GOOD\n", "its name is empty"},
	{"name with CR", "[submodule \"a\r\"]\n\tpath = a\n\turl = GOOD\n", "its name has a control character"},
	{"CVE-2019-1387 names", "[submodule \"n\"]\n\tpath = a\n\turl = GOOD\n[submodule \"n/modules/b\"]\n\tpath = b\n\turl = GOOD\n", "its name lies below the name n"},
	{"CVE-2025-48384 path", "[submodule \"a\"]\n\tpath = \"a\r\"\n\turl = GOOD\n", "its path has a control character"},
	{"path with LF", "[submodule \"a\"]\n\tpath = \"a\\nb\"\n\turl = GOOD\n", "its path has a control character"},
	{"no entry", module("b", "GOOD"), "gitlink without an entry"},
	{"no url", "[submodule \"a\"]\n\tpath = a\n", "its entry has no url"},
	{"no file", "", "gitlink without an entry"},
	{"other host", module("a", "https://evil.example/x.git"), "no source of shop/dev covers its URL"},
	{"other user", module("a", "ssh://root@127.0.0.1/x.git"), "no source of shop/dev covers its URL"},
	{"outside of the prefix", module("a", "PREFIX-evil/x.git"), "no source of shop/dev covers its URL"},
}

func TestHostileGitmodules(t *testing.T) {
	t.Parallel()
	src := newSSHSource(t)
	good := src.repo("corp/good.git").commit(files{"g": "g"})
	w := newWorld(t, src.source("/corp", "ed25519"))
	// What is refused in the app is refused in a submodule: one is in the
	// cache for each case.
	carrier := src.repo("corp/carrier.git")
	carriers, modules := files{}, ""
	var ids []store.OID
	fill := strings.NewReplacer("GOOD", src.url("/corp/good.git"), "PREFIX", src.url("/corp"))
	for i, h := range hostile {
		f := files{"a": gitlinkTo(good), "l": "link a", "README": "x"}
		if strings.Contains(h.text, "path = b\n") {
			f["b"] = gitlinkTo(good)
		}
		if h.text != "" {
			f[".gitmodules"] = fill.Replace(h.text)
		}
		id := carrier.commit(f)
		ids = append(ids, id)
		path := fmt.Sprintf("c%02d", i)
		carriers[path] = gitlinkTo(id)
		modules += module(path, src.url("/corp/carrier.git"))

		runGit(t, w.app.dir, "", "fetch", "-q", carrier.dir, "main")
		before := src.sessions.Load()
		res, err := w.refused(w.request(id))
		refusedAs(t, h.name, h.want, err, res.Reports)
		if n := src.sessions.Load() - before; n > 0 && !strings.Contains(h.text, "GOOD") {
			t.Errorf("%s: the source was asked %d times", h.name, n)
		}
	}
	if len(hostile) < 50 {
		t.Errorf("%d cases", len(hostile))
	}

	url := parseURL(t, src.url("/corp/carrier.git"))
	dir := w.r.cacheDir("", url)
	check(t, w.r.create(t.Context(), dir, url))
	runGit(t, dir, "", "fetch", "-q", carrier.dir, "main:refs/heads/all")
	for _, id := range ids {
		check(t, pin(dir, id))
	}
	carriers[".gitmodules"] = modules
	res, _ := w.refused(w.request(w.app.commit(carriers)))
	for i, h := range hostile {
		path := fmt.Sprintf("c%02d", i)
		var own []Report
		for _, r := range res.Reports {
			if r.Path == path || strings.HasPrefix(r.Path, path+"/") {
				own = append(own, r)
			}
		}
		want := h.want
		if h.name == "B94 no base" {
			want = "missing, or no access" // a submodule's own URL is the base
		}
		refusedAs(t, "in a submodule, "+h.name, want, nil, own)
	}
}

// refusedAs looks for a text in all that people are told, and for what nobody
// may be told.
func refusedAs(t *testing.T, name, want string, err error, reports []Report) {
	t.Helper()
	var all strings.Builder
	if err != nil {
		all.WriteString(err.Error())
	}
	for _, r := range reports {
		if r.Err != nil {
			all.WriteString("|" + r.Err.Error())
		}
		all.WriteString("|" + strings.Join(r.Detail, "|") + "|" + r.Raw + "|" + r.Where)
	}
	said := all.String()
	if want == "" && !strings.Contains(said, "|") || !strings.Contains(said, want) {
		t.Errorf("%s: %q lacks %q", name, said, want)
	}
	if strings.Contains(said, "hunter2") || strings.Contains(said, "ter2") || strings.ContainsAny(said, "\x1b\r\n\x00") {
		t.Errorf("%s: shows what it must not: %q", name, said)
	}
}
