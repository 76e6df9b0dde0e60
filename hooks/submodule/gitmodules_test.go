package submodule

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var seeds = []string{
	"",
	"[submodule \"a\"]\n\tpath = a\n\turl = ssh://git@h/a.git\n",
	"[submodule \"a\"] path = a\n\turl=x ; comment\n# more\n",
	"[Submodule \"A b\"]\n\tPATH = \"a \\\"b\\\" \" c\n\tUrl = 'x'\n",
	"[submodule \"a\"]\n\tpath = a\\\n  b\n\turl = \"x\\ty\\n\\b\\\\\"\n",
	"[submodule.A]\n\tpath = a\n",
	"[submodule \"a\"]\r\n\tpath = a\r\n\turl = b\r\n",
	"[submodule \"a\"]\n\tpath = a\r\r\n",
	"\xef\xbb\xbf[submodule \"a\"]\n\tpath\n",
	"[submodule \"a\"]\n\tpath =\n\tpath = b\n[submodule \"a\"]\npath = c",
	"[submodule \"\"]\n\tpath = x\n",
	"[submodule \"a\\\\b\\\"c\"]\n\tpath = x\n",
	"[submodule \"a]\n",
	"[submodule \"a\n\"]\n",
	"[submodule\"a\"]\n\tpath = x\n",
	"[submodule \t \"a\"]\n\tpath = x\n",
	"[submodule \"a\" ]\n",
	"[]\n", "[a b]\n", "[a", "[a\nb]", "x = y\n", "[a]\n1x = y\n", "[a]\nx y\n", "[a]\nx-1 = \"open\n", "[a]\nx = \\q\n",
	"[a]\nx = a  \t b   # c\n", "[a]\nx = \"a # b\" ; c\n", "[a]\nx = a\\", "[a]\nx = \"a\\\nb\"\n", "[include]\n\tpath = /etc/passwd\n",
	"[a.b.c]\n\tX = y\n[a \"B.c\"]\nx=z", "[a]\nx = y;z#w\n", "[a]\nx=\"\"  y\n", "[a]\nx = \xff\xfe\n", "[a]x=y[b]z=w\n",
}

var badConfig = regexp.MustCompile(`bad config line (\d+) in file`)

// gitReads has git read a file: items as "key\nvalue", or the bad line.
func gitReads(t testing.TB, dir string, b []byte) (items []string, line int) {
	t.Helper()
	path := filepath.Join(dir, "modules")
	check(t, os.WriteFile(path, b, 0o600))
	cmd := exec.Command("git", "config", "--no-includes", "-z", "--list", "-f", path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C"}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		m := badConfig.FindStringSubmatch(errs.String())
		if m == nil {
			t.Fatalf("git says of %q: %s", b, errs.String())
		}
		line, _ = strconv.Atoi(m[1])
		return nil, line
	}
	for item := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if len(out) > 0 {
			items = append(items, item)
		}
	}
	return items, 0
}

// asGit compares what we read with what git reads. Git before 2.45 makes each
// blank byte inside a value a space.
func asGit(t testing.TB, dir string, b []byte) {
	t.Helper()
	if bytes.IndexByte(b, 0) >= 0 {
		return
	}
	want, badLine := gitReads(t, dir, b)
	all, err := parseSettings(b)
	var syntax *syntaxError
	if errors.As(err, &syntax) {
		if badLine != syntax.line {
			t.Fatalf("%q: we find line %d bad, git line %d", b, syntax.line, badLine)
		}
		return
	}
	if badLine != 0 {
		t.Fatalf("%q: git finds line %d bad, we nothing", b, badLine)
	}
	var have []string
	for _, s := range all {
		item := s.key
		if !s.bare {
			item += "\n" + s.value
		}
		have = append(have, item)
	}
	blank := strings.NewReplacer("\t", " ", "\r", " ")
	if blank.Replace(fmt.Sprintf("%q", have)) != blank.Replace(fmt.Sprintf("%q", want)) &&
		!sameButBlanks(have, want) {
		t.Fatalf("%q:\nwe  %q\ngit %q", b, have, want)
	}
}

func sameButBlanks(a, b []string) bool {
	blank := strings.NewReplacer("\t", " ", "\r", " ")
	return blank.Replace(strings.Join(a, "\x00")) == blank.Replace(strings.Join(b, "\x00"))
}

func TestParseAsGit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, s := range seeds {
		asGit(t, dir, []byte(s))
	}
	// Pieces put together at random find what no one thinks of.
	pieces := []string{
		"[submodule \"a\"]", "[", "]", "\"", "\\", "\n", "\r\n", "\r", " ", "\t", "=", "path", "url", "x-1", "#", ";", "\\\n", "\\n", "\\\"",
		"ssh://h/a.git", "[a.B]", "submodule", ".", "\xc3\xa9", "\ufeff", "1",
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		var b strings.Builder
		if rng.IntN(2) == 0 {
			b.WriteString("[submodule \"a\"]\n\tpath = ")
		}
		for range rng.IntN(12) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		asGit(t, dir, []byte(b.String()))
	}
}

func FuzzParseAsGit(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4096 {
			asGit(t, dir, b)
		}
	})
}

func TestParseEntries(t *testing.T) {
	t.Parallel()
	text := "[submodule \"a\"]\n\tpath = old\n\turl = u1\n[other]\n\tpath = no\n[SUBMODULE \"a\"]\n\tPath = new\n\tupdate = none\n[submodule \"b\"]\n\turl = u2\n"
	all, err := parseEntries([]byte(text))
	check(t, err)
	if len(all) != 2 {
		t.Fatalf("%d entries", len(all))
	}
	a, b := all[0], all[1]
	if a.path != "new" || a.url != "u1" || a.update != "none" || a.lineOf() != 3 || a.pathLine != 7 {
		t.Errorf("a is %+v", a)
	}
	if b.path != "" || b.url != "u2" || b.lineOf() != 10 {
		t.Errorf("b is %+v", b)
	}
	if _, err := parseEntries([]byte("[submodule \"a\"]\n\tpath = a\x00b\n")); err == nil {
		t.Error("a NUL is accepted")
	}
}
