package tree

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"slipway/store/git"
)

// rawEntry is one entry of a tree object.
type rawEntry struct {
	mode Mode
	name string
	hash Hash
}

// errMalformed is a tree object that is no list of entries at all.
var errMalformed = errors.New("a tree object that is cut or malformed")

// entryError is a rule that one entry of a tree breaks.
type entryError struct {
	name string
	hint string
	err  error
}

func (e *entryError) Error() string { return e.err.Error() }
func (e *entryError) Unwrap() error { return e.err }

// nextEntry splits the first entry off raw. The mode must be spelled as git
// spells it; the name is not checked.
func nextEntry(raw string) (e rawEntry, rest string, err error) {
	space := strings.IndexByte(raw, ' ')
	if space < 0 {
		return e, "", errMalformed
	}
	end := strings.IndexByte(raw[space:], 0)
	if end < 0 || len(raw)-space-end-1 < len(e.hash) {
		return e, "", errMalformed
	}
	e.name = raw[space+1 : space+end]
	rest = raw[space+end+1:]
	copy(e.hash[:], rest)
	rest = rest[len(e.hash):]
	switch raw[:space] {
	case "100644":
		e.mode = Regular
	case "100755":
		e.mode = Executable
	case "40000":
		e.mode = Directory
	case "120000":
		e.mode = Link
	case "160000":
		e.mode = Gitlink
	default:
		return e, rest, &entryError{
			name: e.name,
			hint: "remove it from the index, add it anew, and commit: git writes a good mode",
			err:  fmt.Errorf("mode %s; files have 100644 or 100755", show(raw[:space])),
		}
	}
	return e, rest, nil
}

// entries calls got for every entry of a tree object that it has checked:
// modes, names, order, and that no name is there twice.
func entries(raw string, got func(rawEntry) error) error {
	var last string   // sort key of the entry before
	var open []string // files before whose name begins the current one
	special := false  // a link or a gitlink is among the entries
	for rest := raw; rest != ""; {
		e, next, err := nextEntry(rest)
		if err != nil {
			return err
		}
		rest = next
		if err := checkName(e.name, e.mode); err != nil {
			return &entryError{name: e.name, hint: renameHint, err: err}
		}
		key := e.name
		if e.mode == Directory {
			key += "/"
		}
		for len(open) > 0 && !strings.HasPrefix(e.name, open[len(open)-1]) {
			open = open[:len(open)-1]
		}
		if len(open) > 0 && open[len(open)-1] == e.name || key == last {
			return &entryError{
				name: e.name, err: errors.New("a name that is there twice"),
				hint: "git fsck",
			}
		}
		if key < last {
			return &entryError{name: e.name, err: errors.New("an entry that is out of order"), hint: "git fsck"}
		}
		if e.mode != Directory {
			open = append(open, e.name)
		}
		special = special || e.mode == Link || e.mode == Gitlink
		last = key
		if err := got(e); err != nil {
			return err
		}
	}
	if special {
		return checkCollisions(raw)
	}
	return nil
}

// commitTree returns the tree that a commit object names.
func commitTree(commit []byte) (Hash, error) {
	line, _, _ := bytes.Cut(commit, []byte("\n"))
	digits, ok := bytes.CutPrefix(line, []byte("tree "))
	if !ok {
		return Hash{}, errors.New("a commit without a tree")
	}
	return git.ParseHash(string(digits))
}
