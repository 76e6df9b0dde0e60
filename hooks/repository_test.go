package hooks

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway/store"
)

// The title of a commit is the one that git log shows.
func TestTitle(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo.git")
	run := func(in string, args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Stdin = t.TempDir(), strings.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %s: %v", args[0], err)
		}
		return strings.TrimSuffix(string(out), "\n")
	}
	run("", "init", "-q", "--bare", dir)
	tree := run("", "-C", dir, "hash-object", "-w", "-t", "tree", "--stdin")
	const who = " A <a@example.com> 1700000000 +0000\n"
	for _, tt := range []struct{ header, message string }{
		{"", "One line"},
		{"", "One line\n"},
		{"", "\n\n  \nLate  \nbut on two lines\t\n \nand a body\n"},
		{"", ""},
		{"", "\n"},
		{"", "Umlaut: \u00e4, \u2713\n\nBody\n"},
		{"", strings.Repeat("long ", 100) + "\n"},
		{"encoding ISO-8859-1\n", "Umlaut: \xe4\n\nBody\n"},
		{"gpgsig -----BEGIN X-----\n \n abc\n -----END X-----\n", "Signed\n\nBody\n"},
	} {
		text := "tree " + tree + "\nauthor" + who + "committer" + who + tt.header + "\n" + tt.message
		id := run(text, "-C", dir, "hash-object", "-w", "-t", "commit", "--literally", "--stdin")
		want := run("", "-C", dir, "log", "-1", "--no-show-signature", "--format=%s", id)
		want = want[:min(len(want), maxTitle)]
		repo := openRepository(t.Context(), dir, nil)
		if got, err := repo.title(t.Context(), store.OID(id)); err != nil || got != want {
			t.Errorf("%q: %q, want %q; %v", tt.message, got, want, err)
		}
		repo.close()
	}
}
