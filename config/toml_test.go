package config

import (
	"strings"
	"testing"
	"time"
)

// The parser gives no lines of keys; these are ours, in all forms that TOML has.
func TestFindLines(t *testing.T) {
	text := `# 1
top = 1 # [not.a.header]
"quoted key" = '''
[not]
x = 1
'''
multi = [
  "a", # ]
  "]\"",
]
[a . b]
c.d = { e = 1, f = { g = "#" } }

text = """
y = 1 \
"""""
[[list]]
x = 1
[list.sub]
y = 1
[[list]]
x = 2
[[list.inner]]
z = 1
[[list.inner]]
z = 2
[list.sub]
y = 2`
	lines := findLines(text)
	for path, want := range map[string]int{
		"top": 2, `"quoted key"`: 3, "multi": 7, "a": 11, "a.b": 11, "a.b.c": 12, "a.b.c.d": 12, "a.b.c.d.e": 12, "a.b.c.d.f.g": 12,
		"a.b.text": 14, "list": 17, "list[0]": 17, "list[0].x": 18, "list[0].sub": 19, "list[0].sub.y": 20,
		"list[1]": 21, "list[1].x": 22, "list[1].inner": 23, "list[1].inner[0].z": 24, "list[1].inner[1]": 25, "list[1].inner[1].z": 26,
		"list[1].sub": 27, "list[1].sub.y": 28,
		"not": 0, "x": 0, "y": 0, "a.b.y": 0,
	} {
		if got := lines[path]; got != want {
			t.Errorf("%s: line %d, want %d", path, got, want)
		}
	}
	d := &document{text: text}
	for path, want := range map[string]int{
		"multi[1]": 7, "list[1].missing": 21, "list[7]": 17, "a.b.missing.more": 11, "missing": 0,
	} {
		if got := d.line(path); got != want {
			t.Errorf("%s stands in line %d, want %d", path, got, want)
		}
	}
	for _, crlf := range []string{strings.ReplaceAll(text, "\n", "\r\n")} {
		if got := findLines(crlf)["list[1].sub.y"]; got != 28 {
			t.Errorf("with CRLF: line %d", got)
		}
	}
}

func TestSyntaxErrorLine(t *testing.T) {
	d, top := openDocument(ServerFile, []byte("\ufeffa = 1\n\nb = [1,\n2\n"), 1<<20)
	if top != nil || len(d.mistakes) != 1 || d.mistakes[0].Line < 3 || d.mistakes[0].Line > 5 {
		t.Errorf("%+v", d.mistakes)
	}
	d, top = openDocument(ServerFile, []byte("a = 1\nb 2\n"), 1<<20)
	if top != nil || len(d.mistakes) != 1 || d.mistakes[0].Line != 2 {
		t.Errorf("%+v", d.mistakes)
	}
}

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
	}{
		{"0", 0},
		{"7", 7},
		{"7B", 7},
		{"2GiB", 2 << 30},
		{"2 GiB", 2 << 30},
		{"2gib", 2 << 30},
		{"500MB", 500e6},
		{"1kB", 1000},
		{"1_000KiB", 1000 << 10},
		{"3TiB", 3 << 40},
		{"9223372036854775807", 1<<63 - 1},
		{"", -1},
		{"GiB", -1},
		{"-1", -1},
		{"1.5GiB", -1},
		{"1e9", -1},
		{"2GB2", -1},
		{"2  GiB", -1},
		{" 2GiB", -1},
		{"2EiB", -1},
		{"9223372036854775808", -1},
		{"8388608TiB", -1},
		{"0x10", -1},
		{"_1", -1},
		{"1\n", -1},
	} {
		got, err := ParseSize(c.in)
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%q: %d, %v; want %d", c.in, got, err, c.want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"2GiB", "1_0kB", "9223372036854775807", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if again, err := ParseSize(formatSize(n)); n < 0 || err != nil || again != n {
			t.Fatalf("%q is %d, which is written %s and read as %d (%v)", s, n, formatSize(n), again, err)
		}
	})
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Minute: "10m", 20 * time.Second: "20s", 90 * time.Minute: "1h30m", 24 * time.Hour: "24h", 0: "0s",
		61 * time.Second: "1m1s", time.Hour + time.Second: "1h0m1s", 10 * time.Second: "10s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"url", "identity", "known_hosts", "apps", "instead_of", "username", "token", "ca", "push_bytes", "fetch_timeout"}
	for s, want := range map[string]string{
		"urll": "url", "URL": "url", "uri": "url", "known-hosts": "known_hosts", "KnownHosts": "known_hosts", "insteadof": "instead_of",
		"user": "username", "timeout": "fetch_timeout", "push": "push_bytes", "tokens": "token", "app": "apps", "cas": "ca",
		"": "", "x": "", "zzzzz": "", "password": "", strings.Repeat("u", 65): "",
	} {
		if got := Nearest(s, keys); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	if got := Nearest("dryrun", []string{"dry-run", "no-wait", "upstream", "no-cache"}); got != "dry-run" {
		t.Errorf("dryrun: %q", got)
	}
}

func TestMistakesAsError(t *testing.T) {
	if err := (Mistakes{}).err(); err != nil {
		t.Error("no mistakes are no error")
	}
	err := Mistakes{
		{File: "server.toml", Line: 14, Key: "sources[1].urll", Text: "unknown key", Hint: `did you mean "url"?`},
		{File: "server.toml", Text: "x"},
		{File: "server.toml", Line: 2, Text: "y"},
	}
	if want := "server.toml:14: sources[1].urll: unknown key (and 2 more)"; err.Error() != want {
		t.Errorf("got %s", err)
	}
	wrapped := &Error{Op: "read", On: "configuration", Err: err}
	if KindOf(wrapped) != Usage || Hint(wrapped) != `did you mean "url"?` {
		t.Errorf("kind %v, hint %q", KindOf(wrapped), Hint(wrapped))
	}
}
