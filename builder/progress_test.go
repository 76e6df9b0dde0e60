package builder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"slipway/config"
)

// screen is a Progress and what its pusher and its log have seen.
type screen struct {
	*Progress
	pusher, log bytes.Buffer
}

func newScreen() *screen {
	s := &screen{}
	s.Progress = NewProgress(ProgressOptions{Pusher: &s.pusher, Now: time.Now})
	s.Tee(&s.log)
	return s
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "Installing 42 packages", "Installing 42 packages"},
		{"tab", "a\tb", "a\tb"},
		{"UTF-8", "Grüße 漢字", "Grüße 漢字"},
		{"colour", "\x1b[1;31mred\x1b[0m", "red"},
		{"cursor up and erase", "\x1b[2A\x1b[Kremote: Success", "remote: Success"},
		{"title by OSC and BEL", "\x1b]0;owned\x07x", "x"},
		{"link by OSC and ST", "\x1b]8;;https://evil/\x1b\\x", "x"},
		{"DCS", "a\x1bPq#0;2\x1b\\b", "ab"},
		{"APC without an end", "a\x1b_hidden", "a"},
		{"CSI without an end", "a\x1b[12;", "a"},
		{"lone escape at the end", "a\x1b", "a"},
		{"two bytes", "a\x1bcb", "ab"},
		{"escape before an escape", "\x1b\x1b[31mx", "[31mx"},
		{"bell, backspace, NUL, DEL", "a\a\b\x00\x7fb", "ab"},
		{"C1 as a character", "a\u009b31mb", "a31mb"},
		{"C1 as a byte", "a\x9b31mb", "a?31mb"},
		{"not UTF-8", "a\xff\xfeb", "a??b"},
		{"cut character", "a\xe6\xbc", "a??"},
		{"ends of lines", "a\r\nb", "a  b"},
		{"text direction", "a\u202eb\u2066c", "abc"},
		{"empty", "", ""},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

// wholesome says why a text could do more than be read; "" if it could not.
func wholesome(s string) string {
	for _, r := range s {
		if r != '\t' && (r < 0x20 || r >= 0x7f && r < 0xa0) {
			return fmt.Sprintf("has %U", r)
		}
	}
	if !utf8.ValidString(s) {
		return "is not UTF-8"
	}
	return ""
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "\x1b[31mred\x1b[0m", "\x1b]0;t\x07", "a\x1b", "\x9b1m", "\xff", "a\rb\n", "\x1b\x1b\x1b[[["} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if why := wholesome(got); why != "" {
			t.Fatalf("%q became %q: %s", s, got, why)
		}
		if again := Clean(got); again != got {
			t.Fatalf("%q, again %q", got, again)
		}
	})
}

// TestBuilderLines: what a build prints, in whatever pieces it comes.
func TestBuilderLines(t *testing.T) {
	long := strings.Repeat("x", lineLimit+10)
	for _, c := range []struct{ name, in, want string }{
		{"lines", "a\nb\n", "  | a\n  | b\n"},
		{"an empty line has no space behind it", "a\n\n \nb\n", "  | a\n  |\n  |\n  | b\n"},
		{"no end of line", "a", "  | a\n"},
		{"progress: its last state", "10%\r50%\r100%\n", "  | 100%\n"},
		{"progress that ends in CR LF", "10%\r100%\r\n", "  | 100%\n"},
		{"progress without an end", "10%\r99%", "  | 99%\n"},
		{"CR LF", "a\r\nb\r\r\n", "  | a\n  | b\n"},
		{"a line that was wiped", "wait\r\x1b[K\n", "  |\n"},
		{"forged lines", "x\nSuccess: shop/dev is live\n\rremote: hint: y\n", "  | x\n  | Success: shop/dev is live\n  | remote: hint: y\n"},
		{"colours", "\x1b[31mred\x1b[0m\n", "  | red\n"},
		{"tab", "a\tb\n", "  | a\tb\n"},
		{"indented", "    a\n", "  |     a\n"},
		{"a secret", "password=tops3cret\n", "  | password=***\n"},
		{"too long", long + "\nb\n", "  | " + long[:lineLimit] + "...\n  | b\n"},
		{"a secret across the limit", long[:lineLimit-3] + "tops3cret\n", "  | " + long[:lineLimit-3] + "***\n"},
		{"a character across the limit", long[:lineLimit-1] + "ü\n", "  | " + long[:lineLimit-1] + "...\n"},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			s := newScreen()
			s.SetMask(NewMask(map[string]config.Secret{"P": config.NewSecret("tops3cret")}))
			w := s.Builder(1 << 20)
			for rest := c.in; rest != ""; {
				n := min(piece, len(rest))
				if _, err := io.WriteString(w, rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if got := s.pusher.String(); got != c.want {
				t.Errorf("%s, by %d: %.200q, not %.200q", c.name, piece, got, c.want)
			}
			if s.log.String() != s.pusher.String() {
				t.Errorf("%s: the log differs", c.name)
			}
		}
	}
}

func TestBuilderLimit(t *testing.T) {
	s := newScreen()
	w := s.Builder(10)
	for range 1000 {
		fmt.Fprintln(w, "abc")
	}
	w.Close()
	want := "  | abc\n  | abc\n  | (more output than the log may hold; the rest is not kept)\n"
	if diff := cmp.Diff(want, s.pusher.String()); diff != "" {
		t.Error(diff)
	}
}

// TestSecretAcrossTheLimit: a value of several KiB leaves no part of it where a
// line is cut.
func TestSecretAcrossTheLimit(t *testing.T) {
	secret := strings.Repeat("k3y", 2000)
	s := newScreen()
	s.SetMask(NewMask(map[string]config.Secret{"K": config.NewSecret(secret)}))
	w := s.Builder(1 << 20)
	fmt.Fprintln(w, strings.Repeat("x", lineLimit-300)+secret)
	w.Close()
	if strings.Contains(s.pusher.String(), "k3y") {
		t.Error("a part of the value is shown")
	}
}

func FuzzBuilderLines(f *testing.F) {
	f.Add([]byte("a\nb\r\nc\rd\n"), 3)
	f.Add([]byte("\x1b[31m\xff\n\x00\n"), 1)
	f.Add(bytes.Repeat([]byte("x"), 3*lineLimit), 1000)
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		s := newScreen()
		w := s.Builder(1 << 20)
		for piece = min(max(piece, 1), 1<<16); len(text) > 0; {
			n := min(piece, len(text))
			if _, err := w.Write(text[:n]); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
		}
		w.Close()
		for line := range strings.Lines(s.pusher.String()) {
			line = strings.TrimSuffix(line, "\n")
			if !strings.HasPrefix(line, "  |") || len(line) > lineLimit+len("  | ...") || wholesome(line) != "" {
				t.Fatalf("%q", line)
			}
		}
	})
}

