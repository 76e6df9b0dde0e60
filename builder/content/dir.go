package content

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// directory is an open directory. One below another is opened in a way that
// follows no link and does not leave it.
type directory struct {
	fd   int
	path string // for people
}

func openDirectory(path string) (directory, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return directory{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return directory{fd: fd, path: path}, nil
}

func (d directory) close() error { return unix.Close(d.fd) }

// below opens the directory at path, "" for d itself.
func (d directory) below(path string) (directory, error) {
	if path == "" {
		path = "."
	}
	how := &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := retry(func() (int, error) { return unix.Openat2(d.fd, path, how) })
	// Older kernels, and filters that do not know it, have no openat2.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		fd, err = d.walk(path)
	}
	if err != nil {
		return directory{}, d.explain("open", path, err)
	}
	return directory{fd: fd, path: join(d.path, path)}, nil
}

// walk opens path one name at a time.
func (d directory) walk(path string) (int, error) {
	at := d.fd
	for name := range strings.SplitSeq(path, "/") {
		fd, err := retry(func() (int, error) {
			return unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		})
		if at != d.fd {
			err = errors.Join(err, unix.Close(at))
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	return at, nil
}

func (d directory) explain(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: join(d.path, name), Err: err}
}

func join(dir, name string) string {
	if name == "." {
		return dir
	}
	return dir + "/" + name
}

// retry calls f again as long as a signal came between.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// mkdir makes a directory with 0755, whatever the umask or the access lists
// above have to say.
func (d directory) mkdir(name string) error {
	if err := unix.Mkdirat(d.fd, name, 0o755); err != nil {
		return d.explain("mkdir", name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return d.explain("stat", name, err)
	}
	if st.Mode&0o777 == 0o755 {
		return nil
	}
	return d.explain("chmod", name, unix.Fchmodat(d.fd, name, st.Mode&unix.S_ISGID|0o755, 0))
}

// perm is the mode of a file on disk.
func (m Mode) perm() uint32 {
	if m == Executable {
		return 0o755
	}
	return 0o644
}

// list gives the names in the directory. It may be called once.
func list(d directory) (names []string, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := retry(func() (int, error) { return unix.ReadDirent(d.fd, buf) })
		if err != nil {
			return nil, d.explain("read", ".", err)
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
