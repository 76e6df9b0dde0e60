package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/config"
)

// verify looks at every file that was written: git may have said nothing of
// what it left out, and an access list on the directory above may have changed
// modes, which are put right. Sizes are compared where no attribute can have
// changed the content.
func verify(ctx context.Context, m *Manifest, parts []Part, dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	attrs := make([]bool, len(parts))
	for _, e := range m.Entries {
		if isAttributes(e.Path) {
			attrs[e.Part] = true
		}
	}
	last := ""
	for i, e := range m.Entries {
		if i%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if above := parent(e.Path); above != last {
			if err := verifyDirs(fd, last, above); err != nil {
				return err
			}
			last = above
		}
		size := e.Size
		if attrs[e.Part] && e.Mode != Link {
			size = -1
		}
		if err := verifyOne(fd, e.Path, e.Mode, size); err != nil {
			return err
		}
	}
	last = ""
	for _, mo := range m.Mounts {
		if err := verifyDirs(fd, last, mo.Path); err != nil {
			return err
		}
		last = mo.Path
	}
	return nil
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// verifyDirs looks at the directories of path that are not above last too.
func verifyDirs(fd int, last, path string) error {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if i <= len(last) && last[:i] == path[:i] && (i == len(last) || last[i] == '/') {
			continue
		}
		if err := verifyOne(fd, path[:i], Directory, -1); err != nil {
			return err
		}
	}
	return nil
}

func verifyOne(fd int, path string, mode Mode, size int64) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &config.Error{Kind: config.Failed, On: show(path), Err: fmt.Errorf("was not written: %w", err)}
	}
	kind, perm := uint32(unix.S_IFREG), uint32(0o644)
	switch mode {
	case Executable:
		perm = 0o755
	case Link:
		kind, perm = unix.S_IFLNK, st.Mode&0o7777
	case Directory:
		kind, perm = unix.S_IFDIR, 0o755
	}
	if st.Mode&unix.S_IFMT != kind || size >= 0 && st.Size != size {
		return &config.Error{Kind: config.Failed, On: show(path), Err: errors.New("was not written as it is in the repository")}
	}
	if st.Mode&0o7777 != perm {
		if err := unix.Fchmodat(fd, path, perm, 0); err != nil {
			return &fs.PathError{Op: "chmod", Path: show(path), Err: err}
		}
	}
	return nil
}
