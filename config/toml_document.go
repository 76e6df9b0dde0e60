package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// document is a TOML file while it is read: its values are taken out key by
// key, what is wrong is collected, and what nobody asked for is unknown.
type document struct {
	file     string
	text     string
	lines    map[string]int // of keys as in sources[1].url; made when first needed
	mistakes Mistakes
	schema   map[string]bool // every key that was asked for, as in sources[].url
}

// openDocument parses the file. A nil table means that there is nothing to read
// in it, and the mistake says why.
func openDocument(file string, data []byte, maxBytes int) (*document, *table) {
	d := &document{file: file, text: strings.TrimPrefix(string(data), "\ufeff"), schema: map[string]bool{}}
	refuse := func(line int, key, text string) (*document, *table) {
		d.mistakes = append(d.mistakes, Mistake{File: file, Line: line, Key: key, Text: text})
		return d, nil
	}
	if len(data) > maxBytes {
		return refuse(0, "", fmt.Sprintf("larger than %d KiB", maxBytes>>10))
	}
	if at := invalidUTF8(d.text); at >= 0 {
		return refuse(1+strings.Count(d.text[:at], "\n"), "", "not UTF-8")
	}
	if _, line, problem := scan(d.text); problem != "" {
		return refuse(line, "", problem)
	}
	var values map[string]any
	if _, err := toml.Decode(d.text, &values); err != nil {
		var syntax toml.ParseError
		if !errors.As(err, &syntax) {
			return refuse(0, "", printable(err.Error()))
		}
		text := printable(syntax.Message)
		key := syntax.LastKey
		if last := key[strings.LastIndexByte(key, '.')+1:]; last == "token" || last == "url" {
			text = "not a value of TOML; put it in quotes" // the message may quote what is secret
		}
		return refuse(syntax.Position.Line, printable(key), text)
	}
	return d, &table{doc: d, values: values}
}

func invalidUTF8(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return -1
}

// line returns where path stands in the file, or else what it stands in.
func (d *document) line(path string) int {
	if d.lines == nil {
		d.lines = findLines(d.text)
	}
	for path != "" {
		if n, ok := d.lines[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// findLines parses statement by statement, in the context of the headers
// before it.
func findLines(text string) map[string]int {
	lines := map[string]int{}
	counts := map[string]int{} // of [[...]] by path
	list, _, _ := scan(text)
	context := ""
	for _, s := range list {
		var ignored map[string]any
		md, err := toml.Decode(s.text, &ignored)
		if err != nil { // cannot be: the whole was parsed
			continue
		}
		header := strings.HasPrefix(s.text, "[")
		from := context
		if header {
			from = ""
		}
		for _, key := range md.Keys() {
			path := from
			for i, part := range key {
				path = joinKey(path, part)
				if header && i == len(key)-1 && strings.HasPrefix(s.text, "[[") {
					counts[path]++
				}
				if _, ok := lines[path]; !ok {
					lines[path] = s.line
				}
				if n := counts[path]; n > 0 {
					path += "[" + strconv.Itoa(n-1) + "]"
					if _, ok := lines[path]; !ok {
						lines[path] = s.line
					}
				}
			}
			if header {
				context = path
			}
		}
	}
	return lines
}

func joinKey(path, key string) string {
	key = toml.Key{key}.String()
	if path == "" {
		return key
	}
	return path + "." + key
}

// bad notes a mistake at a path.
func (d *document) bad(path, text, hint string) {
	d.mistakes = append(d.mistakes, Mistake{
		File: d.file, Line: d.line(path), Key: printable(cut(path)), Text: text, Hint: hint,
	})
}

// badErr notes what a parser said of the value at a path.
func (d *document) badErr(path string, err error) { d.bad(path, err.Error(), Hint(err)) }

func cut(s string) string {
	const most = 120
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// unknown notes every key of t that was not asked for.
func (t *table) unknown() {
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if slices.Contains(t.known, key) {
			continue
		}
		hint := ""
		if near := Nearest(key, t.known); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		} else if len(t.known) > 0 {
			hint = "known here: " + strings.Join(slices.Sorted(slices.Values(t.known)), ", ")
		}
		t.doc.bad(t.at(key), "unknown key", hint)
	}
}
