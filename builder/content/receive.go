package content

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Received says what has come.
type Received struct {
	Contents int
	Bytes    int64 // before compression
}

// Receive takes from r the contents that are wanted of l, in any order but that
// one to be resumed comes first; limit is how many bytes they may be together.
// Each is compared with its hashes before it counts. Where the stream ends too
// early, or holds what was not asked for, Receive fails, and keeps what had
// come whole, and the beginning of the content that was on its way. Nothing
// may follow the stream in r: it has to end there.
func (s *Store) Receive(ctx context.Context, r io.Reader, l *List, want []Want, limit int64) (got Received, err error) {
	wanted, resume, err := wantedOf(l, want)
	if err != nil {
		return got, err
	}
	need := func(blockSize int64) room {
		n := room{bytes: 4 * blockSize, inodes: 1}
		for _, w := range want {
			n.bytes += max(0, l.files[w.Index].Size-w.Offset) + headerSize + crcSize
		}
		return n
	}
	if err := checkRoom(s.dir, need); err != nil {
		return got, err
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(streamWindow))
	if err != nil {
		return got, err
	}
	defer z.Close()
	w, err := s.write(resume)
	if err != nil {
		return got, explain(s.dir, need, err)
	}
	in := &receiver{in: bufio.NewReaderSize(z, 64<<10), to: w, wanted: wanted, limit: limit}
	err = in.all(ctx)
	if errEnd := w.finish(err == nil); errEnd != nil {
		err = errors.Join(err, errEnd)
	}
	return in.got, explain(s.dir, need, err)
}

// wantedOf looks the wants up. resume is the one that has begun.
func wantedOf(l *List, want []Want) (wanted map[key]int64, resume *key, err error) {
	wanted = make(map[key]int64, len(want))
	for i, w := range want {
		if w.Index < 0 || w.Index >= l.Len() || l.files[w.Index].Mode == Directory {
			return nil, nil, errors.New("a content that is not of the list is wanted")
		}
		f := &l.files[w.Index]
		wanted[f.key()] = f.Size
		if w.Offset > 0 {
			if i > 0 {
				return nil, nil, errors.New("a content to be resumed is not wanted first")
			}
			k := f.key()
			resume = &k
		}
	}
	return wanted, resume, nil
}

type receiver struct {
	in     *bufio.Reader
	to     *writer
	wanted map[key]int64 // sizes, -1 where not known
	limit  int64
	got    Received
	buf    [64 << 10]byte
}

func (r *receiver) all(ctx context.Context) error {
	magic := make([]byte, len(streamMagic))
	if err := r.full(magic); err != nil {
		return err
	}
	if string(magic) != streamMagic {
		return errors.New("a stream of contents of an unknown form")
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		mark, err := r.in.ReadByte()
		if err != nil {
			return cut(err)
		}
		switch mark {
		case markContent:
			if err := r.one(ctx); err != nil {
				return err
			}
		case markEnd:
			return r.end()
		default:
			return errors.New("a damaged stream of contents")
		}
	}
}

func (r *receiver) end() error {
	n, err := binary.ReadUvarint(r.in)
	if err != nil {
		return cut(err)
	}
	if n != uint64(r.got.Contents) {
		return fmt.Errorf("%d contents were said to come, %d did", n, r.got.Contents)
	}
	if len(r.wanted) > 0 {
		return fmt.Errorf("%d of the wanted contents did not come", len(r.wanted))
	}
	if _, err := r.in.ReadByte(); err != io.EOF {
		if err == nil {
			err = errors.New("something follows the contents")
		}
		return err
	}
	return nil
}

// one takes one content.
func (r *receiver) one(ctx context.Context) error {
	var k key
	var exact [1]byte
	if err := errors.Join(r.full(k.id[:]), r.full(exact[:])); err != nil {
		return err
	}
	k.exact = exact[0] == 1
	offset, err := binary.ReadUvarint(r.in)
	if err != nil {
		return cut(err)
	}
	size, err := binary.ReadUvarint(r.in)
	if err != nil {
		return cut(err)
	}
	known, ok := r.wanted[k]
	switch {
	case !ok || exact[0] > 1:
		return fmt.Errorf("content %s comes, which nobody wanted", k.id)
	case offset > size || size > maxSize || known >= 0 && int64(size) != known:
		return fmt.Errorf("content %s comes with %d bytes from %d on; it has %d", k.id, size, offset, known)
	case int64(size-offset) > r.limit:
		return fmt.Errorf("more contents come than may: %s has %d bytes, %d are left", k.id, size-offset, r.limit)
	}
	r.limit -= int64(size - offset)
	if err := r.to.begin(k, int64(offset), int64(size)); err != nil {
		return err
	}
	for left := int64(size - offset); left > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.in.Read(r.buf[:min(int64(len(r.buf)), left)])
		if n > 0 {
			if err := r.to.write(r.buf[:n]); err != nil {
				return err
			}
			left -= int64(n)
			r.got.Bytes += int64(n)
		}
		if err != nil && left > 0 {
			return cut(err)
		}
	}
	var sum [sha256.Size]byte
	if err := r.full(sum[:]); err != nil {
		return err
	}
	if !bytes.Equal(sum[:], r.to.sum()) {
		return errors.Join(fmt.Errorf("content %s is not what was sent", k.id), r.to.spoilt())
	}
	if err := r.to.end(); err != nil {
		return err
	}
	delete(r.wanted, k)
	r.got.Contents++
	return nil
}

func (r *receiver) full(b []byte) error {
	_, err := io.ReadFull(r.in, b)
	return cut(err)
}

// cut makes the end of a stream that has no end yet an error.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
