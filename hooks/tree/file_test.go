package tree

import (
	"strings"
	"testing"

	"slipway/store/git"
)

func TestFile(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	big := r.blob(strings.Repeat("b", 1<<20))
	below := r.tree(file("f", r.blob("deep")))
	part := r.part("", r.sorted(
		file("slipway.toml", r.blob("[build]\n")), item{"100755", "postinstall", r.blob("#!/bin/sh\n")},
		link("link", r.blob("slipway.toml")), link("up", r.blob("d")), dir("d", below), file("big", big),
		item{"100666", "odd", r.blob("x")}, sub("s", Hash{1}), file("gone", Hash{2})))
	objects := git.OpenObjects(t.Context(), part.Dir, nil)
	defer objects.Close()
	files := Files{objects, part.Commit}
	for _, tt := range []struct{ path, content, mode, refused string }{
		{"slipway.toml", "[build]\n", "100644", ""},
		{"postinstall", "#!/bin/sh\n", "100755", ""},
		{"d/f", "deep", "100644", ""},
		{"none", "", "", ""},
		{"d/none", "", "", ""},
		{"up/f", "", "", ""},
		{"slipway.toml/f", "", "", ""},
		{"link", "", "120000", "symbolic link"},
		{"d", "", "40000", "a directory"},
		{"s", "", "160000", "a directory"},
		{"big", strings.Repeat("b", 64), "100644", "1.0 MiB; 64 B are allowed"},
	} {
		head, mode, err := files.Head(tt.path, 64)
		if err != nil || mode != tt.mode || string(head) != tt.content {
			t.Errorf("Head %s: %q, %q, %v", tt.path, head, mode, err)
		}
		if head, mode, err = files.Head(tt.path, 0); err != nil || mode != tt.mode || len(head) != 0 {
			t.Errorf("the mode of %s: %q, %q, %v", tt.path, head, mode, err)
		}
		content, mode, err := files.File(tt.path, 64)
		if tt.refused != "" {
			check(t, err, tt.path, tt.refused)
		} else if err != nil || mode != tt.mode || string(content) != tt.content {
			t.Errorf("File %s: %q, %q, %v", tt.path, content, mode, err)
		}
	}
	_, _, err := files.File("odd", 64)
	check(t, err, "odd: mode 100666")
	_, _, err = files.File("gone", 64)
	check(t, err, "gone: object 02")
}
