package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	sharedTemp = "mode=1777,size=50%"
	hiddenTemp = "mode=0755,size=64k,nr_inodes=1k"
	plainMount = unix.MS_NOSUID | unix.MS_NODEV
)

// tempDirs are those that every program may write to; inside, they are the
// sandbox's own.
var tempDirs = []string{"/tmp", "/var/tmp"}

// alwaysHidden are the ways to a neighbour, or to a daemon that does as root
// what it is told, that a machine commonly has.
var alwaysHidden = []string{
	"/root", "/run/user", "/run/docker.sock", "/run/containerd/containerd.sock",
	"/run/podman", "/run/crio/crio.sock", "/run/snapd.socket", "/run/dbus", "/run/systemd/private",
}

// homes is where dotCloud's only user lived.
const homes = "/home"

// mount makes the view: all of the system read-only, hidden places empty, the
// app's own directories at their own paths, temporary files and /proc private.
func (s *spec) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	// Everything that is to be seen is opened before anything is covered.
	base, err := cloneTree(s.Base)
	if err != nil {
		return err
	}
	writable := make([]int, len(s.Writable))
	for i, path := range s.Writable {
		if writable[i], err = cloneTree(path); err != nil {
			return err
		}
	}
	temps := make([]int, 0, len(tempDirs))
	for range tempDirs {
		fd, err := cloneTree(s.Temp)
		if err != nil {
			return err
		}
		temps = append(temps, fd)
	}
	if err := readOnly("/"); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("make the system read-only: %w", err)
	}
	for _, path := range s.covers() {
		if err := cover(path); err != nil {
			return err
		}
	}
	if s.DotCloud != "" {
		if err := os.Symlink(s.DotCloud, filepath.Join(homes, "dotcloud")); err != nil {
			return fmt.Errorf("make the home of dotCloud's: %w", err)
		}
	}
	for i, dir := range tempDirs {
		if err := mountTemp(dir, temps[i], within(s.Base, dir)); err != nil {
			return err
		}
	}
	if err := mountOver("/dev/shm", "tmpfs", plainMount, sharedTemp); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Base, 0o755); err != nil {
		return fmt.Errorf("make the way to the app: %w", err)
	}
	if err := attach(base, s.Base); err != nil {
		return err
	}
	if err := remountReadOnly(s.Base); err != nil {
		return fmt.Errorf("make %s read-only: %w", s.Base, err)
	}
	for i, path := range s.Writable {
		if err := attach(writable[i], path); err != nil {
			return err
		}
	}
	if s.Processes {
		return mountOver("/proc", "proc", plainMount|unix.MS_NOEXEC, "")
	}
	return nil
}

// covers lists what is covered by an empty directory, topmost first and
// nothing below another: what is hidden, and the topmost parent of Base that
// its owner could not pass.
func (s *spec) covers() []string {
	var list []string
	hidden := append(slices.Clone(s.Hidden), alwaysHidden...)
	if s.DotCloud != "" { // a name can be put only into a directory that is ours
		hidden = append(hidden, homes)
	}
	for _, path := range hidden {
		if real, err := filepath.EvalSymlinks(path); err == nil { // what is not there needs no cover
			list = append(list, real)
		}
	}
	if s.Owner.set() {
		for _, dir := range parents(s.Base) {
			if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
				list = append(list, dir)
				break
			}
		}
	}
	slices.Sort(list)
	var top []string
	for _, path := range list {
		inTemp := slices.ContainsFunc(tempDirs, func(dir string) bool { return within(path, dir) })
		below := slices.ContainsFunc(top, func(dir string) bool { return within(path, dir) })
		if path != "/" && !inTemp && !below && !within("/proc", path) && !within("/dev", path) {
			top = append(top, path)
		}
	}
	return top
}

// parents lists the directories above path, from the top.
func parents(path string) []string {
	var list []string
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		list = append(list, dir)
	}
	slices.Reverse(list)
	return list
}

// within says whether path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// cover hides a directory behind an empty one, and a file behind an empty one.
func cover(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return mountOver(path, "tmpfs", plainMount, hiddenTemp)
	}
	fd, err := cloneTree("/dev/null")
	if err != nil {
		return err
	}
	return attach(fd, path)
}

// mountTemp puts a directory of the app over a common one; where the app itself
// lies below the common one, an empty one is put there in its stead.
func mountTemp(dir string, fd int, holdsApp bool) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if holdsApp {
		return mountOver(dir, "tmpfs", plainMount, sharedTemp)
	}
	return attach(fd, dir)
}

func mountOver(path, kind string, flags uintptr, data string) error {
	if err := unix.Mount("slipway", path, kind, flags, data); err != nil {
		return fmt.Errorf("mount over %s: %w", path, err)
	}
	return nil
}

// cloneTree opens a mount of path that is not attached anywhere yet, and so
// can be attached even when every way to path is covered.
func cloneTree(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

func attach(fd int, path string) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("bind %s: %w", path, err)
	}
	return unix.Close(fd)
}

// readOnly makes a mount, and every mount below it, read-only.
func readOnly(path string) error {
	return unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// remountReadOnly makes one mount read-only on kernels old and new.
func remountReadOnly(path string) error {
	err := unix.MountSetattr(unix.AT_FDCWD, path, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if !errors.Is(err, unix.ENOSYS) {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	// A user namespace may not clear what was set outside of it.
	keep := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if st.Flags&unix.ST_RELATIME != 0 {
		keep |= unix.MS_RELATIME
	}
	return unix.Mount("", path, "", keep|unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// probeMounts tries what a view needs, in a namespace that is thrown away.
func probeMounts() mounts {
	var found mounts
	if unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
		return found
	}
	fd, err := cloneTree("/usr")
	if err != nil {
		return found
	}
	found.ReadOnly = readOnly("/") == nil
	if mountOver("/tmp", "tmpfs", plainMount, hiddenTemp) == nil && os.Mkdir("/tmp/usr", 0o755) == nil {
		found.View = attach(fd, "/tmp/usr") == nil
	}
	found.Proc = mountOver("/proc", "proc", plainMount|unix.MS_NOEXEC, "") == nil
	return found
}