func TestMask(t *testing.T) {
	secret := func(values ...string) map[string]config.Secret {
		m := map[string]config.Secret{}
		for i, v := range values {
			m[fmt.Sprint(i)] = config.NewSecret(v)
		}
		return m
	}
	pem := "-----BEGIN KEY-----\nMIIabc123\n  indented99\n-----END KEY-----\n"
	for _, c := range []struct {
		name     string
		values   map[string]config.Secret
		in, want string
	}{
		{"none", nil, "a", "a"},
		{"a value", secret("tops3cret"), "x tops3cret y tops3cret", "x *** y ***"},
		{"within a word", secret("tops3cret"), "xtops3crety", "x***y"},
		{"line by line", secret(pem), "got MIIabc123 and indented99", "got *** and ***"},
		{"base64", secret("tops3cret"), "dG9wczNjcmV0", "***"},
		{"percent", secret("a b/c&d"), "a+b%2Fc%26d and a%20b%2Fc&d", "*** and ***"},
		{"as JSON has it", secret(`say "hi"`), `{"K":"say \"hi\""}`, `{"K":"***"}`},
		{"in quotes itself", secret(`"hi"`), `x \"hi\" y`, `x *** y`},
		{"the longer of two", secret("tops3cret", "tops3cret-and-more"), "tops3cret-and-more", "***"},
		{"with an escape in it", secret("ab\x1b[1mcd"), "abcd", "***"},
		{"too short", secret("abc"), "abc", "abc"},
		{"a flag, a port", secret("True", "8080", "12345"), "True 8080 12345", "True 8080 12345"},
		{"empty", secret("", "\n\n"), "a\nb", "a\nb"},
		{"open to all", secret("staging"), "shop/staging", "shop/staging"},
	} {
		if got := NewMask(c.values, "shop", "staging").Apply(c.in); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
	var none *Mask
	if none.Apply("a") != "a" || none.longest() != 0 {
		t.Error("no mask hides something")
	}
}

func FuzzMask(f *testing.F) {
	f.Add("tops3cret", "x tops3cret y")
	f.Add("a\nbbbb", "bbbb\n")
	f.Add("\xff\xfe\x00\x01", "\xff\xfe\x00\x01")
	f.Fuzz(func(t *testing.T, value, text string) {
		got := NewMask(map[string]config.Secret{"K": config.NewSecret(value)}).Apply(text + value)
		line := strings.TrimSpace(value)
		if len(line) < shortestMasked || plain(line) || strings.Contains(line, "\n") || strings.Contains("***", line) {
			return
		}
		// What is left of the value can only be put together from what stood before.
		if strings.HasSuffix(got, line) {
			t.Fatalf("%q is shown in %q", line, got)
		}
	})
}

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		d           time.Duration
		step, whole string
	}{
		{0, "0.0s", "0s"},
		{49 * time.Millisecond, "0.0s", "0s"},
		{400 * time.Millisecond, "0.4s", "0s"},
		{41230 * time.Millisecond, "41.2s", "41s"},
		{59940 * time.Millisecond, "59.9s", "1m00s"},
		{59960 * time.Millisecond, "1m00s", "1m00s"},
		{65 * time.Second, "1m05s", "1m05s"},
		{2*time.Hour + 3*time.Minute, "2h03m", "2h03m"},
		{100 * time.Hour, "100h00m", "100h00m"},
	} {
		if got := Seconds(c.d); got != c.step {
			t.Errorf("Seconds(%v) = %s, not %s", c.d, got, c.step)
		}
		if got := Whole(c.d); got != c.whole {
			t.Errorf("Whole(%v) = %s, not %s", c.d, got, c.whole)
		}
	}
}

