package config

import "strings"

// A statement of TOML is one table header or one key with its value, which may
// go over several lines.
type statement struct {
	text string
	line int // of its first byte, from 1
}

// The shape that a file may have. The parser's work and memory grow with the
// product of depth, length of keys and number of keys, and slipway.toml comes
// from whoever pushes.
const (
	maxDepth    = 8   // brackets in brackets
	maxKeyBytes = 256 // one key with its dots
	maxKeyDots  = 16
)

// scan cuts TOML into its statements, in one pass. The parser gives no lines of
// keys, so they are found by parsing each statement by itself. Where text is
// not TOML the statements mean nothing, but what they would have cost the
// parser is still bounded: a problem, if there is one, is at line.
func scan(text string) (list []statement, line int, problem string) {
	line = 1
	start, startLine := -1, 0
	depth, dots, part := 0, 0, 0 // part is where the current key may have begun
	end := func(i int) {
		if start >= 0 {
			list = append(list, statement{strings.TrimRight(text[start:i], "\r"), startLine})
		}
		start = -1
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch c {
		case '\n':
			if depth == 0 {
				end(i)
			}
			line++
			part, dots = i+1, 0
			continue
		case ' ', '\t', '\r':
			continue
		case '#':
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
			continue
		}
		if start < 0 {
			start, startLine = i, line
		}
		switch c {
		case '"', '\'':
			last := stringEnd(text, i)
			line += strings.Count(text[i:last+1], "\n")
			i = last
		case '[', '{':
			depth++
			part, dots = i+1, 0
			if depth > maxDepth {
				return nil, line, "nested too deeply"
			}
		case ']', '}':
			depth = max(depth-1, 0)
			if text[start] == '[' && i-part > maxKeyBytes {
				return nil, line, "a key that is too long"
			}
		case ',':
			part, dots = i+1, 0
		case '=':
			if i-part > maxKeyBytes {
				return nil, line, "a key that is too long"
			}
			part, dots = i+1, 0
		case '.':
			if dots++; dots > maxKeyDots {
				return nil, line, "a key of too many parts"
			}
		}
	}
	end(len(text))
	return list, 0, ""
}

// stringEnd returns where the string that begins at i has its last byte.
func stringEnd(text string, i int) int {
	quote := text[i]
	if triple := strings.Repeat(string(quote), 3); strings.HasPrefix(text[i:], triple) {
		for j := i + 3; j < len(text); j++ {
			if text[j] == '\\' && quote == '"' {
				j++
				continue
			}
			if strings.HasPrefix(text[j:], triple) {
				j += 2
				for n := 0; n < 2 && j+1 < len(text) && text[j+1] == quote; n++ { // quotes at the end of the value
					j++
				}
				return j
			}
		}
		return len(text) - 1
	}
	for j := i + 1; j < len(text); j++ {
		switch {
		case text[j] == quote:
			return j
		case text[j] == '\n':
			return j - 1
		case text[j] == '\\' && quote == '"' && j+1 < len(text) && text[j+1] != '\n':
			j++
		}
	}
	return len(text) - 1
}
