package tree

import (
	"errors"
	"strings"
	"testing"

	"slipway/config"
	"slipway/store"
)

// TestRules has a tree for every way in which a name, a mode or an order is
// wrong, and for those that only look so.
func TestRules(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	x, empty := r.blob("x\n"), r.tree()
	inner := r.tree(file("f", x))
	longTarget, nulTarget, noTarget := r.blob(strings.Repeat("a", 5000)), r.blob("a\x00b"), r.blob("")
	passwd, up, loop := r.blob("/etc/passwd"), r.blob("../../x"), r.blob(".")
	tests := []struct {
		name string
		tree []item
		want string // part of the error; "" is accepted
	}{
		{"B63 .git file", []item{file(".git", x)}, "git takes for its own"},
		{"B63 .GIT dir", []item{dir(".GIT", inner)}, "git takes for its own"},
		{"B63 .Git below", []item{dir("a", r.tree(file(".GiT", x)))}, "a/.GiT"},
		{"B64 trailing space", []item{file(".git ", x)}, "git takes for its own"},
		{"B64 trailing dot", []item{file(".git.", x)}, "git takes for its own"},
		{"B64 dots and stream", []item{file(".git...:x", x)}, "git takes for its own"},
		{"B64 stream", []item{dir(".git::$INDEX_ALLOCATION", inner)}, "git takes for its own"},
		{"B65 git~1", []item{file("git~1", x)}, "git takes for its own"},
		{"B65 GIT~1 space", []item{file("GIT~1 ", x)}, "git takes for its own"},
		{"B65 git~2", []item{file("git~2", x)}, "git takes for its own"},
		{"B66 ignorable", []item{file(".g\u200cit", x)}, "git takes for its own"},
		{"B66 byte order mark", []item{file("\ufeff.git", x)}, "git takes for its own"},
		{"B67 a\\b", []item{file(`a\b`, x)}, "backslash"},
		{"B67 x\\.git", []item{file(`x\.git`, x)}, "backslash"},
		{"B67 ..\\x", []item{file(`..\x`, x)}, "backslash"},
		{"B68 slash", []item{file("a/b", x)}, "slash"},
		{"B68 empty", []item{file("", x)}, "empty name"},
		{"B68 dot", []item{file(".", x)}, "leads out"},
		{"B68 dotdot", []item{dir("..", inner)}, "leads out"},
		{"B69 twice", []item{file("a", x), file("a", x)}, "twice"},
		{"B69 unsorted", []item{file("b", x), file("a", x)}, "out of order"},
		{"B69 file and dir", []item{file("a", x), dir("a", inner)}, "twice"},
		{"B69 file and dir apart", []item{file("a", x), file("a-b", x), file("a.c", x), dir("a", inner)}, "twice"},
		{"B69 dir sorted as file", []item{dir("a", inner), file("a.c", x)}, "out of order"},
		{"B70 case", []item{file("A", x), file("a", x)}, ""},
		{"B70 form", []item{file("e\u0301", x), file("\u00e9", x)}, ""},
		{"B70 case and link", []item{link("A", up), dir("a", inner)}, "case or Unicode form"},
		{"B70 form and link", []item{file("e\u0301", x), link("\u00e9", up)}, "case or Unicode form"},
		{"B70 sharp s and link", []item{file("SS", x), link("\u00df", up)}, "case or Unicode form"},
		{"B70 link beside files of two cases", []item{file("A", x), file("a", x), link("b", up)}, ""},
		{"B71 newline", []item{file("a\nb", x)}, `"a\nb"`},
		{"B71 return", []item{file("a\r", x)}, "control character"},
		{"B71 escape", []item{file("a\x1b[2J", x)}, `"a\x1b[2J"`},
		{"B71 delete", []item{file("a\x7f", x)}, "control character"},
		{"B71 bad UTF-8", []item{file("a\xff", x)}, ""},
		{"B72 255 bytes", []item{file(strings.Repeat("n", 255), x)}, ""},
		{"B72 256 bytes", []item{file(strings.Repeat("n", 256), x)}, "256 bytes"},
		{"B72 5000 bytes", []item{file(strings.Repeat("n", 5000), x)}, "5000 bytes"},
		{"B73 Windows names", []item{file("NUL", x), file("a ", x), file("a.", x), file("a:b", x), file("aux.txt", x)}, ""},
		{"B74 like options", []item{file("*", x), file("--help", x), file("-rf", x)}, ""},
		{"B75 010644", []item{{"0100644", "a", x}}, "mode 0100644"},
		{"B75 020644", []item{{"20644", "a", x}}, "mode 20644"},
		{"B75 060644", []item{{"60644", "a", x}}, "mode 60644"},
		{"B75 104755", []item{{"104755", "a", x}}, "mode 104755"},
		{"B75 100666", []item{{"100666", "a", x}}, "mode 100666"},
		{"B75 100664", []item{{"100664", "a", x}}, "mode 100664"},
		{"B75 040000", []item{{"040000", "a", inner}}, "mode 040000"},
		{"B75 escape in mode", []item{{"100\x1b644", "a", x}}, `\x1b`},
		{"B76 absolute link", []item{link("l", passwd)}, ""},
		{"B77 link out", []item{dir("a", r.tree(link("l", up)))}, ""},
		{"B78 link and files below", []item{link("d", loop), dir("d", inner)}, "twice"},
		{"B79 link to itself", []item{link("l", loop)}, ""},
		{"B80 long target", []item{link("l", longTarget)}, "5000 bytes"},
		{"B80 empty target", []item{link("l", noTarget)}, "link to nothing"},
		{"B80 NUL in target", []item{link("l", nulTarget)}, "NUL"},
		{"B81 link beside", []item{dir("lib", inner), link("v", r.blob("lib/f"))}, ""},
		{"B82 .gitmodules link", []item{link(".gitmodules", up)}, "not a plain file"},
		{"B82 .gitmodules dir", []item{dir(".gitmodules", inner)}, "not a plain file"},
		{"B82 .gitmodules NTFS", []item{file("GITMOD~1", x)}, "take for .gitmodules"},
		{"B82 .gitmodules NTFS hash", []item{file("gi7eba~1", x)}, "take for .gitmodules"},
		{"B82 .gitmodules NTFS short hash", []item{file("gi7~1234", x)}, "take for .gitmodules"},
		{"B82 .gitmodules HFS", []item{file(".gitmod\u200cules", x)}, "take for .gitmodules"},
		{"B82 .gitmodules stream", []item{file(".gitmodules:$DATA", x)}, "take for .gitmodules"},
		{".gitattributes link", []item{link(".gitattributes", up)}, "not a plain file"},
		{".gitignore long s", []item{file(".gitmodule\u017f", x)}, "take for .gitmodules"},
		{"names that only begin alike", []item{
			file(".gitignore.bak", x), file(".gitmodules2", x), file(".gitx", x),
			file("git", x), file("gitmod~9", x), file("git~", x),
		}, ""},
		{"B85 .slipway", []item{dir(".slipway", inner)}, "Slipway's own"},
		{"B85 .slipway below", []item{dir("a", r.tree(file(".slipway", x)))}, ""},
		{"B87 empty tree", nil, ""},
		{"empty directories", []item{dir("a", empty), dir("b", r.tree(dir("c", empty)))}, ""},
		{"file that is a tree", []item{dir("d", r.tree(file("a", inner)))}, "d/a: object " + inner.String() + " is a tree, not a blob"},
		{"directory that is a blob", []item{dir("a", x)}, "is a blob, not a tree"},
		{"B56 missing blob", []item{file("a", Hash{1})}, "a: object 01"},
		{"B56 missing tree", []item{dir("a", Hash{1})}, "object 01"},
		{"unplanned gitlink", []item{sub("s", Hash{1})}, "not in the plan"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			part := r.part("", r.tree(tt.tree...))
			m, err := Read(t.Context(), []Part{part}, nil, Limits{})
			if tt.want != "" {
				check(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			writeOut(t, []Part{part})
			if len(m.Entries) != m.Files {
				t.Errorf("%d entries, %d files", len(m.Entries), m.Files)
			}
		})
	}
}

// check wants an error for people that has all of want in it and only ASCII.
func check(t *testing.T, err error, want ...string) {
	t.Helper()
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a config.Error with %q", err, want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %q, want %q in it", err, w)
		}
	}
	for _, c := range err.Error() {
		if c < ' ' || c > '~' {
			t.Errorf("%q has %q in it", err, c)
		}
	}
}

