package content

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockName = "lock"

	// As many packs as this may be small; then they become one, as each costs
	// an open file.
	smallPacks = 16
	smallPack  = 1 << 20
)

// Keep removes the contents that none of lists has. What came less than young
// ago stays, as it may be of a list that is not among them yet, and so does a
// pack of which half or more is needed. While another process does the same
// Keep does nothing.
func (s *Store) Keep(ctx context.Context, lists []*List, young time.Duration) (err error) {
	lock, err := s.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("flock", err)
	}
	live := map[key]bool{}
	for _, l := range lists {
		for i := range l.Files() {
			if f := &l.files[i]; f.Mode != Directory {
				live[f.key()] = true
			}
		}
	}
	if err := s.sealIdle(young); err != nil {
		return err
	}
	sparse, err := s.sweep(live, young)
	if err != nil || len(sparse) == 0 {
		return err
	}
	return s.rewrite(ctx, sparse)
}

// sealIdle makes packs of the parts that nobody appends to. An unfinished
// content is given up when it is not young.
func (s *Store) sealIdle(young time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return err
	}
	for _, p := range s.packs {
		if p.sealed || p.busy {
			continue
		}
		age, err := p.age(time.Now())
		if err != nil {
			return err
		}
		if p.rest != nil && age < young {
			continue
		}
		if err := s.sealOne(p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) sealOne(p *pack) (err error) {
	mine, err := p.lock(s.root)
	if err != nil || !mine {
		return err
	}
	defer func() { err = errors.Join(err, p.unlock()) }()
	if err := p.read(func(f found) { s.add(p, f) }); err != nil {
		return err
	}
	if p.count == 0 {
		return errors.Join(s.root.Remove(p.name()), s.drop(p))
	}
	if err := p.settle(); err != nil {
		return err
	}
	return p.seal(s.root)
}

// record is a content in a pack.
type record struct {
	key key
	place
}

// sweep removes the packs in which nothing is live, and gives the live records
// of those that are better written anew, by pack.
func (s *Store) sweep(live map[key]bool, young time.Duration) (map[*pack][]record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := map[*pack][]record{}
	bytes := map[*pack]int64{}
	for k, at := range s.index {
		if live[k] {
			records[at.pack] = append(records[at.pack], record{k, at})
			bytes[at.pack] += headerSize + at.size + crcSize
		}
	}
	sparse := map[*pack][]record{}
	var small []*pack
	for _, p := range s.packs {
		if !p.sealed || p.busy {
			continue
		}
		age, err := p.age(time.Now())
		if err != nil {
			return nil, err
		}
		switch {
		case age < young:
		case len(records[p]) == 0:
			if err := s.remove(p); err != nil {
				return nil, err
			}
		case p.bad || bytes[p] < p.end/2:
			sparse[p] = records[p]
		case p.end < smallPack:
			small = append(small, p)
		}
	}
	if len(small) > smallPacks {
		for _, p := range small {
			sparse[p] = records[p]
		}
	}
	return sparse, nil
}

func (s *Store) remove(p *pack) error {
	return errors.Join(s.root.Remove(p.name()), s.drop(p))
}

// rewrite puts the records into one new pack, and removes theirs.
func (s *Store) rewrite(ctx context.Context, sparse map[*pack][]record) error {
	var all []record
	for _, records := range sparse {
		all = append(all, records...)
	}
	slices.SortFunc(all, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.pack.stem, b.pack.stem), cmp.Compare(a.at, b.at))
	})
	need := func(blockSize int64) room {
		n := room{bytes: 4 * blockSize, inodes: 1}
		for _, r := range all {
			n.bytes += headerSize + r.size + crcSize
		}
		return n
	}
	if err := checkRoom(s.dir, need); err != nil {
		return err
	}
	w, err := s.fresh()
	if err != nil {
		return explain(s.dir, need, err)
	}
	from := s.use(sparse)
	err = errors.Join(w.copyAll(ctx, all), from.release())
	// What was copied before an error is no loss: it counts from then on.
	if err := errors.Join(err, w.finish(err == nil)); err != nil {
		return explain(s.dir, need, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range sparse {
		if s.packs[p.stem] == p {
			err = errors.Join(err, s.remove(p))
		}
	}
	return err
}

// use keeps the packs readable until release.
func (s *Store) use(packs map[*pack][]record) *sources {
	from := &sources{s: s, packs: map[*pack]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range packs {
		from.packs[p] = true
		p.uses++
	}
	return from
}

func (w *writer) copyAll(ctx context.Context, all []record) error {
	buf := make([]byte, 128<<10)
	for _, r := range all {
		if err := w.copyOne(ctx, r, buf); err != nil {
			return err
		}
	}
	return nil
}

// copyOne copies a record. A damaged one, or one that cannot be read any more,
// is left out, and so missing from then on.
func (w *writer) copyOne(ctx context.Context, r record, buf []byte) error {
	if err := w.begin(r.key, 0, r.size); err != nil {
		return err
	}
	for at := int64(0); at < r.size; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := buf[:min(int64(len(buf)), r.size-at)]
		if _, err := r.pack.f.ReadAt(b, r.at+at); err != nil {
			return w.spoilt()
		}
		if err := w.write(b); err != nil {
			return err
		}
		at += int64(len(b))
	}
	var sum [crcSize]byte
	if _, err := r.pack.f.ReadAt(sum[:], r.at+r.size); err != nil || binary.BigEndian.Uint32(sum[:]) != w.open.crc {
		return w.spoilt()
	}
	return w.end()
}
