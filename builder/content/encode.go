package content

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// listMagic begins every encoded list; its number is the form's version.
const listMagic = "slipway-list 1\n"

var errDamaged = errors.New("a damaged list of contents")

// Encode gives the one form of the list: paths as what differs from the path
// before. It is not compressed; Diff from nil is.
func (l *List) Encode() []byte {
	b := make([]byte, 0, len(listMagic)+10+48*l.Len())
	b = append(b, listMagic...)
	b = binary.AppendUvarint(b, uint64(l.Len()))
	last := ""
	for i := range l.Files() {
		f := &l.files[i]
		b = appendPath(b, last, f.Path)
		b = f.appendWhat(b)
		last = f.Path
	}
	return b
}

// ID is the SHA-256 of the encoded list.
func (l *List) ID() [32]byte { return sha256.Sum256(l.Encode()) }

// Decode reads what Encode gave, and nothing else: no two encodings give the
// same list.
func Decode(b []byte) (*List, error) {
	rest, ok := bytes.CutPrefix(b, []byte(listMagic))
	if !ok {
		return nil, errors.New("a list of contents of an unknown form")
	}
	r := &reader{b: rest}
	n := r.number(maxFiles)
	l := &List{files: make([]File, 0, min(n, len(rest)/3))}
	room, last := maxPaths, ""
	for ; n > 0 && !r.bad; n-- {
		f := File{Path: r.path(last, &room)}
		r.what(&f)
		last = f.Path
		l.files = append(l.files, f)
	}
	if r.bad || len(r.b) > 0 {
		return nil, errDamaged
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(l.Encode(), b) {
		return nil, errDamaged // a number or a path that could be shorter
	}
	return l, nil
}

func appendPath(b []byte, last, path string) []byte {
	same := 0
	for same < len(path) && same < len(last) && path[same] == last[same] {
		same++
	}
	b = binary.AppendUvarint(b, uint64(same))
	b = binary.AppendUvarint(b, uint64(len(path)-same))
	return append(b, path[same:]...)
}

const exactBit = 1 << 2

// appendWhat writes all of a file but its path.
func (f *File) appendWhat(b []byte) []byte {
	if f.Mode == Directory {
		return append(b, byte(Directory))
	}
	flags := byte(f.Mode)
	if f.Exact {
		flags |= exactBit
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(f.Size+1))
	return append(b, f.ID[:]...)
}

// reader takes values off b; once bad it gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

// number takes one that is at most most.
func (r *reader) number(most int) int {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > uint64(most) {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return int(n)
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

// path takes one that was written after last. room is what paths may take yet:
// a few bytes can stand for a long one.
func (r *reader) path(last string, room *int) string {
	same, more := r.number(len(last)), r.number(maxPath)
	if *room -= same + more; *room < 0 || same+more > maxPath {
		r.fail()
		return ""
	}
	return last[:same] + string(r.take(more))
}

func (r *reader) what(f *File) {
	flags := r.take(1)
	if len(flags) == 0 {
		return
	}
	f.Mode, f.Exact = Mode(flags[0]&3), flags[0]&exactBit != 0
	if flags[0] > exactBit|3 || f.Mode == Directory && f.Exact {
		r.fail()
		return
	}
	if f.Mode == Directory {
		return
	}
	f.Size = int64(r.number(maxSize+1)) - 1
	copy(f.ID[:], r.take(len(f.ID)))
}