// TestMalformed reads tree objects that are no lists of entries.
func TestMalformed(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	for _, raw := range []string{"x", "100644 a", "100644 a\x00short", "100644", rawTree(file("a", Hash{})) + "1"} {
		part := r.part("", r.object("tree", []byte(raw)))
		check(t, readErr(t.Context(), Limits{}, part), "malformed")
	}
	tag := r.object("tag", []byte("object "+r.tree().String()+"\ntype tree\ntag x\n"))
	for _, commit := range []Hash{r.blob("x"), r.tree(), tag, {9}, r.object("commit", []byte("author x\n\n"))} {
		if err := readErr(t.Context(), Limits{}, Part{Dir: r.dir, Commit: store.OID(commit.String())}); err == nil {
			t.Errorf("%s was read as a commit", commit)
		}
	}
}

// TestLinksInside follows every link in the tree alone.
func TestLinksInside(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	to := func(target string) Hash { return r.blob(target) }
	x := r.blob("x")
	tests := []struct {
		name string
		tree []item
		ok   bool
	}{
		{"absolute", []item{link("l", to("/etc/passwd"))}, false},
		{"up from the root", []item{link("l", to("../x"))}, false},
		{"up and back below", []item{dir("a", r.tree(link("l", to("../b"))))}, true},
		{"two up from one below", []item{dir("a", r.tree(link("l", to("../../x"))))}, false},
		{"beside", []item{file("f", x), link("l", to("f"))}, true},
		{"to nothing", []item{link("l", to("none/there"))}, true},
		{"through a link", []item{link("l1", to("l2/x")), link("l2", to("."))}, true},
		{"out through a link", []item{dir("s", r.tree(link("m", to(".")), link("z", to("m/../.."))))}, false},
		{"loop", []item{link("a", to("b")), link("b", to("a"))}, true},
	}
	for _, tt := range tests {
		err := readErr(t.Context(), Limits{Links: "inside"}, r.part("", r.tree(tt.tree...)))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestPointers refuses files that Git LFS would fill.
func TestPointers(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	usual := pointerHead + "\noid sha256:" + strings.Repeat("0", 64) + "\nsize 12345\n"
	odd := pointerHead + "\next-0-foo sha256:" + strings.Repeat("1", 64) + "\noid sha256:" + strings.Repeat("0", 64) + "\nsize 1\n"
	attrs := file(".gitattributes", r.blob("*.png filter=lfs diff=lfs merge=lfs -text\n"))
	for name, tt := range map[string]struct {
		tree []item
		lfs  string
		want string
	}{
		"usual":            {[]item{file("a.png", r.blob(usual))}, "", "a.png"},
		"odd":              {[]item{attrs, file("a.png", r.blob(odd))}, "", "a.png"},
		"allowed":          {[]item{attrs, file("a.png", r.blob(odd))}, "pointers", ""},
		"text about it":    {[]item{file("a", r.blob("see "+usual))}, "", ""},
		"only attributes":  {[]item{attrs, file("a.png", r.blob("png"))}, "", ""},
		"another version":  {[]item{file("a", r.blob(strings.Replace(usual, "v1", "v1x", 1)))}, "", ""},
		"a link like that": {[]item{link("a", r.blob(usual))}, "", ""},
	} {
		err := readErr(t.Context(), Limits{LFS: tt.lfs}, r.part("", r.sorted(tt.tree...)))
		if tt.want != "" {
			check(t, err, tt.want, "LFS pointer")
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
