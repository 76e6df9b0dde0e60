package builder

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"slipway/config"
)

// Values shorter than this are too common in any text to be masked: a port or
// a word such as "main" would make every line unreadable.
const shortestMasked = 4

// Mask replaces secret values in text by ***, also where they appear in base64
// or percent-encoded, and line by line where a value has several lines.
type Mask struct {
	replacer *strings.Replacer
	most     int // bytes of the longest form
}

// NewMask returns a mask of the values; it is safe for concurrent use. A value
// that is one of the words open to all, such as the name of the environment,
// is left as it is: to hide it would hide nothing and spoil every line.
func NewMask(values map[string]config.Secret, open ...string) *Mask {
	var forms []string
	for _, secret := range values {
		value := secret.Reveal()
		lines := strings.Split(value, "\n")
		if len(lines) > 1 {
			lines = append(lines, value)
		}
		for _, line := range lines {
			line = strings.TrimSpace(line)
			if len(line) < shortestMasked || plain(line) || slices.Contains(open, line) {
				continue
			}
			quoted := strconv.Quote(line)
			forms = append(forms, line, url.QueryEscape(line), url.PathEscape(line), quoted[1:len(quoted)-1],
				base64.StdEncoding.EncodeToString([]byte(line)),
				base64.RawURLEncoding.EncodeToString([]byte(line)))
			if cleaned := Clean(line); len(cleaned) >= shortestMasked { // as a builder's line shows it
				forms = append(forms, cleaned)
			}
		}
	}
	// A Replacer tries its pairs in order, so the longest goes first.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range slices.Compact(forms) {
		pairs = append(pairs, form, "***")
	}
	m := &Mask{replacer: strings.NewReplacer(pairs...)}
	if len(forms) > 0 {
		m.most = len(forms[0])
	}
	return m
}

// longest is how many bytes the longest thing to hide has.
func (m *Mask) longest() int {
	if m == nil {
		return 0
	}
	return m.most
}

// plain says whether a value is one that says nothing: a small number, a flag.
func plain(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "none", "null":
		return true
	}
	return len(s) < 6 && strings.Trim(s, "0123456789") == ""
}

// Apply returns s with every secret value replaced.
func (m *Mask) Apply(s string) string {
	if m == nil {
		return s
	}
	return m.replacer.Replace(s)
}
