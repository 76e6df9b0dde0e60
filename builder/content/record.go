package content

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// A record is a header, zeros up to where the content begins, the content as
// it is, and its CRC. So the kernel can copy files out of a pack, or share
// blocks with it where the content begins on one.
const (
	recordMagic = "SWR1"
	headerSize  = 40
	crcSize     = 4
	block       = 4096
	shareFrom   = 64 << 10 // contents from this size on begin on a block
)

// header stands before each content: magic, flags, a spare byte, the zeros that
// follow, id, size, CRC of all this.
type header struct {
	key  key
	pad  int64
	size int64
}

func crcTable() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// newHeader is that of a record that begins at off.
func newHeader(k key, size, off int64) header {
	h := header{key: k, size: size}
	if size >= shareFrom {
		h.pad = -(off + headerSize) & (block - 1)
	}
	return h
}

// length is how far it is from the record's beginning to the next one.
func (h header) length() int64 { return headerSize + h.pad + h.size + crcSize }

// encode gives the header and the zeros behind it.
func (h header) encode() []byte {
	b := make([]byte, headerSize, headerSize+h.pad)
	copy(b, recordMagic)
	if h.key.exact {
		b[4] = 1
	}
	binary.BigEndian.PutUint16(b[6:], uint16(h.pad))
	copy(b[8:], h.key.id[:])
	binary.BigEndian.PutUint64(b[28:], uint64(h.size))
	binary.BigEndian.PutUint32(b[36:], crc32.Checksum(b[:36], crcTable()))
	return b[:headerSize+h.pad]
}

func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || string(b[:4]) != recordMagic || b[4] > 1 || b[5] != 0 ||
		binary.BigEndian.Uint32(b[36:]) != crc32.Checksum(b[:36], crcTable()) {
		return header{}, false
	}
	h.key.exact = b[4] == 1
	h.pad = int64(binary.BigEndian.Uint16(b[6:]))
	copy(h.key.id[:], b[8:])
	size := binary.BigEndian.Uint64(b[28:])
	if size > maxSize || h.pad >= block {
		return header{}, false
	}
	h.size = int64(size)
	return h, true
}

// found is a record in a pack.
type found struct {
	header
	at int64 // where the content begins
}

// tail is the unfinished record at the end of a pack.
type tail struct {
	found
	have int64 // bytes of the content that are there
}

// scan calls each for the records from off on. end is where the last whole one
// ends, and rest the unfinished one behind it, if there is one. With check,
// contents are read and compared with their CRCs, and the first that differs
// is where the scan ends.
func scan(r io.ReaderAt, off, size int64, check bool, each func(found)) (end int64, rest *tail, err error) {
	w := &window{r: r, size: size}
	for {
		b, err := w.at(off, headerSize)
		if err != nil || b == nil {
			return off, nil, err
		}
		h, ok := parseHeader(b)
		if !ok {
			return off, nil, nil
		}
		f := found{header: h, at: off + headerSize + h.pad}
		if f.at > size {
			return off, nil, nil
		}
		if off+h.length() > size {
			return off, &tail{found: f, have: min(h.size, size-f.at)}, nil
		}
		if check {
			ok, err := w.matches(f)
			if err != nil || !ok {
				return off, nil, err
			}
		}
		each(f)
		off += h.length()
	}
}

// window reads ahead, so that small records cost no read each.
type window struct {
	r    io.ReaderAt
	size int64 // of the whole file
	buf  []byte
	from int64 // where buf begins
	have int
}

// at returns the n bytes at off, which are valid until the next call; nil if
// the file has not as many.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off+int64(n) > w.size {
		return nil, nil
	}
	if off < w.from || off+int64(n) > w.from+int64(w.have) {
		if w.buf == nil {
			w.buf = make([]byte, 128<<10)
		}
		got, err := w.r.ReadAt(w.buf[:min(int64(len(w.buf)), w.size-off)], off)
		if got < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		w.from, w.have = off, got
	}
	return w.buf[off-w.from:][:n], nil
}

// matches compares a content with the CRC behind it.
func (w *window) matches(f found) (bool, error) {
	crc := uint32(0)
	for off, end := f.at, f.at+f.size; off < end; {
		n := int(min(64<<10, end-off))
		b, err := w.at(off, n)
		if err != nil || b == nil {
			return false, err
		}
		crc = crc32.Update(crc, crcTable(), b)
		off += int64(n)
	}
	b, err := w.at(f.at+f.size, crcSize)
	return err == nil && b != nil && binary.BigEndian.Uint32(b) == crc, err
}
