package tree

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"slipway/store"
	"slipway/store/git"
)

// Files reads single files of an app's commit without a checkout.
type Files struct {
	Objects *git.Objects
	Commit  store.OID
}

// File reads one file, whole. A path that is not there gives an empty mode and
// no error; a link, a directory, a submodule, or a file of more than limit bytes
// is refused. mode is as git spells it.
func (f Files) File(path string, limit int64) (content []byte, mode string, err error) {
	e, size, content, err := f.head(path, limit)
	if err != nil || e.mode == 0 {
		return nil, "", err
	}
	mode = e.mode.String()
	switch {
	case e.mode == Link:
		return nil, mode, refuse(Part{}, path, "commit the file itself", "a symbolic link; it has to be a file")
	case e.mode != Regular && e.mode != Executable:
		return nil, mode, refuse(Part{}, path, renameHint, "a directory; it has to be a file")
	case size > limit:
		return nil, mode, refuse(Part{}, path, "", "a file of %s; %s are allowed", humanize.IBytes(uint64(size)), humanize.IBytes(uint64(limit)))
	}
	return content, mode, nil
}

// Head reads at most the first limit bytes of a file. For a link, a directory
// or a submodule it gives the mode alone.
func (f Files) Head(path string, limit int64) (content []byte, mode string, err error) {
	e, _, content, err := f.head(path, limit)
	if err != nil || e.mode == 0 {
		return nil, "", err
	}
	return content, e.mode.String(), nil
}

// String is the mode as git spells it in tree objects.
func (m Mode) String() string { return fmt.Sprintf("%o", uint32(m)) }

// head walks down to path by the trees alone: a link on the way is no
// directory.
func (f Files) head(path string, limit int64) (e rawEntry, size int64, content []byte, err error) {
	l := &loaded{part: Part{Commit: f.Commit}}
	at, err := l.commit(f.Objects)
	if err != nil {
		return e, 0, nil, l.explain("", err)
	}
	names := strings.Split(path, "/")
	for i, name := range names {
		var found rawEntry
		err := f.Objects.Contents([]Hash{at}, maxTree, func(_ int, ob git.Object, body []byte) error {
			if ob.Type != "tree" {
				return &git.ObjectError{Hash: at, Text: "is a " + ob.Type + ", not a tree"}
			}
			for rest := string(body); rest != ""; {
				one, next, err := nextEntry(rest)
				var broken *entryError
				if err != nil && (one.name == name || !errors.As(err, &broken)) {
					return err // a bad mode beside it is Read's to refuse
				}
				if err == nil && one.name == name {
					found = one
					return nil
				}
				rest = next
			}
			return nil
		})
		if err != nil {
			return e, 0, nil, l.explain(strings.Join(names[:i], "/"), err)
		}
		if found.mode == 0 || i < len(names)-1 && found.mode != Directory {
			return rawEntry{}, 0, nil, nil
		}
		e, at = found, found.hash
	}
	if e.mode != Regular && e.mode != Executable {
		return e, 0, nil, nil
	}
	var ob git.Object
	if limit == 0 {
		err = f.Objects.Info([]Hash{e.hash}, func(_ int, got git.Object) error { ob = got; return nil })
	} else {
		ob, content, err = f.Objects.Head(e.hash, limit)
	}
	if err != nil {
		return e, 0, nil, l.explain(path, err)
	}
	if ob.Type != "blob" {
		return e, 0, nil, refuse(Part{}, path, "git fsck", "object %s is a %s, not a blob", e.hash, ob.Type)
	}
	return e, ob.Size, content, nil
}
