package content

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sealedExt = ".pack"
	partExt   = ".part"
)

// pack is an append-only file of records. Until it is sealed, which syncs and
// renames it, it is a part: whoever appends to one holds its lock. Records
// that are whole are never changed, so everybody may read them.
type pack struct {
	stem   string
	f      *os.File
	sealed bool
	busy   bool  // something of this process appends to it
	end    int64 // where the last whole record ends
	rest   *tail // of a part: what a cut left behind that
	count  int   // records
	uses   int   // who reads it besides the store
	gone   bool  // it is not of the store any more
	bad    bool  // it ends before its last record
}

func (p *pack) name() string {
	if p.sealed {
		return p.stem + sealedExt
	}
	return p.stem + partExt
}

// newer says whether p holds what came later: a content that is twice there is
// taken from the newer pack.
func (p *pack) newer(q *pack) bool { return p.stem > q.stem }

// lock takes the part for appending, if nobody else has it and it is still
// what its name says.
func (p *pack) lock(root *os.Root) (bool, error) {
	err := unix.Flock(int(p.f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", p.name(), err)
	}
	mine, err := p.f.Stat()
	if err != nil {
		return false, errors.Join(err, p.unlock())
	}
	there, err := root.Lstat(p.name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
		return false, p.unlock()
	}
	if err != nil {
		return false, errors.Join(err, p.unlock())
	}
	return true, nil
}

// unlock lets go of the part. One that is gone was closed, or is of no more use
// to others.
func (p *pack) unlock() error {
	if p.gone {
		return nil
	}
	return os.NewSyscallError("flock", unix.Flock(int(p.f.Fd()), unix.LOCK_UN))
}

// read finds the records that are new since the last time. What was never
// sealed is read whole: a power cut may have left anything there.
func (p *pack) read(each func(found)) error {
	st, err := p.f.Stat()
	if err != nil {
		return err
	}
	if st.Size() < p.end {
		return fmt.Errorf("%s has become shorter", p.name())
	}
	p.end, p.rest, err = scan(p.f, p.end, st.Size(), !p.sealed, func(f found) {
		p.count++
		each(f)
	})
	p.bad = p.sealed && p.end != st.Size()
	if err != nil {
		return fmt.Errorf("read %s: %w", p.name(), err)
	}
	return nil
}

// trim cuts off what no record accounts for, with the unfinished one if keep is
// false. Only the lock's holder may.
func (p *pack) trim(keep bool) error {
	to := p.end
	if keep && p.rest != nil {
		to = p.rest.at + p.rest.have
	} else {
		p.rest = nil
	}
	st, err := p.f.Stat()
	if err != nil || st.Size() == to {
		return err
	}
	return p.f.Truncate(to)
}

// settle puts a part's records on disk, and nothing else.
func (p *pack) settle() error {
	if err := p.trim(false); err != nil {
		return err
	}
	return p.f.Sync()
}

// seal makes a settled part a pack. Its lock stays.
func (p *pack) seal(root *os.Root) error {
	if err := root.Rename(p.stem+partExt, p.stem+sealedExt); err != nil {
		return err
	}
	p.sealed = true
	return syncDir(root)
}

func syncDir(root *os.Root) (err error) {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Sync()
}

// age is how long ago something was appended.
func (p *pack) age(now time.Time) (time.Duration, error) {
	st, err := p.f.Stat()
	if err != nil {
		return 0, err
	}
	return now.Sub(st.ModTime()), nil
}
