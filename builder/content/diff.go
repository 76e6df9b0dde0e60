package content

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// diffMagic begins every difference; its number is the form's version.
const diffMagic = "SWD1"

// maxDiff bounds what a difference may decompress to.
const maxDiff = 512 << 20

// The steps of a difference; each stands behind the number of files of the old
// list that stay as they are before it.
const (
	stepEnd     = iota
	stepChange  // the next old file has another mode or content
	stepAdd     // a path that the old list has not
	stepRemove  // the next old file goes
	stepUnknown // and all beyond
)

// Diff gives what makes new out of old, compressed: a changed file costs about
// its ID. Either may be nil, which is an empty list.
func Diff(old, new *List) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	id := new.ID()
	return z.EncodeAll(steps(old.Files(), new.Files()), append([]byte(diffMagic), id[:]...)), nil
}

func steps(a, b []File) []byte {
	var out []byte
	same, last := 0, ""
	step := func(kind byte) {
		out = binary.AppendUvarint(out, uint64(same))
		out = append(out, kind)
		same = 0
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Path < b[0].Path:
			step(stepRemove)
			a = a[1:]
		case len(a) == 0 || b[0].Path < a[0].Path:
			step(stepAdd)
			out = appendPath(out, last, b[0].Path)
			out = b[0].appendWhat(out)
			last, b = b[0].Path, b[1:]
		default:
			if a[0] == b[0] {
				same++
			} else {
				step(stepChange)
				out = b[0].appendWhat(out)
			}
			last, a, b = b[0].Path, a[1:], b[1:]
		}
	}
	step(stepEnd)
	return out
}

// Apply makes the list that diff leads to from l, which may be nil. A
// difference from another list, or a damaged one, is an error.
func (l *List) Apply(diff []byte) (*List, error) {
	rest, ok := bytes.CutPrefix(diff, []byte(diffMagic))
	var id [32]byte
	if !ok || len(rest) < len(id) {
		return nil, errors.New("a difference of an unknown form")
	}
	copy(id[:], rest)
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxDiff))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(rest[len(id):], nil)
	if err != nil {
		return nil, fmt.Errorf("a damaged difference: %w", err)
	}
	files, ok := apply(l.Files(), &reader{b: raw})
	if !ok {
		return nil, errors.New("a damaged difference, or one from another list")
	}
	made := &List{files: files}
	if err := made.check(); err != nil {
		return nil, err
	}
	if made.ID() != id {
		return nil, errors.New("a difference from another list")
	}
	return made, nil
}

func apply(old []File, r *reader) (files []File, ok bool) {
	files = make([]File, 0, len(old)+16)
	room, last := maxPaths, ""
	for {
		same := r.number(len(old))
		kind := r.take(1)
		if r.bad || len(files)+same >= maxFiles {
			return nil, false
		}
		if same > 0 {
			files, last, old = append(files, old[:same]...), old[same-1].Path, old[same:]
		}
		switch k := kind[0]; {
		case k == stepEnd:
			return files, len(old) == 0 && len(r.b) == 0
		case k == stepAdd:
			f := File{Path: r.path(last, &room)}
			r.what(&f)
			files, last = append(files, f), f.Path
		case k >= stepUnknown || len(old) == 0:
			return nil, false
		case k == stepRemove:
			old = old[1:]
		case k == stepChange:
			f := File{Path: old[0].Path}
			r.what(&f)
			files, last, old = append(files, f), f.Path, old[1:]
		}
	}
}
