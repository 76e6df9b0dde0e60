package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// termGrace is how long what runs in a sandbox may take to end itself once it
// was asked to.
const termGrace = 2 * time.Second

// SandboxMain is the first process of a sandbox: it makes the view that the
// command sees, drops every right, starts the command, reaps what is orphaned,
// and ends all that is left when the command has ended, or as soon as the
// process that asked for it is gone. Its result is an exit status.
func SandboxMain() int {
	unix.Umask(0o022) // the server's may be tighter, and what it makes here must be passed by others
	asked := make(chan os.Signal, 4)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	unix.CloseRange(specFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) // fails only where the descriptors are ours alone anyway
	for fd := specFD; fd <= reportFD; fd++ {
		unix.CloseOnExec(fd)
	}
	out := os.NewFile(reportFD, "report")
	r := sandbox(asked)
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return 1
	}
	return 0
}

func sandbox(asked <-chan os.Signal) report {
	// Others of the same user must not read the spec out of this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return failed("hide the sandbox's memory", err)
	}
	var s spec
	in := os.NewFile(specFD, "spec")
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return failed("read the sandbox's spec", err)
	}
	in.Close()
	if s.Probe {
		return report{Found: probeMounts()}
	}
	if !s.Processes && !s.Survive {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return failed("become the parent of orphans", err)
		}
	}
	if s.Mounts {
		if err := s.mount(); err != nil {
			return failed("make the sandbox's view of the files", err)
		}
	}
	if s.Loopback {
		if err := raiseLoopback(); err != nil {
			return failed("raise the loopback interface", err)
		}
	}
	// What a thread gives up stays given up in what it starts, so only this
	// one is restricted, and it alone starts the command.
	runtime.LockOSThread()
	if err := s.restrict(); err != nil {
		return failed("give up rights", err)
	}
	pid, err := s.start()
	if err != nil {
		var errno syscall.Errno
		errors.As(err, &errno)
		return report{Error: fmt.Sprintf("start %s: %v", s.Argv[0], err), Errno: errno}
	}
	ended := make(chan struct{})
	go s.watch(asked, pid, ended)
	status := reap(pid)
	close(ended)
	if !s.Processes && !s.Survive {
		killDescendants()
	}
	if status.Signaled() {
		return report{Signal: status.Signal()}
	}
	return report{Status: status.ExitStatus()}
}

func failed(what string, err error) report {
	return report{Error: fmt.Sprintf("%s: %v", what, err)}
}

// start runs the command in a session of its own.
func (s *spec) start() (pid int, err error) {
	attr := &syscall.ProcAttr{
		Dir: s.Dir, Env: s.Env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: s.TTY},
	}
	if s.Owner.set() {
		c := &syscall.Credential{Uid: uint32(s.Owner.UID), Gid: uint32(s.Owner.GID)}
		for _, g := range s.Owner.Groups {
			c.Groups = append(c.Groups, uint32(g))
		}
		attr.Sys.Credential = c
	}
	program, err := s.lookPath()
	if err != nil {
		return 0, err
	}
	return syscall.ForkExec(program, s.Argv, attr)
}

// lookPath finds the command by the PATH that it is to have; one with a slash
// in its name is sought from its own directory, as a shell there would.
func (s *spec) lookPath() (string, error) {
	name := s.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, v := range s.Env {
		list, ok := strings.CutPrefix(v, "PATH=")
		for _, dir := range filepath.SplitList(list) {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); ok && err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", syscall.ENOENT
}

// watch passes on what the caller asks for: a signal asks everything to end,
// and is followed by a kill; a caller that is gone ends everything at once.
func (s *spec) watch(asked <-chan os.Signal, pid int, ended <-chan struct{}) {
	gone := make(chan struct{})
	if !s.Survive {
		go func() {
			// Nothing is ever written: a read ends with the other side.
			io.Copy(io.Discard, os.NewFile(lifeFD, "life"))
			close(gone)
		}()
	}
	var late <-chan time.Time
	for {
		select {
		case <-ended:
			return
		case <-asked:
			s.kill(pid, syscall.SIGTERM)
			if late == nil {
				late = time.After(termGrace)
			}
		case <-late:
			s.kill(pid, syscall.SIGKILL)
		case <-gone:
			s.kill(pid, syscall.SIGKILL)
			if !s.Processes {
				killDescendants()
			}
			os.Exit(1) // the kernel ends what is left of a process namespace
		}
	}
}

// kill signals everything in the process namespace, or else the command's
// process group. An error means that nothing was left to signal.
func (s *spec) kill(pid int, sig syscall.Signal) {
	if s.Processes {
		syscall.Kill(-1, sig)
		return
	}
	syscall.Kill(-pid, sig)
}

// reap waits for the command, and for every orphan that ends before it.
func reap(pid int) syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		if got == pid {
			return status
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			// The child is ours and was never waited for, so this cannot be.
			panic("wait for the command: " + err.Error())
		}
	}
}
