package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// openDir opens a directory itself, never what a link there leads to.
func openDir(parent int, name string) (int, error) {
	return unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// chownAll gives a directory and all below it to an account, and follows no
// link, whatever happens in there meanwhile.
func chownAll(path string, o owner) error {
	if !o.set() {
		return nil
	}
	fd, err := openDir(unix.AT_FDCWD, path)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	if err := unix.Fchown(fd, o.UID, o.GID); err != nil {
		return &os.PathError{Op: "chown", Path: path, Err: err}
	}
	return chownBelow(dir, o)
}

func chownBelow(dir *os.File, o owner) error {
	fd := int(dir.Fd())
	for {
		entries, err := dir.ReadDir(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir.Name(), e.Name())
			err := unix.Fchownat(fd, e.Name(), o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return &os.PathError{Op: "chown", Path: path, Err: err}
			}
			if !e.IsDir() {
				continue
			}
			child, err := openDir(fd, e.Name())
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
				continue // it was replaced meanwhile, by its new owner
			}
			if err != nil {
				return &os.PathError{Op: "open", Path: path, Err: err}
			}
			sub := os.NewFile(uintptr(child), path)
			err = errors.Join(chownBelow(sub, o), sub.Close())
			if err != nil {
				return err
			}
		}
	}
}

// removeAll removes a tree, also one whose directories were closed to us. It
// follows no link.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := openUp(unix.AT_FDCWD, path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// openUp makes every directory of a tree one that its owner may list and
// change.
func openUp(parent int, name string) error {
	// A path descriptor needs no right to the directory itself.
	fd, err := unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&0o700 != 0o700 {
		if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o700); err != nil {
			return &os.PathError{Op: "chmod", Path: name, Err: err}
		}
	}
	list, err := openDir(fd, ".")
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	dir := os.NewFile(uintptr(list), name)
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, openUp(list, e.Name()))
		}
	}
	return err
}

// makeDir makes a directory with its parents, whatever the umask is; one that
// is there is left as it is.
func makeDir(path string, mode fs.FileMode) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// lockFile takes a file for one process at a time; the kernel gives it up when
// the process ends.
func lockFile(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// syncFS makes everything of a file system durable, at once.
func syncFS(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
}
