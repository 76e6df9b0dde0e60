package content

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
)

// ErrMissing is what an error is when a store lacks a content, or has it
// damaged: what Missing then lists has to be received, and all is well.
var ErrMissing = errors.New("not in the store")

// sources are the places of contents, which stay readable until release.
type sources struct {
	s      *Store
	places map[key]place
	packs  map[*pack]bool

	// What the kernel cannot do between the two file systems is not asked for
	// again.
	noClone, noRange atomic.Bool
}

// take finds all contents of files.
func (s *Store) take(files []*File) (*sources, error) {
	from := &sources{s: s, places: make(map[key]place, len(files)), packs: map[*pack]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		if f.Mode == Directory {
			continue
		}
		at, ok := s.index[f.key()]
		if !ok {
			return nil, fmt.Errorf("the content of %s is %w", show(f.Path), ErrMissing)
		}
		if f.Size >= 0 && f.Size != at.size {
			return nil, fmt.Errorf("the content of %s has %d bytes in the store, not %d", show(f.Path), at.size, f.Size)
		}
		from.places[f.key()] = at
		from.packs[at.pack] = true
	}
	for p := range from.packs {
		p.uses++
	}
	return from, nil
}

func (from *sources) release() (err error) {
	from.s.mu.Lock()
	defer from.s.mu.Unlock()
	for p := range from.packs {
		if p.uses--; p.uses == 0 && p.gone {
			err = errors.Join(err, p.f.Close())
		}
	}
	return err
}

// read gives a whole content, in buf where that is large enough. One that is
// damaged is forgotten, so that it is missing the next time.
func (from *sources) read(f *File, at place, buf []byte) ([]byte, error) {
	if need := int(at.size) + crcSize; cap(buf) < need {
		buf = make([]byte, need)
	} else {
		buf = buf[:need]
	}
	if _, err := at.pack.f.ReadAt(buf, at.at); err != nil {
		from.forget(f.key(), at)
		return nil, fmt.Errorf("the content of %s is %w any more: read %s: %w", show(f.Path), ErrMissing, at.pack.stem, err)
	}
	b := buf[:at.size]
	if crc32.Checksum(b, crcTable()) != binary.BigEndian.Uint32(buf[at.size:]) {
		from.forget(f.key(), at)
		return nil, fmt.Errorf("the content of %s is %w any more: %s is damaged", show(f.Path), ErrMissing, at.pack.stem)
	}
	return b, nil
}

func (from *sources) forget(k key, at place) {
	from.s.mu.Lock()
	defer from.s.mu.Unlock()
	if from.s.index[k] == at {
		delete(from.s.index, k)
	}
}
