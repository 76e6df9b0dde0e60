package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Mistake is one thing that is wrong in a configuration file.
type Mistake struct {
	File string // as the reader knows it: server.toml, slipway.toml
	Line int    // from 1; 0 if unknown
	Key  string // dotted, such as sources[1].urll; "" if it has none
	Text string // what is wrong
	Hint string // what would be right, such as: did you mean "url"?
}

// String is "FILE:LINE: KEY: TEXT" without the parts that are not known.
func (m Mistake) String() string {
	where := m.File
	if m.Line > 0 {
		where += ":" + strconv.Itoa(m.Line)
	}
	if m.Key != "" {
		where += ": " + m.Key
	}
	return where + ": " + m.Text
}

// Mistakes is every mistake of a file at once; it is an error of kind Usage.
// Error() is "FILE:LINE: KEY: TEXT" of the first and "(and N more)".
type Mistakes []Mistake

func (ms Mistakes) Error() string {
	switch len(ms) {
	case 0:
		return "no mistakes"
	case 1:
		return ms[0].String()
	default:
		return fmt.Sprintf("%s (and %d more)", ms[0], len(ms)-1)
	}
}

// As makes KindOf say Usage and Hint give the first mistake's hint.
func (ms Mistakes) As(target any) bool {
	e, ok := target.(**Error)
	if !ok || len(ms) == 0 {
		return false
	}
	*e = &Error{Kind: Usage, Err: errText(ms.Error()), Hint: ms[0].Hint}
	return true
}

// Lines is the text for people: each mistake on a line of its own, followed by
// a line that begins with "hint: " if there is one.
func (ms Mistakes) Lines() []string {
	var lines []string
	for _, m := range ms {
		lines = append(lines, m.String())
		if m.Hint != "" {
			lines = append(lines, "hint: "+m.Hint)
		}
	}
	return lines
}

// err returns the mistakes in the order of the file, nil if there are none.
func (ms Mistakes) err() error {
	if len(ms) == 0 {
		return nil
	}
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	if more := len(ms) - maxMistakes; more > 0 {
		ms = append(ms[:maxMistakes:maxMistakes], Mistake{
			File: ms[0].File,
			Text: fmt.Sprintf("%d more mistakes are not shown", more),
		})
	}
	return ms
}

// maxMistakes bounds what a file that is no configuration at all can print.
const maxMistakes = 100

// printable escapes what would not print as one line of ASCII.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 0x20 && r <= 0x7e {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}
