package config

import (
	"regexp"
	"sync"
)

// Pattern is a regular expression that is compiled when it is first used: git
// and builds start this program again and again, for little, and somebody waits.
type Pattern struct{ compiled func() *regexp.Regexp }

// NewPattern panics at the first use of an expression that is none.
func NewPattern(expr string) Pattern {
	return Pattern{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

// MatchString says whether s has a match in it.
func (p Pattern) MatchString(s string) bool { return p.compiled().MatchString(s) }

// FindStringSubmatch gives the first match and its groups; nil if there is none.
func (p Pattern) FindStringSubmatch(s string) []string { return p.compiled().FindStringSubmatch(s) }
