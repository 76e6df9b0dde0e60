package builder

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Clean drops terminal escapes and control codes (C0 but tab, DEL, C1), and
// replaces bytes that are not UTF-8, so that no text can move a cursor, change
// a colour or forge a line.
func Clean(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == 0x1b:
			i += escape(s[i:])
			continue
		case r == '\t':
			b.WriteByte('\t')
		case r == '\n' || r == '\r':
			b.WriteByte(' ')
		case r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0:
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // text direction
		case r == utf8.RuneError && n == 1:
			b.WriteByte('?')
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// ascii cleans foreign text for a line of ours, which has nothing but ASCII in
// it: other characters are spelled as Go spells them.
func ascii(s string) string {
	s = strings.ReplaceAll(Clean(s), "\t", " ")
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			var b strings.Builder
			for _, r := range s {
				if r < utf8.RuneSelf {
					b.WriteRune(r)
				} else {
					b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
				}
			}
			return b.String()
		}
	}
	return s
}

// escape returns the length of the escape sequence that s begins with
// (ECMA-48: CSI, OSC and the other strings, two-byte escapes).
func escape(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
		}
		return len(s)
	case ']', 'P', 'X', '^', '_':
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return len(s)
	default:
		return 2
	}
}

// Seconds shows a duration as people read it: 0.4s, 41.2s, 1m05s, 2h03m.
func Seconds(d time.Duration) string {
	switch d = d.Round(100 * time.Millisecond); {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// Whole shows a duration without fractions of a second: 38s, 1m05s.
func Whole(d time.Duration) string {
	if d = d.Round(time.Second); d < time.Minute {
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
	return Seconds(d)
}

// timed puts a duration at the right end of a line.
func timed(s string, took time.Duration) string {
	if took < 0 {
		return cut(s, Columns)
	}
	t := Seconds(took)
	s = cut(s, Columns-len(t)-1)
	return s + strings.Repeat(" ", Columns-utf8.RuneCountInString(s)-len(t)) + t
}

// cut shortens s to a number of columns.
func cut(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	r := []rune(s)
	return string(r[:columns-3]) + "..."
}

// cutBytes shortens s to at most n bytes without splitting a character.
func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// wrap folds text at spaces, and within a word only where that is longer than a
// line.
func wrap(text string, columns int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) <= columns {
			line += " " + word
			continue
		}
		if line != "" {
			out = append(out, line)
		}
		for ; len(word) > columns; word = word[columns:] {
			out = append(out, word[:columns])
		}
		line = word
	}
	return append(out, line)
}
