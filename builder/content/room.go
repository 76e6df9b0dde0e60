package content

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"slipway/config"
)

// room is what something takes on a file system, or what is left there.
type room struct{ bytes, inodes int64 }

func left(dir string) (free room, blockSize int64, err error) {
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

// checkRoom refuses before the first byte is written what cannot fit. need
// gets the size of a block of the file system.
func checkRoom(dir string, need func(blockSize int64) room) error {
	free, blockSize, err := left(dir)
	if err != nil {
		return err
	}
	if n := need(blockSize); n.bytes > free.bytes || n.inodes > free.inodes {
		return noRoom(dir, n, free)
	}
	return nil
}

// explain says which file system was full where that is why writing failed.
func explain(dir string, need func(blockSize int64) room, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	free, blockSize, errLeft := left(dir)
	if errLeft != nil {
		return errors.Join(err, errLeft)
	}
	return noRoom(dir, need(blockSize), free)
}

func noRoom(dir string, need, free room) error {
	const hint = "free some space there, or keep fewer releases"
	// ENOSPC stays reachable: what is full on a host is told to a program.
	if need.inodes > free.inodes && need.bytes <= free.bytes {
		return config.Errorf(config.Failed, hint, "the file system %s is full: %s files are needed, it can take %s (%w)",
			mountPoint(dir), humanize.Comma(need.inodes), humanize.Comma(free.inodes), syscall.ENOSPC)
	}
	return config.Errorf(config.Failed, hint, "the file system %s is full: %s are needed, %s are free (%w)",
		mountPoint(dir), humanize.IBytes(uint64(need.bytes)), humanize.IBytes(uint64(max(0, free.bytes))), syscall.ENOSPC)
}

// mountPoint is where the file system of dir begins.
func mountPoint(dir string) string {
	at, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
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
