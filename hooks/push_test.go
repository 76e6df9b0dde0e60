package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"slipway/config"
	"slipway/store"
)

var (
	one = strings.Repeat("1", 40)
	two = strings.Repeat("2", 40)
	no  = string(store.ZeroOID)
)

// readable says what an error lacks for the one who must act on it; "" if
// nothing.
func readable(err error) string {
	text, hint := err.Error(), config.Hint(err)
	switch {
	case hint == "":
		return "no hint"
	case strings.ContainsFunc(text+hint, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Sprintf("not one line of ASCII: %q, %q", text, hint)
	case len(text) > 400:
		return fmt.Sprintf("%d bytes long", len(text))
	}
	return ""
}

func TestParseUpdates(t *testing.T) {
	line := no + " " + one + " refs/heads/main"
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s %s refs/tags/v%d\n", no, one, i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, in string
		n        int
		err      string
	}{
		{"one", line + "\n", 1, ""},
		{"no end of line", line, 1, ""},
		{"two", line + "\n" + one + " " + two + " refs/tags/v1\n", 2, ""},
		{"a space in a name", no + " " + one + " refs/heads/a b\n", 1, ""},
		{"as many as there may be", many(maxUpdates), maxUpdates, ""},
		{"one more", many(maxUpdates + 1), 0, "more than 256 refs"},
		{"nothing", "", 0, "changes no ref"},
		{"an empty line", "\n", 0, "no change of a ref"},
		{"an empty line at the end", line + "\n\n", 0, "no change of a ref"},
		{"two words", one + " refs/heads/main\n", 0, "no change of a ref"},
		{"no ref", one + " " + two + " \n", 0, "no change of a ref"},
		{"short name", "1111 " + one + " refs/heads/main\n", 0, "no change of a ref"},
		{"SHA-256", strings.Repeat("1", 64) + " " + strings.Repeat("2", 64) + " refs/heads/main\n", 0, "no change of a ref"},
		{"capitals", strings.Repeat("A", 40) + " " + one + " refs/heads/main\n", 0, "no change of a ref"},
		{"CR at the end", line + "\r\n", 0, "no change of a ref"},
		{"NUL", line + "\x00report-status\n", 0, "no change of a ref"},
		{"endless line", line + strings.Repeat("x", 1<<20), 0, "no change of a ref"},
		{"escapes", "\x1b[31m\xff\u202e\n", 0, "no change of a ref"},
	} {
		got, err := parseUpdates(strings.NewReader(c.in))
		if len(got) != c.n || (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || readable(err) != "") {
			t.Errorf("%s: %d, %v: %s", c.name, len(got), err, readable(errors.Join(err, errors.New(""))))
		}
	}
	broken := errors.New("broken")
	if _, err := parseUpdates(io.MultiReader(strings.NewReader(line+"\n"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a broken pipe: %v", err)
	}
}

func FuzzParseUpdates(f *testing.F) {
	f.Add([]byte(no + " " + one + " refs/heads/main\n"))
	f.Add([]byte(one + " " + two + " refs/tags/v1\n" + no + " " + one + " refs/heads/main"))
	f.Add([]byte("\x00\r\n\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		all, err := parseUpdates(bytes.NewReader(in))
		if err != nil {
			if why := readable(err); why != "" {
				t.Fatalf("%v: %s", err, why)
			}
			return
		}
		var again strings.Builder
		for _, u := range all {
			fmt.Fprintf(&again, "%s %s %s\n", u.old, u.new, u.ref)
		}
		if got := strings.TrimSuffix(string(in), "\n"); got != strings.TrimSuffix(again.String(), "\n") {
			t.Fatalf("%q was read as %q", in, again.String())
		}
		p, err := sortUpdates(all, []string{"main"}, env(t, "dev"))
		switch {
		case err != nil && readable(err) != "":
			t.Fatalf("%v: %s", err, readable(err))
		case err == nil && (p.branch.ref != "refs/heads/main" || p.branch.new == store.ZeroOID || len(p.tags)+1 != len(all)):
			t.Fatalf("%+v", p)
		}
	})
}

func env(t testing.TB, name string) config.Env {
	t.Helper()
	e, err := config.ParseEnv(name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestParseOptions(t *testing.T) {
	many := make([]string, maxOptions+1)
	for i := range many {
		many[i] = "dry-run"
	}
	for _, c := range []struct {
		name  string
		words []string
		want  pushOptions
		err   string
		hint  string
	}{
		{"none", nil, pushOptions{}, "", ""},
		{"all", []string{"dry-run", "no-cache", "no-wait"}, pushOptions{dryRun: true, noCache: true, noWait: true}, "", ""},
		{"as many as there may be", many[1:], pushOptions{dryRun: true}, "", ""},
		{"twice", []string{"no-wait", "no-wait"}, pushOptions{noWait: true}, "", ""},
		{"near", []string{"dryrun"}, pushOptions{}, `unknown push option "dryrun"`, "did you mean -o dry-run?"},
		{"nearer to another", []string{"nowait"}, pushOptions{}, "unknown", "did you mean -o no-wait?"},
		{"a URL behind a near word", []string{"upstraem=ssh://git@h/x"}, pushOptions{}, "unknown", "-o upstream=URL"},
		{"far", []string{"ci.skip"}, pushOptions{}, "unknown", "known are -o dry-run"},
		{"a value where none belongs", []string{"dry-run=1"}, pushOptions{}, "unknown", "did you mean -o dry-run?"},
		{"capitals", []string{"DRY-RUN"}, pushOptions{}, "unknown", "dry-run"},
		{"empty", []string{""}, pushOptions{}, `unknown push option ""`, "known are"},
		{"no URL", []string{"upstream"}, pushOptions{}, "needs a URL", "-o upstream=ssh://"},
		{"empty URL", []string{"upstream="}, pushOptions{}, "upstream", "ssh://"},
		{"an option as a URL", []string{"upstream=--upload-pack=id"}, pushOptions{}, "upstream", "://"},
		{"a local path", []string{"upstream=/etc"}, pushOptions{}, "upstream", "://"},
		{"a helper", []string{"upstream=ext::sh -c id"}, pushOptions{}, "upstream", "://"},
		{"too many", many, pushOptions{}, "more than 32 options", "known are"},
		{"too long", []string{strings.Repeat("x", maxOption+1)}, pushOptions{}, "longer than 1024 bytes", "known are"},
		{"escapes", []string{"\x1b[31m\n\xff"}, pushOptions{}, `"\x1b[31m\n\xff"`, "known are"},
		{"the second is wrong", []string{"dry-run", "x"}, pushOptions{}, "unknown", "known are"},
	} {
		got, err := parseOptions(c.words)
		switch {
		case err == nil && c.err == "":
			if got != c.want {
				t.Errorf("%s: %+v", c.name, got)
			}
		case err == nil || c.err == "":
			t.Errorf("%s: %v", c.name, err)
		case !strings.Contains(err.Error(), c.err), !strings.Contains(config.Hint(err), c.hint), readable(err) != "", config.KindOf(err) != config.Usage:
			t.Errorf("%s: %v, hint %s, %s", c.name, err, config.Hint(err), readable(err))
		}
	}
	got, err := parseOptions([]string{"upstream=ssh://git@git.corp.local/team/shop.git"})
	if err != nil || got.upstream.String() != "ssh://git@git.corp.local/team/shop.git" {
		t.Errorf("%v, %v", got.upstream, err)
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"dry-run", "upstream=ssh://git@h/p", "upstream=git@h:p", "upstream=https://u:p@h/p", "no-wait\x00no-cache", "", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words := strings.Split(s, "\x00")
		if _, err := parseOptions(words); err != nil {
			if why := readable(err); why != "" {
				t.Fatalf("%v: %s", err, why)
			}
		}
	})
}

// TestOptionWords: how git hands the options over.
func TestOptionWords(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		want []string
		ok   bool
	}{
		{"none", map[string]string{}, nil, true},
		{"zero", map[string]string{"GIT_PUSH_OPTION_COUNT": "0"}, []string{}, true},
		{"two", map[string]string{"GIT_PUSH_OPTION_COUNT": "2", "GIT_PUSH_OPTION_0": "a", "GIT_PUSH_OPTION_1": "b=c"}, []string{"a", "b=c"}, true},
		{"one is missing", map[string]string{"GIT_PUSH_OPTION_COUNT": "1"}, []string{""}, true},
		{"negative", map[string]string{"GIT_PUSH_OPTION_COUNT": "-1"}, nil, false},
		{"no number", map[string]string{"GIT_PUSH_OPTION_COUNT": "x"}, nil, false},
	} {
		got, err := optionWords(c.env)
		if (err == nil) != c.ok || c.ok && !cmp.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	got, err := optionWords(map[string]string{"GIT_PUSH_OPTION_COUNT": "2000000000"})
	if err != nil || len(got) != maxOptions+1 {
		t.Errorf("a great number: %d, %v", len(got), err)
	}
}

func TestSortUpdates(t *testing.T) {
	dev := env(t, "dev")
	make := func(ref string) update { return update{store.ZeroOID, store.OID(one), ref} }
	remove := func(ref string) update { return update{store.OID(one), store.ZeroOID, ref} }
	move := func(ref string) update { return update{store.OID(one), store.OID(two), ref} }
	only := []string{"main"}
	either := []string{"main", "master"}
	for _, c := range []struct {
		name     string
		all      []update
		branches []string
		err      string // "" is accepted
		hint     string
	}{
		{"the branch", []update{move("refs/heads/main")}, only, "", ""},
		{"master, where none is chosen", []update{make("refs/heads/master")}, either, "", ""},
		{"with tags", []update{make("refs/tags/v1"), move("refs/heads/main"), make("refs/tags/v2")}, only, "", ""},
		{"another branch", []update{make("refs/heads/feature")}, only, "dev deploys main, not feature", "git push deploy feature:main"},
		{"another branch with a shell's characters", []update{make("refs/heads/a;id")}, only, "not a;id", "git push deploy a;id:main"},
		{"another branch beyond ASCII", []update{make("refs/heads/\u202eniam")}, only, `not "\u202eniam"`, "git push deploy main"},
		{"both names", []update{make("refs/heads/main"), make("refs/heads/master")}, either, "also changes master", "git push deploy main"},
		{"two branches", []update{make("refs/heads/a"), make("refs/heads/b")}, only, "this one changes a, b", "git push deploy main"},
		{"many branches", []update{make("refs/heads/a"), make("refs/heads/b"), make("refs/heads/c"), make("refs/heads/d"), make("refs/heads/e")}, only, "a, b, c and 2 more", "git push deploy main"},
		{"a lone tag", []update{make("refs/tags/v1")}, only, "a tag alone deploys nothing; dev deploys main", "git push --follow-tags deploy main"},
		{"deleted branch", []update{remove("refs/heads/main")}, only, "the deployed branch main cannot be deleted", "app destroy"},
		{"deleted other branch", []update{remove("refs/heads/x")}, only, "dev deploys main, not x", "git push deploy"},
		{"deleted tag", []update{move("refs/heads/main"), remove("refs/tags/v1")}, only, "cannot be deleted", "leave the tag out"},
		{"deleted tag alone", []update{remove("refs/tags/v1")}, only, `"refs/tags/v1" cannot be deleted`, "leave the tag out"},
		{"moved tag alone", []update{move("refs/tags/v1")}, only, `"refs/tags/v1" cannot be moved`, "leave the tag out"},
		{"moved tag", []update{move("refs/heads/main"), move("refs/tags/v1")}, only, "cannot be moved", "leave the tag out"},
		{"notes", []update{make("refs/notes/commits")}, only, `not "refs/notes/commits"`, "git push deploy main"},
		{"replacements", []update{move("refs/heads/main"), make("refs/replace/" + one)}, only, "also changes refs/replace/", "git push deploy main"},
		{"another namespace", []update{make("refs/namespaces/prod/refs/heads/main")}, only, "namespaces", "git push deploy main"},
		{"outside of refs", []update{make("HEAD")}, only, `not "HEAD"`, "git push deploy main"},
		{"twice", []update{move("refs/heads/main"), move("refs/heads/main")}, only, "twice", "push one branch"},
		{"a bad name for a tag", []update{move("refs/heads/main"), make("refs/tags/a..b")}, only, "no name for a tag", "leave the tag out"},
		{"the tag of all tags", []update{move("refs/heads/main"), make("refs/tags/")}, only, "no name for a tag", "leave the tag out"},
	} {
		p, err := sortUpdates(c.all, c.branches, dev)
		switch {
		case err == nil && c.err == "":
			if len(p.tags)+1 != len(c.all) || !strings.HasPrefix(p.branch.ref, heads) {
				t.Errorf("%s: %+v", c.name, p)
			}
		case err == nil || c.err == "":
			t.Errorf("%s: %v", c.name, err)
		case !strings.Contains(err.Error(), c.err), !strings.Contains(config.Hint(err), c.hint), readable(err) != "", config.KindOf(err) != config.Usage:
			t.Errorf("%s: %v, hint %s, %s", c.name, err, config.Hint(err), readable(err))
		}
	}
}

func TestValidRef(t *testing.T) {
	for ref, want := range map[string]bool{
		"refs/heads/main": true, "refs/tags/v1.0-rc+1": true, "refs/heads/a/b/c": true, "refs/heads/日本": true, "refs/heads/a'b\"$(id)": true,
		"": false, "/": false, "refs/heads/": false, "refs/heads/a/": false, "refs//heads": false, "refs/heads/.a": false,
		"refs/heads/a.": false, "refs/heads/a.lock": false, "refs/heads/a.lock/b": false, "refs/heads/a..b": false, "refs/heads/a@{1}": false,
		"refs/heads/a b": false, "refs/heads/a~1": false, "refs/heads/a^": false, "refs/heads/a:b": false, "refs/heads/a?": false,
		"refs/heads/a*": false, "refs/heads/[a": false, `refs/heads/a\b`: false, "refs/heads/a\x00b": false, "refs/heads/a\nb": false,
		"refs/heads/a\x7f": false, "refs/heads/" + strings.Repeat("x", 1100): false,
	} {
		if got := validRef(ref); got != want {
			t.Errorf("%.80q: %v", ref, got)
		}
	}
}

func FuzzValidRef(f *testing.F) {
	for _, s := range []string{"refs/heads/main", "refs/tags/..", "a@{", "\\", "refs/heads/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		if validRef(ref) && (ref == "" || strings.ContainsAny(ref, " ~^:?*[\\\x00\n\r\t\x7f") || strings.Contains(ref, "..") || strings.HasPrefix(ref, "/")) {
			t.Fatalf("%q", ref)
		}
	})
}

func TestSections(t *testing.T) {
	var b bytes.Buffer
	want := []string{"version=1\x00atomic push-options", "", "x"}
	if err := writeSection(&b, want...); err != nil {
		t.Fatal(err)
	}
	got, err := readSection(&b)
	if err != nil || !cmp.Equal(got, want) || b.Len() != 0 {
		t.Errorf("%q, %v, %d left", got, err, b.Len())
	}
	for name, in := range map[string]string{
		"nothing": "", "cut length": "00", "no number": "zzzz", "sign": "+00a", "delimiter": "0001", "response end": "0002", "three": "0003",
		"longer than any ref": "ffff", "cut line": "000aabc", "no flush": "0006a\n", "too many": strings.Repeat("0005x", maxUpdates+maxOptions+2),
	} {
		if got, err := readSection(strings.NewReader(in)); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got, err := readSection(strings.NewReader("0000")); err != nil || len(got) != 0 {
		t.Errorf("an empty one: %q, %v", got, err)
	}
}

func FuzzReadSection(f *testing.F) {
	f.Add([]byte("000eversion=1\n0000"))
	f.Add([]byte("0004" + "0005x" + "0000"))
	f.Add([]byte("ffff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := readSection(bytes.NewReader(in))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := writeSection(&b, got...); err != nil {
			t.Fatal(err)
		}
		again, err := readSection(&b)
		if err != nil || !cmp.Equal(got, again) {
			t.Fatalf("%q, again %q: %v", got, again, err)
		}
	})
}
