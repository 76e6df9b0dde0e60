package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// AsideCommand is how this program is started for a git process that nobody
// waits for.
const AsideCommand = "git-aside"

// Behind is the nice value of what is in no hurry. It is not the lowest: what
// gets no time at all on a busy machine cannot end either when it is told to,
// and has the next start wait for it.
const Behind = 10

// RunAside is Run at a low priority, for what may take long. The processes
// that git starts for it end with this program, however that ends: one of this
// very program stands over them, and sees its input end.
func (c Cmd) RunAside(ctx context.Context) error {
	said := &Tail{Limit: maxErrors}
	c.Stderr = said
	cmd := c.Command(ctx)
	cmd.Args = append([]string{"slipway", AsideCommand, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/proc/self/exe"
	life, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer life.Close() // Wait has closed it, if the process was started
	if err = cmd.Start(); err == nil {
		err = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind in its group
	}
	return c.explain(ctx, err, said.String())
}

// AsideMain runs argv, which is git's, in the process group that it leads
// itself, and ends the group as soon as its own input ends.
func AsideMain(argv []string) int {
	if len(argv) == 0 || unix.Getpgrp() != unix.Getpid() {
		return 2 // a person has started it
	}
	// The signal goes to the whole group: git obeys it, and cleans up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // nothing is ever written
		_ = unix.Kill(0, unix.SIGKILL)       // this process too
	}()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// Git alone is nice, and what it starts: who stands over it has to be quick.
	// A nice value is that of a thread, a child takes that of the thread which
	// starts it, and a thread that was locked ends with its goroutine.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, Behind); err != nil {
			started <- fmt.Errorf("be nice: %w", err)
			return
		}
		started <- cmd.Start()
	}()
	err := <-started
	if err == nil {
		err = cmd.Wait()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	os.Stderr.WriteString(err.Error() + "\n")
	return 1
}
