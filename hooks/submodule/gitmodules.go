package submodule

import (
	"bytes"
	"fmt"
	"strings"
)

// setting is one line of a file in git's configuration format.
type setting struct {
	key   string // section.subsection.name; section and name in lower case
	value string
	bare  bool // a name without '=', which git takes as true
	line  int  // where its name stands, from 1
}

// syntaxError is where git would say "bad config line".
type syntaxError struct{ line int }

func (e *syntaxError) Error() string { return fmt.Sprintf("line %d cannot be parsed", e.line) }

// scanner reads git's configuration format byte by byte, as git does.
type scanner struct {
	b    []byte
	at   int
	eof  bool
	line int // of the byte that comes next
}

// next returns the next byte with CR LF as LF; the end of the file is an LF.
func (s *scanner) next() byte {
	if s.at >= len(s.b) {
		s.eof = true
		s.line++
		return '\n'
	}
	c := s.b[s.at]
	s.at++
	if c == '\r' && s.at < len(s.b) && s.b[s.at] == '\n' {
		c = '\n'
		s.at++
	}
	if c == '\n' {
		s.line++
	}
	return c
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isKey(c byte) bool   { return isAlpha(c) || '0' <= c && c <= '9' || c == '-' }
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// parseSettings reads a whole file; the error is a *syntaxError. [include] is
// a section like any other. A NUL, at which git would cut, is an error.
func parseSettings(b []byte) ([]setting, error) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return nil, &syntaxError{1 + bytes.Count(b[:i], []byte("\n"))}
	}
	s := &scanner{b: bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), line: 1}
	var all []setting
	var section string
	for {
		line := s.line
		switch c := s.next(); {
		case c == '\n' && s.eof:
			return all, nil
		case isSpace(c):
		case c == '#' || c == ';':
			for s.next() != '\n' {
			}
			if s.eof {
				return all, nil
			}
		case c == '[':
			name, ok := s.section()
			if !ok || name == "" {
				return nil, &syntaxError{s.line}
			}
			section = name + "."
		case isAlpha(c):
			v := setting{line: line}
			if !s.setting(section, c, &v) {
				return nil, &syntaxError{s.line}
			}
			all = append(all, v)
		default:
			return nil, &syntaxError{s.line}
		}
	}
}

// section reads what follows '['.
func (s *scanner) section() (name string, ok bool) {
	var b strings.Builder
	for {
		c := s.next()
		switch {
		case s.eof:
			return "", false
		case c == ']':
			return b.String(), true
		case isSpace(c):
			return s.subsection(&b, c)
		case !isKey(c) && c != '.':
			return "", false
		}
		b.WriteByte(lower(c))
	}
}

func (s *scanner) subsection(b *strings.Builder, c byte) (name string, ok bool) {
	for isSpace(c) {
		if c == '\n' {
			s.line--
			return "", false
		}
		c = s.next()
	}
	if c != '"' {
		return "", false
	}
	b.WriteByte('.')
	for {
		c := s.next()
		if c == '"' {
			break
		}
		if c == '\\' {
			c = s.next()
		}
		if c == '\n' {
			s.line--
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), s.next() == ']'
}

// setting reads a name, of which first is the first byte, and its value.
func (s *scanner) setting(section string, first byte, v *setting) bool {
	name := []byte{lower(first)}
	c := s.next()
	for ; !s.eof && isKey(c); c = s.next() {
		name = append(name, lower(c))
	}
	v.key = section + string(name)
	for c == ' ' || c == '\t' {
		c = s.next()
	}
	if c == '\n' {
		v.bare = true
		return true
	}
	if c != '=' {
		return false
	}
	value, ok := s.value()
	v.value = value
	return ok
}

// value reads what follows '='. White space inside is kept as it is, as git
// does since 2.45; before, each byte of it became a space.
func (s *scanner) value() (value string, ok bool) {
	var b, space []byte
	quoted, comment := false, false
	for {
		c := s.next()
		switch {
		case c == '\n' && quoted:
			s.line--
			return "", false
		case c == '\n':
			return string(b), true
		case comment:
			continue
		case isSpace(c) && !quoted:
			if len(b) > 0 {
				space = append(space, c)
			}
			continue
		case (c == ';' || c == '#') && !quoted:
			comment = true
			continue
		}
		b, space = append(b, space...), space[:0]
		switch c {
		case '\\':
			switch c := s.next(); c {
			case '\n':
			case 't':
				b = append(b, '\t')
			case 'b':
				b = append(b, '\b')
			case 'n':
				b = append(b, '\n')
			case '\\', '"':
				b = append(b, c)
			default:
				return "", false
			}
		case '"':
			quoted = !quoted
		default:
			b = append(b, c)
		}
	}
}

// entry is one submodule as .gitmodules declares it: the settings of all
// sections of one name, the last of each counting, as git has it.
type entry struct {
	name                      string
	path, url, update         string
	line                      int // of the first of its settings
	pathLine, urlLine, upLine int
	bare                      string // a setting that has no value though it needs one
	bareLine                  int
}

// lineOf is where a reader should look for the URL.
func (e *entry) lineOf() int {
	if e.urlLine > 0 {
		return e.urlLine
	}
	return e.line
}

// parseEntries reads .gitmodules. Entries come in the order of their first
// settings. What is wrong with an entry is found where it is used.
func parseEntries(b []byte) ([]*entry, error) {
	all, err := parseSettings(b)
	if err != nil {
		return nil, err
	}
	byName := map[string]*entry{}
	var entries []*entry
	for _, s := range all {
		rest, ok := strings.CutPrefix(s.key, "submodule.")
		dot := strings.LastIndexByte(rest, '.')
		if !ok || dot < 0 {
			continue
		}
		name, item := rest[:dot], rest[dot+1:]
		e := byName[name]
		if e == nil {
			e = &entry{name: name, line: s.line}
			byName[name] = e
			entries = append(entries, e)
		}
		switch item {
		case "path":
			e.path, e.pathLine = s.value, s.line
		case "url":
			e.url, e.urlLine = s.value, s.line
		case "update":
			e.update, e.upLine = s.value, s.line
		default:
			continue
		}
		if s.bare && e.bare == "" {
			e.bare, e.bareLine = item, s.line
		}
	}
	return entries, nil
}
