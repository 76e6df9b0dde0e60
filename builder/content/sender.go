package content

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The stream: its magic, then for each content a mark, the ID, whether it is
// exact, from where on it comes and its whole size, the bytes, and the SHA-256
// of the whole content; at last a mark and the number of contents. All of it
// is compressed as one.
const (
	streamMagic = "slipway-contents 1\n"
	markContent = 'C'
	markEnd     = 'E'

	streamWindow = 4 << 20 // bounds the memory of both sides
)

// Sender writes contents to a Store's Receive elsewhere. It is no use after an
// error.
type Sender struct {
	z     *zstd.Encoder
	buf   []byte
	count uint64
	bytes int64
	err   error
}

// NewSender begins a stream to w.
func NewSender(w io.Writer) (*Sender, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithWindowSize(streamWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	s := &Sender{z: z, buf: make([]byte, 128<<10)}
	if _, err := io.WriteString(z, streamMagic); err != nil {
		return nil, err
	}
	return s, nil
}

// Send sends the content of f from offset on. r gives all of it, size bytes
// from its beginning: both sides prove the whole.
func (s *Sender) Send(f File, offset, size int64, r io.Reader) error {
	if s.err != nil {
		return s.err
	}
	if offset < 0 || offset > size || f.Size >= 0 && f.Size != size {
		return fmt.Errorf("send %s: %d bytes from %d on, of %d", show(f.Path), size, offset, f.Size)
	}
	if err := s.send(f, offset, size, r); err != nil {
		// What the other side has got is half a content.
		s.err = fmt.Errorf("send %s: %w", show(f.Path), err)
		return s.err
	}
	s.count++
	return nil
}

func (s *Sender) send(f File, offset, size int64, r io.Reader) error {
	b := append(s.buf[:0], markContent)
	b = append(b, f.ID[:]...)
	if f.Exact {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(offset))
	b = binary.AppendUvarint(b, uint64(size))
	if _, err := s.z.Write(b); err != nil {
		return err
	}
	whole := sha256.New()
	for at := int64(0); at < size; {
		chunk := s.buf[:min(int64(len(s.buf)), size-at)]
		if at < offset {
			chunk = chunk[:min(int64(len(chunk)), offset-at)]
		}
		if _, err := io.ReadFull(r, chunk); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		whole.Write(chunk) // a hash takes everything
		if at >= offset {
			if _, err := s.z.Write(chunk); err != nil {
				return err
			}
			s.bytes += int64(len(chunk))
		}
		at += int64(len(chunk))
	}
	if n, err := io.ReadFull(r, s.buf[:1]); n > 0 {
		return errors.New("there is more of it than was said")
	} else if err != io.EOF {
		return err
	}
	_, err := s.z.Write(whole.Sum(s.buf[:0]))
	return err
}

// Contents counts those that were sent.
func (s *Sender) Contents() int { return int(s.count) }

// Bytes counts what was sent of contents, before compression.
func (s *Sender) Bytes() int64 { return s.bytes }

// Close ends the stream; it does not close the writer.
func (s *Sender) Close() error {
	if s.err != nil {
		return s.err
	}
	s.err = errors.New("the stream has ended")
	_, err := s.z.Write(binary.AppendUvarint([]byte{markEnd}, s.count))
	return errors.Join(err, s.z.Close())
}
