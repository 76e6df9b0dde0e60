package config

import (
	"strings"

	"github.com/agext/levenshtein"
)

// Nearest returns the candidate nearest to s by edit distance, or "" if none
// is near enough to be what was meant. Case, and '-' or '_', do not count.
func Nearest(s string, candidates []string) string {
	const longest = 64
	if len(s) > longest {
		return ""
	}
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	best, least := "", 0
	for _, c := range candidates {
		d := levenshtein.Distance(plain(s), plain(c), nil)
		if d > (len(c)+2)/3 || d >= len(s) && d > 0 {
			continue
		}
		if best == "" || d < least {
			best, least = c, d
		}
	}
	if best != "" || len(s) < 4 {
		return best
	}
	// A word that was cut short or drawn out: push for push_bytes.
	for _, c := range candidates {
		if strings.Contains(plain(c), plain(s)) || len(c) >= 4 && strings.Contains(plain(s), plain(c)) {
			return c
		}
	}
	return ""
}
