package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// killRounds bounds how often what was forked meanwhile is looked for.
const killRounds = 20

// endProcesses ends every process that was started with this home: what a
// restart command has left running. One that hides its environment is missed.
func endProcesses(ctx context.Context, home string) error {
	found, err := signalProcesses(ctx, home, unix.SIGTERM)
	// What was asked to end may have started others meanwhile.
	for range killRounds {
		if err != nil || found == 0 {
			return err
		}
		found, err = signalProcesses(ctx, home, unix.SIGKILL)
	}
	return fmt.Errorf("processes of %s do not end", home)
}

// signalProcesses signals every process with this home, waits a while for
// their end, and says how many there were.
func signalProcesses(ctx context.Context, home string, sig unix.Signal) (found int, err error) {
	fds, err := processesOf(home)
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, fd := range fds {
		if gone := unix.PidfdSendSignal(fd, sig, nil, 0); gone != nil && !errors.Is(gone, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("end a process of %s: %w", home, gone))
		}
	}
	if err != nil {
		return len(fds), err
	}
	_, err = waitProcesses(ctx, fds, termGrace)
	return len(fds), err
}

// processesOf returns a descriptor of each process whose HOME is home.
func processesOf(home string) (fds []int, err error) {
	want := []byte("\x00HOME=" + home + "\x00")
	for _, pid := range processes() {
		if pid == os.Getpid() {
			continue
		}
		// The descriptor first: the environment that is read then is of the
		// process that it stands for, or of none.
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ENOSYS) {
			return fds, nil
		}
		if err != nil {
			continue // it has ended
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !bytes.Contains(append([]byte{0}, env...), want) {
			unix.Close(fd)
			continue
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// waitProcesses waits until all have ended, at most for a time, and says how
// many have not.
func waitProcesses(ctx context.Context, fds []int, atMost time.Duration) (left int, err error) {
	deadline := time.Now().Add(atMost)
	for _, fd := range fds {
		for {
			if err := ctx.Err(); err != nil {
				return 0, context.Cause(ctx)
			}
			wait := max(time.Until(deadline), 0)
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return 0, err
			}
			if n == 0 {
				left++
			}
			break
		}
	}
	return left, nil
}
