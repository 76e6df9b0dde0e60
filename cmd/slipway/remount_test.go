package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	envRemount = "SLIPWAY_TEST_REMOUNT"     // set for the process that may mount for the test
	envTalk    = "SLIPWAY_TEST_REMOUNT_FDS" // the descriptors to talk to it by
)

// startRemounter starts a process that keeps the right to mount, which the test
// gives up, and leaves the descriptors to talk to it for the test that follows
// in this process.
func startRemounter() error {
	var ask, answer [2]int
	if err := errors.Join(unix.Pipe2(ask[:], 0), unix.Pipe2(answer[:], 0)); err != nil {
		return err
	}
	unix.CloseOnExec(ask[1])
	unix.CloseOnExec(answer[0])
	in, out := os.NewFile(uintptr(ask[0]), "ask"), os.NewFile(uintptr(answer[1]), "answer")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envRemount+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	err := cmd.Start()
	if err = errors.Join(err, in.Close(), out.Close()); err != nil {
		return err
	}
	for _, fd := range []int{ask[1], answer[0]} { // kept over the exec
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	os.Setenv(envTalk, fmt.Sprintf("%d %d", ask[1], answer[0]))
	return nil
}

// remountDisks makes directories read-only, and writable again, until its input
// ends: "ro DIR", "rw DIR". What is open in DIR stays writable, as no kernel
// makes a file system read-only that is being written to.
func remountDisks() int {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		how, dir, _ := strings.Cut(in.Text(), " ")
		var err error
		if how == "ro" {
			if err = unix.Mount(dir, dir, "", unix.MS_BIND, ""); err == nil {
				err = unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
			}
		} else {
			err = unix.Unmount(dir, unix.MNT_DETACH)
		}
		fmt.Println(err)
	}
	return 0
}

// remounter asks the process that may mount.
type remounter struct {
	mu  sync.Mutex
	in  *os.File
	out *bufio.Scanner
}

func newRemounter(t *testing.T) *remounter {
	t.Helper()
	var ask, answer int
	if _, err := fmt.Sscan(os.Getenv(envTalk), &ask, &answer); err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(ask)
	syscall.CloseOnExec(answer)
	r := &remounter{in: os.NewFile(uintptr(ask), "ask"), out: bufio.NewScanner(os.NewFile(uintptr(answer), "answer"))}
	t.Cleanup(func() { r.in.Close() })
	return r
}

// tell makes a directory read-only ("ro") or writable ("rw").
func (r *remounter) tell(how, dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := fmt.Fprintln(r.in, how, dir); err != nil {
		return err
	}
	if !r.out.Scan() {
		return errors.Join(errors.New("whoever may mount has ended"), r.out.Err())
	}
	if said := r.out.Text(); said != "<nil>" {
		return fmt.Errorf("%s %s: %s", how, dir, said)
	}
	return nil
}
