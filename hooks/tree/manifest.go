package tree

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// finish sorts the list, adds it up and gives it its id.
func (m *Manifest) finish() error {
	byPath := func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) }
	if !slices.IsSortedFunc(m.Entries, byPath) {
		slices.SortFunc(m.Entries, byPath)
	}
	m.Files, m.Bytes = len(m.Entries), 0
	for i, e := range m.Entries {
		if i > 0 && m.Entries[i-1].Path == e.Path {
			return fmt.Errorf("%s is in the tree twice", show(e.Path))
		}
		if e.Size > math.MaxInt64-m.Bytes {
			m.Bytes = math.MaxInt64
		} else {
			m.Bytes += e.Size
		}
	}
	m.ID = m.id()
	return nil
}

// id is the SHA-256 of "MODE HASH PATH\0" for each file and link, then
// "160000 filled PATH\0" or "160000 empty PATH\0" for each mount, each in the
// order of paths. The mounts belong to it because a file's attributes end at
// its repository's border; a submodule's commit does not, for two commits with
// one tree give the same bytes.
func (m *Manifest) id() string {
	h := sha256.New()
	line := make([]byte, 0, 256)
	flush := func() {
		h.Write(line) // a hash takes everything
		line = line[:0]
	}
	for _, e := range m.Entries {
		line = fmt.Appendf(line, "%o ", uint32(e.Mode))
		line = hex.AppendEncode(line, e.Hash[:])
		line = append(line, ' ')
		line = append(line, e.Path...)
		line = append(line, 0)
		flush()
	}
	for _, mo := range m.Mounts {
		line = append(line, "160000 filled "...)
		if mo.Skipped {
			line = append(line[:0], "160000 empty "...)
		}
		line = append(line, mo.Path...)
		line = append(line, 0)
		flush()
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Diff counts the files by which new differs from old. Each may be nil, which
// is an empty tree.
func Diff(old, new *Manifest) (added, removed, changed int) {
	var a, b []Entry
	if old != nil {
		a = old.Entries
	}
	if new != nil {
		b = new.Entries
	}
	for len(a) > 0 && len(b) > 0 {
		switch c := cmp.Compare(a[0].Path, b[0].Path); {
		case c < 0:
			removed++
			a = a[1:]
		case c > 0:
			added++
			b = b[1:]
		default:
			if a[0].Mode != b[0].Mode || a[0].Hash != b[0].Hash {
				changed++
			}
			a, b = a[1:], b[1:]
		}
	}
	return added + len(b), removed + len(a), changed
}

// magic begins every encoded manifest; its number is the form's version.
const magic = "slipway-tree 1\n"

// maxEncoded bounds what a manifest may decompress to.
const maxEncoded = 1 << 30

// Encode returns a compact form of the list for Decode: paths as what differs
// from the path before, compressed.
func (m *Manifest) Encode() ([]byte, error) {
	b := binary.AppendUvarint(nil, uint64(len(m.Entries)))
	b = binary.AppendUvarint(b, uint64(len(m.Mounts)))
	b = binary.AppendUvarint(b, uint64(m.Dirs))
	last := ""
	path := func(p string) {
		same := 0
		for same < len(p) && same < len(last) && p[same] == last[same] {
			same++
		}
		b = binary.AppendUvarint(b, uint64(same))
		b = binary.AppendUvarint(b, uint64(len(p)-same))
		b = append(b, p[same:]...)
		last = p
	}
	for _, e := range m.Entries {
		path(e.Path)
		b = binary.AppendUvarint(b, uint64(e.Mode))
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = binary.AppendUvarint(b, uint64(e.Part))
		b = append(b, e.Hash[:]...)
	}
	last = ""
	for _, mo := range m.Mounts {
		path(mo.Path)
		skipped := uint64(0)
		if mo.Skipped {
			skipped = 1
		}
		b = binary.AppendUvarint(b, skipped)
		b = append(b, mo.Commit[:]...)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.EncodeAll(b, []byte(magic)), nil
}

// Decode reads what Encode wrote. What is damaged is an error, not another
// manifest: the checksum inside covers it.
func Decode(b []byte) (*Manifest, error) {
	packed, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return nil, errors.New("a manifest of an unknown form")
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxEncoded))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("a damaged manifest: %w", err)
	}
	r := &decoder{b: raw}
	entries, mounts := r.number(), r.number()
	m := &Manifest{Dirs: int(min(r.number(), math.MaxInt32))}
	for ; entries > 0 && !r.bad; entries-- {
		e := Entry{Path: r.path(), Mode: Mode(r.number()), Size: int64(r.number()), Part: int(r.number()), Hash: r.hash()}
		if e.Size < 0 || e.Mode != Regular && e.Mode != Executable && e.Mode != Link {
			r.bad = true
		}
		m.Entries = append(m.Entries, e)
	}
	r.last = ""
	for ; mounts > 0 && !r.bad; mounts-- {
		m.Mounts = append(m.Mounts, Mount{Path: r.path(), Skipped: r.number() == 1, Commit: r.hash()})
	}
	if r.bad || len(r.b) > 0 {
		return nil, errors.New("a damaged manifest")
	}
	if err := m.finish(); err != nil {
		return nil, err
	}
	return m, nil
}

// decoder takes values off b; once bad it gives zeros.
type decoder struct {
	b    []byte
	last string
	bad  bool
}

func (r *decoder) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *decoder) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *decoder) path() string {
	same, more := r.number(), r.number()
	if same > uint64(len(r.last)) {
		r.bad = true
		return ""
	}
	r.last = r.last[:same] + string(r.take(more))
	return r.last
}

func (r *decoder) hash() (h Hash) {
	copy(h[:], r.take(uint64(len(h))))
	return h
}
