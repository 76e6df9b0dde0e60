package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Note is something that an app's files ask for and that has no counterpart
// here: it is said, and no mistake.
type Note struct {
	File string
	Line int // from 1; 0 if it is about the whole file
	Text string
}

// String is "FILE:LINE: TEXT" without a line that is not known.
func (n Note) String() string { return Mistake{File: n.File, Line: n.Line, Text: n.Text}.String() }

// foreign is a file in another tool's format while it is read.
type foreign struct {
	file     string
	mistakes Mistakes
	notes    []Note
}

func (f *foreign) bad(line int, key, text, hint string) {
	f.mistakes = append(f.mistakes, Mistake{File: f.file, Line: line, Key: printable(cut(key)), Text: printable(text), Hint: printable(hint)})
}

func (f *foreign) note(line int, format string, a ...any) {
	f.notes = append(f.notes, Note{File: f.file, Line: line, Text: printable(cut(fmt.Sprintf(format, a...)))})
}

// read returns what was wrong and what is to be said, in the order of the file.
func (f *foreign) read() (Mistakes, []Note) {
	slices.SortStableFunc(f.notes, func(a, b Note) int { return cmp.Compare(uint(a.Line-1), uint(b.Line-1)) }) // 0 comes last
	return f.mistakes, f.notes
}

// words are the texts of a word, or of a list of them; what is neither is a
// mistake.
func (f *foreign) words(key string, n *node) []string {
	all := []*node{n}
	if n.kind == list {
		all = n.list
	}
	var texts []string
	for _, w := range all {
		switch w.kind {
		case word:
			texts = append(texts, w.text)
		case nothing:
		default:
			f.bad(w.line, key, n.what()+", where a list of words is needed", "")
			return nil
		}
	}
	return texts
}

// line takes one line of text, such as a command; "" if there is none.
func (f *foreign) line(key string, n *node) string {
	switch {
	case n == nil || n.kind == nothing:
		return ""
	case n.kind != word:
		f.bad(n.line, key, n.what()+", where one line of text is needed", "")
		return ""
	}
	text := strings.TrimRight(n.text, " \t\r\n") // a block of YAML ends in a newline
	if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }) {
		f.bad(n.line, key, "has a control byte in it, or more than one line", "put what it does into a script, and name that")
		return ""
	}
	return text
}

// variable takes a variable into vars. A name that is Slipway's own is noted, as
// it is there in any case.
func (f *foreign) variable(line int, key, name, value string, vars map[string]string) {
	var e *Error
	if err := ParseVarName(name); errors.As(err, &e) {
		if varName.MatchString(name) {
			f.note(line, "%s is not set: %s", name, e.Err)
			return
		}
		f.bad(line, key, e.Err.Error(), e.Hint)
		return
	}
	if err := CheckVarValue(value); errors.As(err, &e) {
		f.bad(line, key, e.Err.Error(), e.Hint)
		return
	}
	vars[name] = value
}

// unknown notes a key as a mistake, with the nearest known one.
func (f *foreign) unknown(line int, key, last string, known []string) {
	hint := "known here: " + strings.Join(known, ", ")
	if near := Nearest(last, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	f.bad(line, key, "unknown key", hint)
}

func (n *node) what() string {
	switch n.kind {
	case list:
		return "a list"
	case mapping:
		return "a table"
	case word:
		return "a word"
	default:
		return "nothing"
	}
}

// get returns the value of a key, nil if it is not there.
func (n *node) get(key string) *node { return n.named[key] }

// listed joins the first few words, and counts the others.
func listed(all []string) string {
	const most = 4
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most-1], ", "), len(all)-most+1)
}

// shellQuote quotes a word for /bin/sh where it needs that.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("_-./"), r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
