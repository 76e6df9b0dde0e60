package main

import (
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	const osv = `{"config":{"protocol_version":"v1.0.0"}}
{"osv":{"id":"GO-1","summary":"a hole"}}
`
	finding := func(module, function string) string {
		return `{"finding":{"osv":"GO-1","fixed_version":"v1.2.4","trace":[{"module":"` + module +
			`","version":"v1.2.3","package":"p","function":"` + function + `"}]}}` + "\n"
	}
	for _, c := range []struct {
		name, in     string
		fails, warns int
		err          bool
	}{
		{"none", osv, 0, 0, false},
		{"called", osv + finding("example.org/m", "F"), 1, 0, false},
		{"called twice", osv + finding("example.org/m", "F") + finding("example.org/m", "G"), 1, 0, false},
		{"imported", osv + finding("example.org/m", ""), 0, 0, false},
		{"library", osv + finding("stdlib", "F"), 0, 1, false},
		{"empty", "", 0, 0, true},
		{"cut", osv + `{"finding":`, 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fails, warns, err := judge(strings.NewReader(c.in))
			if (err != nil) != c.err || len(fails) != c.fails || len(warns) != c.warns {
				t.Fatalf("got %q, %q, %v", fails, warns, err)
			}
			for _, line := range fails {
				if line != "GO-1: a hole in example.org/m@v1.2.3, fixed in v1.2.4" {
					t.Error(line)
				}
			}
		})
	}
}
