package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// parseProcfile reads lines of "NAME: COMMAND"; empty ones and those that begin
// with '#' are skipped. The command of release is apart, as it is not a
// process. processes is nil if there are none.
func parseProcfile(data []byte) (release string, processes map[string]string, mistakes Mistakes) {
	const hint = "such as: web: gunicorn shop.wsgi"
	lines := map[string]int{}
	bad := func(line int, text, hint string) {
		mistakes = append(mistakes, Mistake{File: ProcfileName, Line: line, Text: text, Hint: hint})
	}
	if len(data) > maxAppBytes {
		bad(0, fmt.Sprintf("larger than %d KiB", maxAppBytes>>10), "")
		return "", nil, mistakes
	}
	for i, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		line, n := strings.TrimSpace(line), i+1
		if line == "" || line[0] == '#' {
			continue
		}
		name, command, ok := strings.Cut(line, ":")
		command = strings.TrimSpace(command)
		switch {
		case !utf8.ValidString(line):
			bad(n, "not UTF-8", "")
		case !ok:
			bad(n, "not NAME: COMMAND", hint)
		case !processName.MatchString(name):
			bad(n, quote(name)+" is not the name of a process", hint)
		case command == "":
			bad(n, name+" has no command", hint)
		case strings.ContainsFunc(command, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }):
			bad(n, name+" has a control byte in it", hint)
		case lines[name] > 0:
			bad(n, fmt.Sprintf("%s is in line %d already", name, lines[name]), "keep one of them")
		case name == "release":
			release = command
		default:
			if processes == nil {
				processes = map[string]string{}
			}
			processes[name] = command
		}
		if lines[name] == 0 {
			lines[name] = n
		}
	}
	return release, processes, mistakes
}
