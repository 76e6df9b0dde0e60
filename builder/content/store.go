package content

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Store keeps contents in a directory, in packs. All of its methods may run at
// once, and so may other processes on the same directory.
type Store struct {
	dir  string
	root *os.Root

	mu    sync.Mutex
	packs map[string]*pack // by stem
	index map[key]place
}

// place is where a content is.
type place struct {
	pack *pack
	at   int64
	size int64
}

// Open opens the store in dir, and makes dir where it is not there yet. What a
// process that is gone has left unfinished is read, and cut off where it is
// damaged.
func Open(dir string) (*Store, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, root: root, packs: map[string]*pack{}, index: map[key]place{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the contents in %s: %w", dir, err), s.close())
	}
	return s, nil
}

// Close lets go of the files. Nothing else of the store may run.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close()
}

func (s *Store) close() error {
	err := s.root.Close()
	for _, p := range s.packs {
		err = errors.Join(err, p.f.Close())
	}
	clear(s.packs)
	clear(s.index)
	return err
}

// refresh takes notice of what other processes have added and removed.
func (s *Store) refresh() error {
	names, err := s.names()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, name := range names {
		stem, sealed := strings.CutSuffix(name, sealedExt)
		if !sealed {
			var part bool
			if stem, part = strings.CutSuffix(name, partExt); !part {
				continue
			}
		}
		there[stem] = true
		if err := s.look(stem, sealed); err != nil {
			return err
		}
	}
	for stem, p := range s.packs {
		if !there[stem] && !p.busy {
			if err := s.drop(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) names() (names []string, err error) {
	d, err := s.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if names, err = d.Readdirnames(-1); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// look opens one pack or part, or reads on in it.
func (s *Store) look(stem string, sealed bool) error {
	p := s.packs[stem]
	switch {
	case p == nil:
		mode := os.O_RDWR
		if sealed {
			mode = os.O_RDONLY
		}
		name := (&pack{stem: stem, sealed: sealed}).name()
		f, err := s.root.OpenFile(name, mode, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // sealed or removed since the directory was read
		}
		if err != nil {
			return err
		}
		p = &pack{stem: stem, f: f, sealed: sealed}
		s.packs[stem] = p
	case p.busy, p.sealed:
		return nil
	case sealed: // by another process
		p.sealed, p.rest = true, nil
	}
	if err := p.read(func(f found) { s.add(p, f) }); err != nil || p.sealed {
		return err
	}
	return s.idle(p)
}

// idle tidies a part that nobody appends to: what is behind its whole records
// goes, but for an unfinished one, which may be wanted yet.
func (s *Store) idle(p *pack) (err error) {
	mine, err := p.lock(s.root)
	if err != nil || !mine {
		p.rest = nil // not ours to resume
		return err
	}
	defer func() { err = errors.Join(err, p.unlock()) }()
	// Its holder may have written more before it let go.
	if err := p.read(func(f found) { s.add(p, f) }); err != nil {
		return err
	}
	if err := p.trim(true); err != nil {
		return err
	}
	if p.count == 0 && p.rest == nil {
		if err := s.root.Remove(p.name()); err != nil {
			return err
		}
		return s.drop(p)
	}
	return nil
}

// add puts a record into the index.
func (s *Store) add(p *pack, f found) {
	if old, ok := s.index[f.key]; ok && old.pack != p && old.pack.newer(p) {
		return
	}
	s.index[f.key] = place{pack: p, at: f.at, size: f.size}
}

// drop forgets a pack. Who reads it still has its file.
func (s *Store) drop(p *pack) error {
	for k, at := range s.index {
		if at.pack == p {
			delete(s.index, k)
		}
	}
	delete(s.packs, p.stem)
	p.gone = true
	if p.uses == 0 {
		return p.f.Close()
	}
	return nil
}

// create makes a new part, and locks it.
func (s *Store) create() (*pack, error) {
	// Between its making and its lock, another process may take a part for one
	// that nobody holds, and remove it.
	for range 16 {
		var unique [4]byte
		if _, err := rand.Read(unique[:]); err != nil {
			return nil, err
		}
		p := &pack{stem: fmt.Sprintf("%016x-%s", s.last()+1, hex.EncodeToString(unique[:]))}
		f, err := s.root.OpenFile(p.name(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		p.f = f
		mine, err := p.lock(s.root)
		if mine {
			s.packs[p.stem] = p
			return p, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("other processes take every new part of the store")
}

// last is the highest number of a pack.
func (s *Store) last() (last uint64) {
	for stem := range s.packs {
		number, _, _ := strings.Cut(stem, "-")
		if n, err := strconv.ParseUint(number, 16, 64); err == nil {
			last = max(last, n)
		}
	}
	return last
}

// Missing lists the contents of l that are not in the store, each once. That
// of which a cut left the beginning comes first, to go on at its Offset.
func (s *Store) Missing(l *List) ([]Want, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, err
	}
	begun := map[key]*pack{}
	for _, p := range s.packs {
		if !p.busy && p.rest != nil {
			begun[p.rest.key] = p
		}
	}
	var wants []Want
	first := -1
	seen := map[key]bool{}
	for i := range l.Files() {
		f := &l.files[i]
		k := f.key()
		if f.Mode == Directory || seen[k] {
			continue
		}
		if _, ok := s.index[k]; ok {
			continue
		}
		seen[k] = true
		w := Want{Index: i}
		if p := begun[k]; p != nil && (f.Size < 0 || f.Size == p.rest.size) &&
			(first < 0 || p.rest.have > wants[first].Offset) {
			if first >= 0 {
				wants[first].Offset = 0
			}
			first, w.Offset = len(wants), p.rest.have
		}
		wants = append(wants, w)
	}
	if first > 0 {
		w := wants[first]
		copy(wants[1:first+1], wants[:first])
		wants[0] = w
	}
	return wants, nil
}
