package tree

import (
	"bytes"

	"slipway/store/git"
)

func (l *loaded) sizes(o *git.Objects) error {
	return o.Info(l.order, func(i int, ob git.Object) error {
		if ob.Type != "blob" {
			return &git.ObjectError{Hash: l.order[i], Text: "is a " + ob.Type + ", not a blob"}
		}
		l.blobs[l.order[i]].size = ob.Size
		return nil
	})
}

// maxTarget is what the kernel takes as the target of a link.
const maxTarget = 4095

func (l *loaded) links(o *git.Objects) error {
	var hashes []Hash
	for _, h := range l.order {
		if b := l.blobs[h]; b.link && b.size > 0 && b.size <= maxTarget {
			hashes = append(hashes, h)
		}
	}
	return o.Contents(hashes, maxTarget, func(i int, _ git.Object, body []byte) error {
		l.blobs[hashes[i]].target = string(body)
		return nil
	})
}

// Sizes of Git LFS pointers: what git-lfs writes is 126 to 138 bytes, unless
// it lists extensions; the specification allows 1023.
const (
	usualPointer = 120
	usualEnd     = 140
	leastPointer = 43
	mostPointer  = 1024
)

const pointerHead = "version https://git-lfs.github.com/spec/v1"

// pointers finds the Git LFS pointers. Reading all small blobs would take
// longer than all the rest, so the unusual sizes are looked at only where the
// attributes speak of LFS at all.
func (l *loaded) pointers(o *git.Objects) error {
	lfs := false
	var attrs []Hash
	for _, h := range l.order {
		if b := l.blobs[h]; b.attrs && b.size <= maxCommit {
			attrs = append(attrs, h)
		}
	}
	err := o.Contents(attrs, maxCommit, func(_ int, _ git.Object, body []byte) error {
		lfs = lfs || bytes.Contains(body, []byte("filter=lfs"))
		return nil
	})
	if err != nil {
		return err
	}
	least, most := int64(usualPointer), int64(usualEnd)
	if lfs {
		least, most = leastPointer, mostPointer
	}
	var hashes []Hash
	for _, h := range l.order {
		if b := l.blobs[h]; b.size >= least && b.size <= most {
			hashes = append(hashes, h)
		}
	}
	return o.Contents(hashes, mostPointer, func(i int, _ git.Object, body []byte) error {
		rest, ok := bytes.CutPrefix(body, []byte(pointerHead))
		l.blobs[hashes[i]].pointer = ok && (len(rest) == 0 || rest[0] == '\n' || rest[0] == '\r')
		return nil
	})
}