// TestWidth: no line of ours is wider than 71, whatever is put into it, times
// end in column 71, and everything is ASCII.
func TestWidth(t *testing.T) {
	long := strings.Repeat("wide ", 40)
	s := newScreen()
	s.Blank()
	s.Blank()
	s.Head("%s", long)
	s.Step("Plan", long, -1)
	s.Step("Tree", long, 400*time.Millisecond)
	s.Step("Tree", "6 files", 65*time.Second)
	s.Detail("Grüße\t漢字\x1b[31m\n", 0)
	s.Detail(long, -1)
	s.Below(long)
	s.Fail(&config.Error{Kind: config.Failed, Err: errors.New(long + "\nSuccess: forged"), Hint: long})
	lines := strings.Split(strings.TrimSuffix(s.pusher.String(), "\n"), "\n")
	for i, l := range lines {
		if len(l) > Columns || strings.TrimRight(l, " ") != l {
			t.Errorf("%q has %d columns", l, len(l))
		}
		if strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is not ASCII", l)
		}
		if strings.HasSuffix(l, "0s") && len(l) != Columns || strings.HasPrefix(l, "Success") {
			t.Errorf("line %d: %q", i, l)
		}
	}
	if lines[0] != "" || lines[1] == "" || lines[len(lines)-1] != "" {
		t.Errorf("%q", lines)
	}
	if want := `  Gr\u00fc\u00dfe \u6f22\u5b57`; !strings.Contains(s.pusher.String(), want) {
		t.Errorf("no %s in\n%s", want, s.pusher.String())
	}
}

func TestFail(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"an error", errors.New("no"), "\nerror: no\n\n"},
		{"with a hint", config.Errorf(config.Usage, "try", "no"), "\nerror: no\nhint: try\n\n"},
		{
			"folded", config.Errorf(config.Usage, strings.Repeat("try it ", 12), "%s", strings.Repeat("not that ", 9)),
			"\nerror: not that not that not that not that not that not that not that\n       not that not that\n" +
				"hint: try it try it try it try it try it try it try it try it try it\n      try it try it try it\n\n",
		},
		{
			"a word that is longer than a line", errors.New("see " + strings.Repeat("x", 70) + " y"),
			"\nerror: see\n       " + strings.Repeat("x", 64) + "\n       xxxxxx y\n\n",
		},
		{"empty", errors.New(""), "\nerror:\n\n"},
	} {
		s := newScreen()
		s.Fail(c.err)
		if diff := cmp.Diff(c.want, s.pusher.String()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestQuietWork: silence is broken by whole lines with the time passed.
func TestQuietWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen()
		s.Blank()
		done := s.Busy("building")
		<-time.After(25 * time.Second)
		s.Detail("something", -1)
		<-time.After(9 * time.Second)
		done()
		done()
		<-time.After(time.Minute)
		s.Blank()
		want := "\n  ... building, 10.0s\n  ... building, 20.0s\n  something\n\n"
		if diff := cmp.Diff(want, s.pusher.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// closed is a writer that fails after some writes.
type closed struct{ left int }

func (c *closed) Write(b []byte) (int, error) {
	if c.left--; c.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// TestGone: a pusher that has left is told of once, and the log goes on.
func TestGone(t *testing.T) {
	var log bytes.Buffer
	var told []error
	p := NewProgress(ProgressOptions{Pusher: &closed{1}, Now: time.Now, Gone: func(err error) { told = append(told, err) }})
	p.Tee(&log)
	for i := range 4 {
		p.Detail(fmt.Sprint(i), -1)
	}
	if len(told) != 1 || !errors.Is(told[0], io.ErrClosedPipe) || log.String() != "  0\n  1\n  2\n  3\n" {
		t.Errorf("%v, %q", told, log.String())
	}
	p.Tee(&closed{})
	p.Detail("4", -1)
	p.Detail("5", -1)
	if len(told) != 2 {
		t.Errorf("%v", told)
	}
}

// TestChanged: who follows the log hears of every line.
func TestChanged(t *testing.T) {
	s := newScreen()
	changed := s.Changed()
	var all sync.WaitGroup
	all.Go(func() { <-changed })
	s.Head("a")
	all.Wait()
	if s.Changed() == changed {
		t.Error("the channel is the same")
	}
}
