package tree

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"slipway/config"
	"slipway/store/git"
)

// room is what a tree takes on a file system, or what is left there.
type room struct{ bytes, inodes int64 }

// needs estimates from above what the tree takes: whole blocks, a block a
// directory, and git's indexes while it writes.
func needs(m *Manifest, block int64) room {
	r := room{inodes: int64(len(m.Entries) + m.Dirs + 2)}
	for _, e := range m.Entries {
		r.bytes += int64(len(e.Path)) + 80 // in the index
		if e.Mode != Link || e.Size >= 60 {
			r.bytes += (e.Size + block - 1) / block * block
		}
	}
	r.bytes += int64(m.Dirs+2) * block
	return r
}

func left(dir string) (free room, block int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return room{}, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	free = room{bytes: int64(st.Bavail) * st.Bsize, inodes: int64(st.Ffree)}
	if st.Files == 0 { // such as btrfs: it makes them as it goes
		free.inodes = 1 << 62
	}
	return free, max(1, st.Bsize), nil
}

// checkRoom refuses before the first byte is written what cannot fit.
func checkRoom(m *Manifest, dir string) error {
	free, block, err := left(dir)
	if err != nil {
		return err
	}
	need := needs(m, block)
	if need.bytes > free.bytes || need.inodes > free.inodes {
		return noRoom(dir, need, free)
	}
	return nil
}

func noRoom(dir string, need, free room) error {
	const hint = "free some space there, or keep fewer releases"
	if need.inodes > free.inodes && need.bytes <= free.bytes {
		return config.Errorf(config.Failed, hint, "the file system %s is full: the tree needs %s files, it can take %s",
			mountPoint(dir), humanize.Comma(need.inodes), humanize.Comma(free.inodes))
	}
	return config.Errorf(config.Failed, hint, "the file system %s is full: the tree needs %s, %s are free",
		mountPoint(dir), humanize.IBytes(uint64(need.bytes)), humanize.IBytes(uint64(max(0, free.bytes))))
}

// explainWrite says which file system was full, and by how much, where that is
// why writing failed.
func explainWrite(m *Manifest, dir string, err error) error {
	if err == nil {
		return nil
	}
	free, block, errLeft := left(dir)
	if errLeft != nil {
		return errors.Join(err, errLeft)
	}
	var run *git.RunError
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if errors.As(err, &run) {
		full = strings.Contains(run.Stderr, "No space left on device") || strings.Contains(run.Stderr, "Disk quota exceeded") ||
			// Git does not always say why: then the file system has to.
			strings.Contains(run.Stderr, "unable to write") && (free.inodes == 0 || free.bytes < largest(m, block))
	}
	if !full {
		return err
	}
	return noRoom(dir, needs(m, block), free)
}

// largest is what the largest file of the tree takes.
func largest(m *Manifest, block int64) int64 {
	most := int64(0)
	for _, e := range m.Entries {
		most = max(most, e.Size)
	}
	return most + block
}

// mountPoint is where the file system of dir begins.
func mountPoint(dir string) string {
	at := filepath.Clean(dir)
	var st unix.Stat_t
	if unix.Stat(at, &st) != nil {
		return at
	}
	for at != "/" {
		var above unix.Stat_t
		if unix.Stat(filepath.Dir(at), &above) != nil || above.Dev != st.Dev {
			break
		}
		at = filepath.Dir(at)
	}
	return at
}
