package submodule

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// problem is why an entry of .gitmodules cannot be used.
type problem struct {
	line       int
	text, hint string
}

// checkEntry refuses what git's own history of holes is about, in the name and
// the path: what leads out, is an option, or is one thing to one reader and
// another to the next. Where the URL leads is checked where it is resolved.
func checkEntry(e *entry) *problem {
	hint := "write the entry anew in .gitmodules"
	unset := "git config -f .gitmodules --unset " + shellWord("submodule."+e.name+".update")
	if e.bare != "" {
		return &problem{e.bareLine, e.bare + " has no value", hint}
	}
	if text := checkName(e.name); text != "" {
		return &problem{e.line, "its name " + text, "rename the section in .gitmodules"}
	}
	if e.path == "" {
		return nil
	}
	if text := checkPath(e.path); text != "" {
		return &problem{e.pathLine, "its path " + text, "name the path from the root of the repository"}
	}
	switch e.update {
	case "", "none", "checkout", "rebase", "merge":
	default:
		if e.update[0] == '!' {
			return &problem{e.upLine, "update = !COMMAND is never run", unset}
		}
		return &problem{e.upLine, "update = " + show(e.update) + " is no way to update", unset}
	}
	switch {
	case strings.HasPrefix(e.url, "-"):
		return &problem{e.urlLine, "its URL begins like an option", hint}
	case hasControl(e.url):
		return &problem{e.urlLine, "its URL has a control character", hint}
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// checkName says what is wrong with the name of an entry. Git makes a
// directory of it; Slipway makes nothing of it, but what git would refuse is
// no plan that git could check out.
func checkName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case hasControl(name):
		return "has a control character"
	}
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." {
			return "leads out of git's directory"
		}
	}
	return ""
}

// checkPath says what is wrong with the path of an entry, "" if nothing is.
func checkPath(path string) string {
	switch {
	case path[0] == '-':
		return "begins like an option"
	case path[0] == '/':
		return "is absolute"
	case hasControl(path):
		return "has a control character"
	case strings.Contains(path, `\`):
		return `has a \ in it`
	case len(path) > 4095:
		return "is too long"
	}
	for _, part := range strings.Split(path, "/") {
		switch {
		case part == "":
			return "is not clean"
		case part == "." || part == "..":
			return "has . or .. in it"
		case isDotGit(part):
			return "lies in git's own directory"
		}
	}
	return ""
}

// isDotGit says whether some file system takes a name for .git: HFS leaves out
// invisible characters, NTFS dots and spaces at the end and what follows a
// colon, and has git~1 as a short name; all leave out case.
func isDotGit(name string) bool {
	visible := strings.Map(func(r rune) rune {
		switch {
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
			return -1
		}
		return r
	}, name)
	plain, _, _ := strings.Cut(strings.ToLower(visible), ":")
	plain = strings.TrimRight(plain, " .")
	return plain == ".git" || plain == "git~1"
}

// withoutUserinfo drops what stands before the host of a URL that is to be
// shown, and lets see where it was a password. A password may have slashes and
// '@' in it where whoever wrote it forgot to encode them.
func withoutUserinfo(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	at := strings.LastIndexByte(rest, '@')
	if !ok || at < 0 {
		return s
	}
	info := rest[:at]
	switch {
	case strings.Contains(info, ":"):
		return scheme + "://***" + rest[at:]
	case strings.Contains(info, "/"):
		return s
	}
	return scheme + "://" + rest[at+1:]
}

// show gives foreign text in ASCII on one line: as it is where it is plain,
// quoted where it is not.
func show(s string) string {
	const most = 200
	s = withoutUserinfo(s)
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "..."
	}
	if q := strconv.QuoteToASCII(s); len(q) != len(s)+2 {
		return q
	}
	return s
}

// shellWord is a word as a shell takes it; plain words stay as they are.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") == "" {
		return s
	}
	return shellQuote(show(s))
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// nestedNames returns two entries of which the one's name lies below the
// other's: git would put the one's repository into the other's, and refuses.
func nestedNames(entries []*entry) (outer, inner *entry) {
	byName := map[string]*entry{}
	for _, e := range entries {
		byName[e.name] = e
	}
	for _, e := range entries {
		for i := range e.name {
			if e.name[i] == '/' && byName[e.name[:i]] != nil {
				return byName[e.name[:i]], e
			}
		}
	}
	return nil, nil
}

// relative is the URL that git makes of a relative one below base, in base's
// own spelling; ok is false where it leads above the host.
func relative(base, rel string) (url string, ok bool) {
	base = strings.TrimSuffix(base, "/")
	sep := "/"
	for {
		if cut, is := strings.CutPrefix(rel, "./"); is {
			rel = cut
			continue
		}
		cut, is := strings.CutPrefix(rel, "../")
		if !is {
			break
		}
		i := strings.LastIndexByte(base, '/')
		if i < 0 {
			if i = strings.LastIndexByte(base, ':'); i < 0 || sep == ":" {
				return "", false
			}
			sep = ":"
		}
		base, rel = base[:i], cut
	}
	return strings.TrimSuffix(base+sep+rel, "/"), true
}
