package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	envMount = "SLIPWAY_TEST_MOUNT" // OPTIONS=DIR, one a line, to be mounted before the tests begin
	envDisks = "SLIPWAY_TEST_DISKS" // the directories that are small disks, one a line
)

// onSmallDisks runs a test again in a process that sees small file systems, one
// for each set of tmpfs options, and gives that process their directories. An
// ordinary user may mount them in a user namespace of its own.
func onSmallDisks(t *testing.T, options ...string) []string {
	t.Helper()
	if dirs := os.Getenv(envDisks); dirs != "" {
		return strings.Split(dirs, "\n")
	}
	bin := faultBinary(t)
	var mounts []string
	for _, o := range options {
		mounts = append(mounts, o+"="+t.TempDir())
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), envMount+"="+strings.Join(mounts, "\n"), "SLIPWAY_FAULT_BINARY="+bin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
			AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
		}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == cannotMount:
		t.Skipf("this account cannot mount a small file system: %s", out)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		t.Skipf("this account cannot have file systems of its own: %v", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	}
	return nil
}

const cannotMount = 77

// mountDisks mounts what it is told and becomes the test proper, without the
// right to mount.
func mountDisks(all string) int {
	runtime.LockOSThread()
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	var dirs []string
	for _, m := range strings.Split(all, "\n") {
		i := strings.LastIndexByte(m, '=')
		dirs = append(dirs, m[i+1:])
		if err == nil {
			err = unix.Mount("tmpfs", m[i+1:], "tmpfs", 0, "mode=755,"+m[:i])
		}
	}
	if err == nil {
		err = startRemounter()
	}
	if err == nil {
		err = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	}
	if err == nil {
		os.Unsetenv(envMount)
		os.Setenv(envDisks, strings.Join(dirs, "\n"))
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return cannotMount
}

// smallDisk is a file system that the test can fill.
type smallDisk struct {
	t   *testing.T
	dir string
}

func (d smallDisk) fillers() string { return filepath.Join(d.dir, ".fill") }

// fill leaves about so many bytes.
func (d smallDisk) fill(leave int64) {
	d.t.Helper()
	var st unix.Statfs_t
	d.must(unix.Statfs(d.dir, &st))
	d.must(os.MkdirAll(d.fillers(), 0o700))
	f, err := os.OpenFile(filepath.Join(d.fillers(), "bytes"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	d.must(err)
	n := int64(st.Bavail)*st.Bsize - leave
	for block := make([]byte, 4096); n > 0; n -= int64(len(block)) {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			break
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
	d.must(f.Close())
}

// fillFiles leaves so many files.
func (d smallDisk) fillFiles(leave uint64) {
	d.t.Helper()
	d.must(os.MkdirAll(d.fillers(), 0o700))
	for i := 0; ; i++ {
		var st unix.Statfs_t
		d.must(unix.Statfs(d.dir, &st))
		if st.Ffree <= leave {
			return
		}
		err := os.WriteFile(filepath.Join(d.fillers(), strconv.Itoa(i)), nil, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		d.must(err)
	}
}

func (d smallDisk) free() { d.t.Helper(); d.must(os.RemoveAll(d.fillers())) }

func (d smallDisk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// diskUsage counts files and their bytes below a directory, but for what keep says.
func diskUsage(t *testing.T, root string, skip func(rel string) bool) (files int, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		if err != nil || skip(rel) {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			files++
			if info.Mode().IsRegular() {
				bytes += info.Size()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, bytes
}
