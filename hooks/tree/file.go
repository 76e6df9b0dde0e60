package tree

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
)

// File reads one file of a part without a checkout, whole. A path that is not
// there gives an empty mode and no error; a link, a directory, a submodule, or
// a file of more than limit bytes is refused. mode is as git spells it.
func File(ctx context.Context, part Part, path string, limit int64) (content []byte, mode string, err error) {
	e, size, content, err := head(ctx, part, path, limit)
	if err != nil || e.mode == 0 {
		return nil, "", err
	}
	mode = e.mode.String()
	switch {
	case e.mode == Link:
		return nil, mode, refuse(part, path, "commit the file itself", "a symbolic link; it has to be a file")
	case e.mode != Regular && e.mode != Executable:
		return nil, mode, refuse(part, path, renameHint, "a directory; it has to be a file")
	case size > limit:
		return nil, mode, refuse(part, path, "", "a file of %s; %s are allowed", humanize.IBytes(uint64(size)), humanize.IBytes(uint64(limit)))
	}
	return content, mode, nil
}

// Head reads at most the first limit bytes of a file. For a link, a directory
// or a submodule it gives the mode alone.
func Head(ctx context.Context, part Part, path string, limit int64) (content []byte, mode string, err error) {
	e, _, content, err := head(ctx, part, path, limit)
	if err != nil || e.mode == 0 {
		return nil, "", err
	}
	return content, e.mode.String(), nil
}

// String is the mode as git spells it in tree objects.
func (m Mode) String() string { return fmt.Sprintf("%o", uint32(m)) }

// head walks down to path by the trees alone: a link on the way is no
// directory.
func head(ctx context.Context, part Part, path string, limit int64) (e rawEntry, size int64, content []byte, err error) {
	o, err := openObjects(ctx, part)
	if err != nil {
		return e, 0, nil, err
	}
	defer o.close()
	l := &loaded{part: part}
	at, err := l.commit(o)
	if err != nil {
		return e, 0, nil, l.explain("", err)
	}
	names := strings.Split(path, "/")
	for i, name := range names {
		var found rawEntry
		err := o.contents([]Hash{at}, maxTree, func(_ int, ob object, body []byte) error {
			if ob.kind != "tree" {
				return &objectError{at, "is a " + ob.kind + ", not a tree"}
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
	ob, content, err := o.begin(e.hash, limit)
	if err != nil {
		return e, 0, nil, l.explain(path, err)
	}
	if ob.kind != "blob" {
		return e, 0, nil, refuse(part, path, "git fsck", "object %s is a %s, not a blob", e.hash, ob.kind)
	}
	return e, ob.size, content, nil
}
