package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// restrict gives up, for this thread and all that it starts, what a command
// does not need: limits first, then new privileges, capabilities, files.
func (s *spec) restrict() error {
	unix.Umask(0o022)
	if err := s.limit(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if s.Landlock > 0 {
		if err := s.landlock(); err != nil {
			return fmt.Errorf("landlock: %w", err)
		}
	}
	return dropCapabilities()
}

// limit sets resource limits, none above what this process has itself.
func (s *spec) limit() error {
	set := func(what string, resource int, n uint64) error {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return fmt.Errorf("limit of %s: %w", what, err)
		}
		n = min(n, now.Max)
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("limit of %s: %w", what, err)
		}
		return nil
	}
	err := set("core files", unix.RLIMIT_CORE, 0)
	if s.MaxFiles > 0 {
		err = errors.Join(err, set("open files", unix.RLIMIT_NOFILE, uint64(s.MaxFiles)))
	}
	// The kernel counts processes by account: a limit would count those of
	// others too where the account is not the app's alone.
	if s.MaxProcesses > 0 && s.Counted {
		err = errors.Join(err, set("processes", unix.RLIMIT_NPROC, uint64(s.MaxProcesses)))
	}
	if s.MaxMemory > 0 {
		err = errors.Join(err, set("memory", unix.RLIMIT_DATA, uint64(s.MaxMemory)))
	}
	return err
}

// lastCapability is above every one that a kernel knows.
const lastCapability = 63

// dropCapabilities empties the bounding, the ambient and the inheritable set.
// What is left in the others goes with the change of user, or with exec.
func dropCapabilities() error {
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("ambient capabilities: %w", err)
	}
	for c := range uintptr(lastCapability + 1) {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
			// No such capability; or we have none to drop, and no new
			// privileges may come from files either.
			break
		}
		if err != nil {
			return fmt.Errorf("bounding capabilities: %w", err)
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	if err := unix.Capset(&head, &sets[0]); err != nil {
		return fmt.Errorf("inheritable capabilities: %w", err)
	}
	return nil
}

// Rights over files, in the words of the kernel.
const (
	accessRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	accessAll  = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV<<1 - 1 // up to ABI 5; connecting to sockets stays free
)

// devices are those that programs open for writing.
var devices = []string{
	"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx",
}

// landlock lets this process, and all that it starts, write only what is the
// app's own, read only what is in view, and reach no process outside by signal
// or abstract socket, as far as the kernel's version goes.
func (s *spec) landlock() error {
	scopes := landlock.ScopedSet(unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
	if !s.Survive { // a restart command must reach what the last one started
		scopes |= unix.LANDLOCK_SCOPE_SIGNAL
	}
	config, err := landlock.NewConfig(landlock.AccessFSSet(accessAll), scopes)
	if err != nil {
		return err
	}
	own := append(slices.Clone(s.Writable), s.Temp)
	if s.Mounts {
		own = append(own, "/tmp", "/var/tmp", "/dev/shm")
	}
	write := landlock.RWDirs(own...).WithIoctlDev().IgnoreIfMissing()
	if s.Landlock >= 2 { // the first version cannot grant it, and never does
		write = write.WithRefer()
	}
	return config.BestEffort().Restrict(
		write,
		landlock.RODirs(s.readable()...).IgnoreIfMissing(),
		landlock.RWFiles(devices...).WithIoctlDev().IgnoreIfMissing(),
		landlock.RWDirs("/dev/pts").WithIoctlDev().IgnoreIfMissing(),
		landlock.PathAccess(accessRead|unix.LANDLOCK_ACCESS_FS_WRITE_FILE|unix.LANDLOCK_ACCESS_FS_TRUNCATE, "/proc"),
	)
}

// readable lists what may be read. With a view of its own that is everything
// in it; without one, everything but what is hidden, as rules can only allow.
func (s *spec) readable() []string {
	if s.Mounts {
		return []string{"/"}
	}
	list := []string{s.Base}
	var visit func(dir string)
	visit = func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return // what we cannot list, the app is not to read
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case slices.ContainsFunc(s.Hidden, func(p string) bool { return within(path, p) }):
			case slices.ContainsFunc(s.Hidden, func(p string) bool { return within(p, path) }):
				visit(path)
			case !e.IsDir() && e.Type() != os.ModeSymlink: // a rule for directories fits no file
			default:
				list = append(list, path)
			}
		}
	}
	visit("/")
	return list
}

// raiseLoopback turns on the only interface that a new network namespace has.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
