package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is one table of a document. Each method that takes a key's value notes
// a mistake if the value is wrong, and returns the default then.
type table struct {
	doc    *document
	path   string // as in sources[1]
	kind   string // as in sources[]
	values map[string]any
	known  []string
}

func (t *table) at(key string) string { return joinKey(t.path, key) }

func (t *table) bad(key, text, hint string)   { t.doc.bad(t.at(key), text, hint) }
func (t *table) badErr(key string, err error) { t.doc.badErr(t.at(key), err) }

// value takes a key's value out, whatever its type.
func (t *table) value(key string) (any, bool) {
	if !slices.Contains(t.known, key) {
		t.known = append(t.known, key)
		t.doc.schema[joinKey(t.kind, key)] = true
	}
	v, ok := t.values[key]
	return v, ok
}

func (t *table) has(key string) bool { _, ok := t.values[key]; return ok }

// wrongType never shows the value: it may be a secret in the wrong place.
func (t *table) wrongType(key string, v any, want, example string) {
	t.bad(key, fmt.Sprintf("%s, where %s is needed", typeName(v), want), "such as: "+example)
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a number"
	case float64:
		return "a decimal number"
	case bool:
		return "true or false"
	case time.Time:
		return "a date"
	case []any, []map[string]any:
		return "a list"
	default:
		return "a table"
	}
}

// str takes a string of one line.
func (t *table) str(key, def, example string) string {
	v, ok := t.value(key)
	if !ok {
		return def
	}
	s, ok := v.(string)
	if !ok {
		t.wrongType(key, v, "a string", key+" = "+strconv.Quote(example))
		return def
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		t.bad(key, "has a control byte in it", "such as: "+key+" = "+strconv.Quote(example))
		return def
	}
	return s
}

// filled takes a string that may not be empty; "" means that it is not there.
func (t *table) filled(key, example string) string {
	s := t.str(key, "", example)
	if v, ok := t.values[key].(string); ok && v == "" {
		t.bad(key, "empty", "leave it out, or such as: "+key+" = "+strconv.Quote(example))
	}
	return s
}

// choice takes one of the words.
func (t *table) choice(key, def string, words ...string) string {
	s := t.str(key, def, def)
	if slices.Contains(words, s) {
		return s
	}
	hint := "one of: " + strings.Join(words, ", ")
	if near := Nearest(s, words); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	t.bad(key, quote(s)+" is not known", hint)
	return def
}

func (t *table) boolean(key string, def bool) bool {
	v, ok := t.value(key)
	if !ok {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		t.wrongType(key, v, "true or false", key+" = "+strconv.FormatBool(!def))
		return def
	}
	return b
}

func (t *table) integer(key string, def, least, most int) int {
	v, ok := t.value(key)
	if !ok {
		return def
	}
	n, ok := v.(int64)
	if !ok {
		t.wrongType(key, v, "a number", fmt.Sprintf("%s = %d", key, def))
		return def
	}
	if n < int64(least) || n > int64(most) {
		t.bad(key, fmt.Sprintf("%d is out of range", n), fmt.Sprintf("from %d to %d; the default is %d", least, most, def))
		return def
	}
	return int(n)
}

// size takes a number of bytes: an integer, or a string such as "2GiB".
func (t *table) size(key string, def, least int64) int64 {
	v, ok := t.value(key)
	if !ok {
		return def
	}
	example := fmt.Sprintf("%s = %q", key, formatSize(def))
	n, isInt := v.(int64)
	if s, ok := v.(string); ok {
		parsed, err := ParseSize(s)
		if err != nil {
			t.bad(key, err.Error(), "such as: "+example)
			return def
		}
		n = parsed
	} else if !isInt {
		t.wrongType(key, v, "a size", example)
		return def
	}
	if n < least || n > maxSize {
		t.bad(key, fmt.Sprintf("%d bytes is out of range", n),
			fmt.Sprintf("from %s to %s; the default is %s", formatSize(least), formatSize(maxSize), formatSize(def)))
		return def
	}
	return n
}

func (t *table) duration(key string, def, least, most time.Duration) time.Duration {
	v, ok := t.value(key)
	if !ok {
		return def
	}
	example := fmt.Sprintf("%s = %q", key, formatDuration(def))
	s, ok := v.(string)
	if !ok {
		t.wrongType(key, v, "a duration", example)
		return def
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.bad(key, quote(s)+" is not a duration", "a number with ms, s, m or h, such as: "+example)
		return def
	}
	if d < least || d > most {
		t.bad(key, s+" is out of range",
			fmt.Sprintf("from %s to %s; the default is %s", formatDuration(least), formatDuration(most), formatDuration(def)))
		return def
	}
	return d
}

// strs takes a list of strings; nil if it is not there or not such a list.
func (t *table) strs(key, example string) []string {
	v, ok := t.value(key)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		t.wrongType(key, v, "a list of strings", fmt.Sprintf("%s = [%q]", key, example))
		return nil
	}
	out := make([]string, 0, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			t.doc.bad(t.elem(key, i), typeName(v)+", where a string is needed", fmt.Sprintf("such as: %s = [%q]", key, example))
			continue
		}
		out = append(out, s)
	}
	return out
}

// elem is the path of an element of a list.
func (t *table) elem(key string, i int) string { return t.at(key) + "[" + strconv.Itoa(i) + "]" }

// table takes a table; an empty one if it is not there.
func (t *table) table(key string) *table {
	sub := &table{doc: t.doc, path: t.at(key), kind: joinKey(t.kind, key), values: map[string]any{}}
	if v, ok := t.value(key); ok {
		if sub.values, ok = v.(map[string]any); !ok {
			t.bad(key, typeName(v)+", where a table is needed", "such as: ["+sub.path+"]")
		}
	}
	return sub
}

// tables takes a list of tables.
func (t *table) tables(key string) []*table {
	v, ok := t.value(key)
	if !ok {
		return nil
	}
	list, ok := v.([]map[string]any)
	if values, isList := v.([]any); isList {
		ok = true
		for _, v := range values {
			m, isTable := v.(map[string]any)
			list, ok = append(list, m), ok && isTable
		}
	}
	if !ok {
		t.bad(key, typeName(v)+", where a list of tables is needed", "such as: [["+t.at(key)+"]]")
		return nil
	}
	out := make([]*table, len(list))
	for i, values := range list {
		out[i] = &table{doc: t.doc, path: t.elem(key, i), kind: joinKey(t.kind, key) + "[]", values: values}
	}
	return out
}

// named takes a table of tables by their names, sorted.
func (t *table) named(key string) (names []string, tables []*table) {
	outer := t.table(key)
	for _, name := range slices.Sorted(maps.Keys(outer.values)) {
		sub := &table{doc: t.doc, path: outer.at(name), kind: outer.kind + ".*"}
		v := outer.values[name]
		var ok bool
		if sub.values, ok = v.(map[string]any); !ok {
			outer.bad(name, typeName(v)+", where a table is needed", "such as: ["+printable(cut(sub.path))+"]")
			continue
		}
		names, tables = append(names, name), append(tables, sub)
	}
	return names, tables
}
