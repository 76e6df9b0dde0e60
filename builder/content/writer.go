package content

import (
	"bufio"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
	"syscall"
)

// writer appends records to a part, which it holds the lock of. A content
// counts when its record is whole, and is in the index when it is in the file.
type writer struct {
	s    *Store
	p    *pack
	out  *bufio.Writer
	at   int64 // where the next byte goes
	open *opened
	done []found // whole records that may be in out yet
	full bool    // the disk is
}

// opened is the content that is being written.
type opened struct {
	found
	have  int64
	start int64 // of the record
	crc   uint32
	sha   hash.Hash
	git   hash.Hash // nil where the content has a chosen name
}

// write picks what is appended to: the part with the beginning of resume, any
// other that nobody needs as it is, or a new one.
func (s *Store) write(resume *key) (*writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.adopt(resume)
	if err == nil && p == nil {
		p, err = s.create()
	}
	if err != nil {
		return nil, err
	}
	return s.writer(p), nil
}

// fresh begins a new part.
func (s *Store) fresh() (*writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.create()
	if err != nil {
		return nil, err
	}
	return s.writer(p), nil
}

func (s *Store) writer(p *pack) *writer {
	p.busy = true
	w := &writer{s: s, p: p, at: p.end}
	w.out = bufio.NewWriterSize(&appender{w}, 256<<10)
	return w
}

// adopt locks a part that is there already; nil if none fits.
func (s *Store) adopt(resume *key) (*pack, error) {
	for _, p := range s.packs {
		if p.sealed || p.busy {
			continue
		}
		if fits := p.rest == nil && resume == nil || p.rest != nil && resume != nil && p.rest.key == *resume; !fits {
			continue
		}
		mine, err := p.lock(s.root)
		if err != nil {
			return nil, err
		}
		if !mine {
			continue
		}
		err = p.read(func(f found) { s.add(p, f) })
		if err == nil {
			err = p.trim(true)
		}
		if err != nil {
			return nil, errors.Join(err, p.unlock())
		}
		return p, nil
	}
	return nil, nil
}

// appender writes at the end of the part, whoever has read it meanwhile.
type appender struct{ w *writer }

func (a *appender) Write(b []byte) (int, error) {
	n, err := a.w.p.f.WriteAt(b, a.w.at)
	a.w.at += int64(n)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		a.w.full = true
	}
	return n, err
}

// begin opens a content. From an offset on it can only be the one that the
// part ends with; before any other, that one is given up.
func (w *writer) begin(k key, offset, size int64) error {
	rest := w.p.rest
	w.p.rest = nil
	if offset > 0 {
		if rest == nil || rest.key != k || rest.size != size || rest.have < offset {
			w.p.rest = rest
			return fmt.Errorf("content %s comes from %d on, of which the beginning is not here", k.id, offset)
		}
		return w.resume(rest, offset)
	}
	start := w.at + int64(w.out.Buffered())
	h := newHeader(k, size, start)
	w.open = newOpened(h, start)
	_, err := w.out.Write(h.encode())
	return err
}

func newOpened(h header, start int64) *opened {
	o := &opened{found: found{header: h, at: start + headerSize + h.pad}, start: start, sha: sha256.New()}
	if h.key.exact {
		o.git = sha1.New() // what git calls a blob by
		o.git.Write(append([]byte("blob "+strconv.FormatInt(h.size, 10)), 0))
	}
	return o
}

// resume goes on where a cut has left a content.
func (w *writer) resume(rest *tail, offset int64) error {
	w.open = newOpened(rest.header, w.p.end)
	w.open.found = rest.found
	w.at = rest.at + offset
	if err := w.p.f.Truncate(w.at); err != nil {
		return err
	}
	n, err := io.Copy(hashes{w.open}, io.NewSectionReader(w.p.f, rest.at, offset))
	if err == nil && n < offset {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// hashes feeds what proves a content.
type hashes struct{ o *opened }

func (h hashes) Write(b []byte) (int, error) {
	o := h.o
	o.crc = crc32.Update(o.crc, crcTable(), b)
	o.sha.Write(b) // a hash takes everything
	if o.git != nil {
		o.git.Write(b)
	}
	o.have += int64(len(b))
	return len(b), nil
}

func (w *writer) write(b []byte) error {
	if _, err := (hashes{w.open}).Write(b); err != nil {
		return err
	}
	_, err := w.out.Write(b)
	return err
}

func (w *writer) sum() []byte { return w.open.sha.Sum(nil) }

// end makes the content whole, if it is what its name says.
func (w *writer) end() error {
	o := w.open
	if o.have != o.size {
		return fmt.Errorf("content %s has %d bytes of %d", o.key.id, o.have, o.size)
	}
	if o.git != nil {
		if id := ID(o.git.Sum(nil)); id != o.key.id {
			return errors.Join(fmt.Errorf("content %s has the hash %s", o.key.id, id), w.spoilt())
		}
	}
	if _, err := w.out.Write(binary.BigEndian.AppendUint32(nil, o.crc)); err != nil {
		return err
	}
	w.open = nil
	w.done = append(w.done, o.found)
	if len(w.done) >= 1024 {
		return w.flush()
	}
	return nil
}

// flush puts all that is whole into the file and the index.
func (w *writer) flush() error {
	if err := w.out.Flush(); err != nil {
		return err
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.publish()
	return nil
}

// publish puts the whole records that are in the file into the index.
func (w *writer) publish() {
	for len(w.done) > 0 {
		f := w.done[0]
		end := f.at + f.size + crcSize
		if end > w.at {
			return
		}
		w.s.add(w.p, f)
		w.p.end = end
		w.p.count++
		w.done = w.done[1:]
	}
}

// spoilt gives up the content that is being written: not a byte of it is kept.
func (w *writer) spoilt() error {
	w.open = nil
	if err := w.flush(); err != nil {
		return err
	}
	w.at = w.p.end
	return w.p.f.Truncate(w.at)
}

// finish ends the writing. All that is whole is kept: if ok, for good.
func (w *writer) finish(ok bool) error {
	err := w.out.Flush()
	if !ok {
		err = nil // no news: writing has failed already
	}
	w.s.mu.Lock()
	w.publish()
	p, o := w.p, w.open
	if o != nil && !w.full && o.have > 0 && w.at > o.at {
		p.rest = &tail{found: o.found, have: min(o.size, w.at-o.at)}
	}
	empty := p.count == 0 && p.rest == nil
	w.s.mu.Unlock()
	// The part is busy and locked: nobody else touches it, and others need not
	// wait for the disk.
	ok = ok && err == nil && !empty
	if ok {
		err = p.settle()
		ok = err == nil
	} else {
		err = errors.Join(err, p.trim(true))
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	switch {
	case ok:
		err = p.seal(w.s.root)
	case empty:
		err = errors.Join(err, w.s.root.Remove(p.name()), w.s.drop(p))
	}
	p.busy = false
	return errors.Join(err, p.unlock())
}
