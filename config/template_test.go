package config

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var commented = regexp.MustCompile(`^# (\[|[a-z_]+ = )`)

// uncomment sets what the template shows, but for the lines that skip says.
func uncomment(text string, skip func(line string) bool) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if commented.MatchString(line) && !skip(line) {
			lines[i] = line[2:]
		}
	}
	return strings.Join(lines, "\n")
}

var sameServer = cmp.AllowUnexported(App{}, Env{}, Glob{}, SourceURL{}, Secret{})

func TestTemplateSetsNothing(t *testing.T) {
	dir := newDir(t)
	want, doc := parseServer(dir, nil, 0o600, builtIn())
	if err := doc.mistakes.err(); err != nil {
		t.Fatal(err)
	}
	got, doc := parseServer(dir, []byte(ServerTemplate()), 0o600, builtIn())
	if err := doc.mistakes.err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameServer); diff != "" {
		t.Errorf("the template sets something (-nothing +template):\n%s", diff)
	}
	for _, line := range strings.Split(ServerTemplate(), "\n") {
		if strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 || r > 0x7e }) || len(line) > 120 {
			t.Errorf("not plain, or too wide: %q", line)
		}
	}
}

// What is shown and not an example must be what is in force without it.
func TestTemplateShowsDefaults(t *testing.T) {
	dir := newDir(t)
	want, doc := parseServer(dir, nil, 0o600, everything)
	if err := doc.mistakes.err(); err != nil {
		t.Fatal(err)
	}
	// Sources, apps, services and hosts are examples as a whole.
	text, _, ok := strings.Cut(template(everything), "# Where submodules may come from")
	if !ok {
		t.Fatal("the sources are not where this test looks for them")
	}
	_, environments, ok := strings.Cut(template(everything), "# Places that apps")
	if !ok {
		t.Fatal("the environments are not where this test looks for them")
	}
	environments, _, _ = strings.Cut(environments, "# [environments.prod]")
	text += "\n# Places that apps" + environments
	got, doc := parseServer(dir, []byte(uncomment(text, func(line string) bool { return strings.Contains(line, "# e.g.") })), 0o600, everything)
	if err := doc.mistakes.err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameServer); diff != "" {
		t.Errorf("a default differs (-real +shown):\n%s", diff)
	}
	if got.Limits != DefaultLimits() {
		t.Errorf("the limits in force are %+v", got.Limits)
	}
}

func TestTemplateHasEveryKey(t *testing.T) {
	dir := newDir(t)
	text := uncomment(template(everything), func(string) bool { return false })
	c, doc := parseServer(dir, []byte(text), 0o600, everything)
	if err := doc.mistakes.err(); err != nil {
		t.Fatal(strings.Join(err.(Mistakes).Lines(), "\n"))
	}
	if len(c.Sources) != 2 || len(c.Environments) != 2 || len(c.Apps) != 1 {
		t.Errorf("not all that is shown was read: %+v", c)
	}
	if c.Sources[1].Token.Reveal() != "glpat-canary" || c.Sources[0].KnownHosts != filepath.Join(dir, "known_hosts") {
		t.Error("the files of the sources were not read")
	}
	shown := map[string]bool{}
	for path := range findLines(text) {
		path = regexp.MustCompile(`\[\d+\]`).ReplaceAllString(path, "[]")
		path = regexp.MustCompile(`^(environments|apps)\.[a-z]+`).ReplaceAllString(path, "$1.*")
		shown[path] = true
	}
	for _, key := range slices.Sorted(maps.Keys(doc.schema)) {
		if !shown[key] && !strings.HasPrefix(key, "environments.*.services") { // told of in words
			t.Errorf("the template does not show %s", key)
		}
	}
}
