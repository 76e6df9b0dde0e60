package git

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// AsideCommand is how this program is started for a git process that nobody
// waits for.
const AsideCommand = "git-aside"

// lowest is the nice value of what must be in nobody's way.
const lowest = 19

// RunAside is Run at the lowest priority, for what may take long. The processes
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
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, lowest); err != nil {
		os.Stderr.WriteString("be nice: " + err.Error() + "\n")
		return 1
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // nothing is ever written
		_ = unix.Kill(0, unix.SIGKILL)       // this process too
	}()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
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
