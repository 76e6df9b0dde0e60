package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// node is a value of a YAML or JSON file that is not Slipway's own format, and
// the line that it stands in.
type node struct {
	line   int
	kind   nodeKind
	text   string // of a word, as it is written
	quoted bool   // a word that is a string and nothing else
	list   []*node
	keys   []string // of a table, in the order of the file
	named  map[string]*node
	at     map[string]int // the lines of the keys
}

type nodeKind int

const (
	nothing nodeKind = iota // null, or a key without a value
	word                    // a string, a number, true or false
	list
	mapping
)

// Bounds of a file that others have written for something else: far above what
// any has, and low enough that aliases of aliases come to nothing.
const (
	maxNodes   = 10_000
	maxNesting = 32
)

// nodes builds a tree of nodes within the bounds.
type nodes struct {
	file  string
	count int
	path  []*yaml.Node // aliases that are being followed
	bad   Mistakes
}

func (b *nodes) mistake(line int, text, hint string) *node {
	if len(b.bad) == 0 { // the rest of the file means nothing then
		b.bad = append(b.bad, Mistake{File: b.file, Line: line, Text: text, Hint: hint})
	}
	return &node{line: line}
}

// full says whether the file is beyond the bounds.
func (b *nodes) full(line, depth int) bool {
	b.count++
	switch {
	case len(b.bad) > 0:
		return true
	case b.count > maxNodes:
		b.mistake(line, fmt.Sprintf("more than %d values, aliases counted in full", maxNodes), "")
	case depth > maxNesting:
		b.mistake(line, fmt.Sprintf("nested deeper than %d", maxNesting), "")
	default:
		return false
	}
	return true
}

// put adds a key to a table.
func (b *nodes) put(n *node, key string, line int, value *node) {
	if was, twice := n.at[key]; twice {
		b.mistake(line, fmt.Sprintf("%s is in line %d already", printable(cut(key)), was), "keep one of them")
		return
	}
	n.keys = append(n.keys, key)
	n.named[key], n.at[key] = value, line
}

func newTable(line int) *node {
	return &node{line: line, kind: mapping, named: map[string]*node{}, at: map[string]int{}}
}

// checkText refuses what no parser should see. ok is false if it did.
func (b *nodes) checkText(data []byte) (text string, ok bool) {
	text = strings.TrimPrefix(string(data), "\ufeff")
	if len(data) > maxAppBytes {
		b.mistake(0, fmt.Sprintf("larger than %d KiB", maxAppBytes>>10), "")
	} else if at := invalidUTF8(text); at >= 0 {
		b.mistake(1+strings.Count(text[:at], "\n"), "not UTF-8", "")
	}
	return text, len(b.bad) == 0
}

var yamlLine = NewPattern(`^yaml: (?:line (\d+): )?`)

// parseYAML reads the first document of a YAML file; an empty one is nothing.
func parseYAML(file string, data []byte) (*node, Mistakes) {
	b := &nodes{file: file}
	text, ok := b.checkText(data)
	if !ok {
		return nil, b.bad
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		said, line := err.Error(), 0
		if m := yamlLine.FindStringSubmatch(said); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits, or none: then the line is not known
			said = said[len(m[0]):]
		}
		hint := ""
		if strings.Contains(said, "cannot start any token") {
			hint = "YAML is indented by spaces, not by tabs"
		}
		b.mistake(line, "not YAML: "+printable(cut(said)), hint)
		return nil, b.bad
	}
	if len(doc.Content) == 0 {
		return &node{line: 1}, nil
	}
	n := b.fromYAML(doc.Content[0], 0)
	return n, b.bad
}

func (b *nodes) fromYAML(y *yaml.Node, depth int) *node {
	if b.full(y.Line, depth) {
		return &node{line: y.Line}
	}
	switch y.Kind {
	case yaml.AliasNode:
		for _, p := range b.path {
			if p == y.Alias {
				return b.mistake(y.Line, "*"+printable(cut(y.Value))+" is an alias of what it stands in", "")
			}
		}
		b.path = append(b.path, y.Alias)
		n := b.fromYAML(y.Alias, depth+1)
		b.path = b.path[:len(b.path)-1]
		return n
	case yaml.SequenceNode:
		n := &node{line: y.Line, kind: list}
		for _, item := range y.Content {
			n.list = append(n.list, b.fromYAML(item, depth+1))
		}
		return n
	case yaml.MappingNode:
		n := newTable(y.Line)
		for i := 0; i+1 < len(y.Content); i += 2 {
			key := y.Content[i]
			switch {
			case key.Kind != yaml.ScalarNode:
				return b.mistake(key.Line, "a key that is no word", "")
			case key.Tag == "!!merge":
				return b.mistake(key.Line, "keys merged by << are not read", "write them out")
			}
			b.put(n, key.Value, key.Line, b.fromYAML(y.Content[i+1], depth+1))
		}
		return n
	case yaml.ScalarNode:
		if y.Tag == "!!null" {
			return &node{line: y.Line}
		}
		return &node{line: y.Line, kind: word, text: y.Value, quoted: y.Tag == "!!str"}
	}
	return b.mistake(y.Line, "not YAML that can be read", "")
}

// parseJSON reads a JSON file; an empty one is nothing.
func parseJSON(file string, data []byte) (*node, Mistakes) {
	b := &nodes{file: file}
	text, ok := b.checkText(data)
	if !ok {
		return nil, b.bad
	}
	if strings.TrimSpace(text) == "" {
		return &node{line: 1}, nil
	}
	var whole json.RawMessage
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		line := 0
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line = 1 + strings.Count(text[:min(int(syntax.Offset), len(text))], "\n")
		}
		b.mistake(line, "not JSON: "+printable(cut(err.Error())), "if it is not for deploying, a slipway.toml beside it, be it empty, keeps it from being read")
		return nil, b.bad
	}
	r := &jsonReader{nodes: b, text: text, dec: json.NewDecoder(strings.NewReader(text))}
	r.dec.UseNumber()
	n := r.value(0)
	return n, b.bad
}

// jsonReader reads tokens of a text that is known to be JSON.
type jsonReader struct {
	*nodes
	text string
	dec  *json.Decoder
	seen int // bytes whose lines are counted
	line int // newlines in them
}

// next returns a token and its line.
func (r *jsonReader) next() (json.Token, int) {
	t, err := r.dec.Token()
	if err != nil { // cannot be: the whole was parsed
		r.mistake(r.line+1, "not JSON: "+printable(cut(err.Error())), "")
		return nil, r.line + 1
	}
	at := int(r.dec.InputOffset())
	r.line += strings.Count(r.text[r.seen:at], "\n")
	r.seen = at
	return t, r.line + 1
}

func (r *jsonReader) value(depth int) *node {
	t, line := r.next()
	if r.full(line, depth) {
		return &node{line: line}
	}
	switch t := t.(type) {
	case string:
		return &node{line: line, kind: word, text: t, quoted: true}
	case bool:
		return &node{line: line, kind: word, text: strconv.FormatBool(t)}
	case json.Number:
		return &node{line: line, kind: word, text: t.String()}
	case json.Delim:
		n := &node{line: line, kind: list}
		if t == '{' {
			n = newTable(line)
		}
		for len(r.bad) == 0 && r.dec.More() {
			if t == '[' {
				n.list = append(n.list, r.value(depth+1))
				continue
			}
			key, at := r.next()
			name, _ := key.(string) // a key of JSON is a string
			r.put(n, name, at, r.value(depth+1))
		}
		if len(r.bad) == 0 {
			r.next()
		}
		return n
	}
	return &node{line: line}
}
