package tree

import (
	"errors"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// checkCollisions refuses two names of one directory that differ in case or in
// Unicode form alone where one of them is a link or a gitlink: on a file system
// that takes them for one, what belongs below the one would go through the
// other. Between plain files it is data.
func checkCollisions(raw string) error {
	seen := make(map[string]Mode)
	lower := cases.Fold()
	for rest := raw; rest != ""; {
		e, next, err := nextEntry(rest)
		if err != nil {
			return err
		}
		rest = next
		key := strings.ToLower(e.name)
		if !ascii(e.name) {
			key = norm.NFC.String(lower.String(norm.NFD.String(e.name)))
		}
		special := e.mode == Link || e.mode == Gitlink
		before, twice := seen[key]
		if twice && (special || before == Link || before == Gitlink) {
			return &entryError{
				name: e.name, hint: renameHint,
				err: errors.New("a name that differs from another in case or Unicode form alone, and one of them is a link or a submodule"),
			}
		}
		if !twice || special {
			seen[key] = e.mode
		}
	}
	return nil
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
