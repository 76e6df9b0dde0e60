// Package disk says which file system did not take what was written to it: it
// is full, its quota is used up, or it is read-only; how much was needed, and
// how much is free. It knows nothing of what is written.
package disk

import (
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Room is what something takes on a file system, or what is left there. As a
// need, zero is an amount that nobody knows.
type Room struct {
	Bytes int64
	Files int64 // directories and links too
}

// Fits says whether r is left over where free is.
func (r Room) Fits(free Room) bool { return r.Bytes <= free.Bytes && r.Files <= free.Files }

// Left measures the file system of path, or of what there is above it. block
// is what the smallest file takes.
func Left(path string) (free Room, block int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(there(path), &st); err != nil {
		return Room{}, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	free = Room{Bytes: int64(st.Bavail) * st.Bsize, Files: int64(st.Ffree)}
	if st.Files == 0 { // such as btrfs: it makes them as it goes
		free.Files = 1 << 62
	}
	return free, max(1, st.Bsize), nil
}

// low is when a file system that took part of a write is as good as full.
const low = 256 << 10

// State is why the file system of path takes nothing now: ENOSPC where hardly
// anything is left, EROFS where it is read-only, 0 where it seems to be well.
// It is for who failed without being told why.
func State(path string) syscall.Errno {
	var st unix.Statfs_t
	if unix.Statfs(there(path), &st) == nil && st.Flags&unix.ST_RDONLY != 0 {
		return syscall.EROFS
	}
	if free, _, err := Left(path); err == nil && (free.Bytes < low || free.Files == 0) {
		return syscall.ENOSPC
	}
	return 0
}

// there is the nearest directory above path that exists, or path itself.
func there(path string) string {
	at := filepath.Clean(path)
	for at != "/" && at != "." {
		if _, err := os.Lstat(at); err == nil {
			break
		}
		at = filepath.Dir(at)
	}
	return at
}

// Mount is where the file system of path begins.
func Mount(path string) string {
	at := there(path)
	var st unix.Stat_t
	if unix.Stat(at, &st) != nil {
		return at
	}
	for at != "/" && at != "." {
		var above unix.Stat_t
		if unix.Stat(filepath.Dir(at), &above) != nil || above.Dev != st.Dev {
			break
		}
		at = filepath.Dir(at)
	}
	return at
}
