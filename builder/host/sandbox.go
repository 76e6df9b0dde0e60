package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway/config"
)

// killAfter is when a sandbox that was asked to end is ended; its own first
// process does so before, after termGrace.
const killAfter = termGrace + time.Second

// box is one command that runs in a sandbox.
type box struct {
	spec    spec
	layers  Layers
	network bool      // the machine's own
	in      io.Reader // nil is /dev/null
	out     io.Writer
	err     io.Writer
	tty     *os.File // stands for all three

	groups string        // begins the name of its control group; "" wants none
	limits config.Limits // of the group
	over   string        // which limit of the group was reached
}

// run starts the sandbox and waits for its end, which is the end of every
// process in it but those of a command whose processes survive. If ctx ends
// first, all of them are ended, and the error is its cause.
func (b *box) run(ctx context.Context) (report, error) {
	if os.Getenv(sandboxMark) != "" {
		return report{}, fmt.Errorf("this program does not know the command %s, so it cannot start a sandbox", SandboxCommand)
	}
	if err := ctx.Err(); err != nil {
		return report{}, context.Cause(ctx)
	}
	b.spec.Mounts = b.layers.Mounts
	b.spec.Processes = b.layers.Processes && !b.spec.Survive
	b.spec.Loopback = b.layers.Network && !b.network
	b.spec.Landlock = b.layers.Landlock
	// By user namespace since Linux 5.14; Landlock's second version came later.
	b.spec.Counted = b.spec.Owner.set() || b.layers.User && b.layers.Landlock >= 2
	g, err := b.group()
	if err != nil {
		return report{}, err
	}
	if g != nil {
		// What cannot be removed now is removed when the server starts again.
		defer g.remove() //nolint:errcheck // the command has ended, and how is known
	}
	var pipes pipes
	defer pipes.close()
	specRead, specWrite := pipes.open()
	lifeRead, lifeWrite := pipes.open()
	reportRead, reportWrite := pipes.open()
	if pipes.err != nil {
		return report{}, pipes.err
	}
	cmd := exec.Command("/proc/self/exe", SandboxCommand)
	cmd.Env = []string{sandboxMark + "=1"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = b.out, b.err
	if b.tty != nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = b.tty, b.tty, b.tty
	}
	cmd.ExtraFiles = []*os.File{specFD - 3: specRead, lifeFD - 3: lifeRead, reportFD - 3: reportWrite}
	cmd.SysProcAttr = b.attributes()
	if !b.spec.Processes { // what holds the output open may outlive us
		cmd.WaitDelay = termGrace
	}
	var feed io.WriteCloser
	if b.in != nil && b.tty == nil {
		if feed, err = cmd.StdinPipe(); err != nil {
			return report{}, err
		}
	}
	if err := cmd.Start(); err != nil {
		return report{}, fmt.Errorf("start the sandbox: %w", err)
	}
	if feed != nil {
		go func() { // nobody waits for it: the reader may stay open for ever
			io.Copy(feed, b.in) // the command may have closed its end
			feed.Close()
		}()
	}
	err = errors.Join(specRead.Close(), lifeRead.Close(), reportWrite.Close())
	stop := b.endWith(ctx, cmd.Process)
	// It starts nothing before it has read what, so all of it is in the group.
	sent := b.join(g, cmd.Process.Pid)
	if sent == nil {
		sent = json.NewEncoder(specWrite).Encode(b.spec) // fails if the sandbox is ended early
	}
	err = errors.Join(err, specWrite.Close())
	var r report
	said := json.NewDecoder(io.LimitReader(reportRead, 64<<10)).Decode(&r)
	waited := cmd.Wait()
	stop()
	lifeWrite.Close() // it was open until here, so the sandbox was not ended by it
	b.over = g.over()
	switch {
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case said != nil && b.over != "":
		return report{Signal: syscall.SIGKILL}, nil // the kernel took the sandbox's first process for the one to end
	case said != nil:
		return r, fmt.Errorf("the sandbox ended without a word: %w", errors.Join(waited, sent))
	case r.Error != "":
		return r, &startError{r}
	}
	return r, err
}

// group makes the control group of a command whose processes end with it.
func (b *box) group() (*group, error) {
	if b.groups == "" || b.spec.Survive {
		return nil, nil
	}
	g, err := newGroup(findGroups(), b.groups, b.limits)
	if err != nil {
		return nil, err
	}
	// What bounds the whole need not bound each process, or all of the account.
	if g.has(memoryController) {
		b.spec.MaxMemory = 0
	}
	if g.has(pidsController) {
		b.spec.MaxProcesses = 0
	}
	return g, nil
}

// join puts the sandbox's first process into its group.
func (b *box) join(g *group, pid int) error {
	if g == nil {
		return nil
	}
	if err := g.add(pid); err != nil {
		return fmt.Errorf("limit the build: %w", err)
	}
	return nil
}

// endWith ends the sandbox when ctx ends: first it is asked to, then it is
// killed. The function that it returns ends the watch.
func (b *box) endWith(ctx context.Context, p *os.Process) (stop func()) {
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		p.Signal(syscall.SIGTERM) // an error says that it has ended
		late := time.NewTimer(killAfter)
		defer late.Stop()
		select {
		case <-done:
		case <-late.C:
			p.Kill()
		}
	}()
	return func() { close(done); <-over }
}

// startError is a command that could not be started.
type startError struct{ report report }

func (e *startError) Error() string { return e.report.Error }

// pipes opens pipes and closes them all.
type pipes struct {
	files []*os.File
	err   error
}

func (p *pipes) open() (r, w *os.File) {
	r, w, err := os.Pipe()
	p.err = errors.Join(p.err, err)
	p.files = append(p.files, r, w)
	return r, w
}

// close closes what is still open; what is closed already says so, and a nil
// file too.
func (p *pipes) close() {
	for _, f := range p.files {
		f.Close()
	}
}

// attributes asks for the namespaces that this machine can give.
func (b *box) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if b.layers.Mounts {
		a.Cloneflags |= unix.CLONE_NEWNS
	}
	if b.layers.Processes && !b.spec.Survive {
		a.Cloneflags |= unix.CLONE_NEWPID | unix.CLONE_NEWIPC
	}
	if b.layers.Network && !b.network {
		a.Cloneflags |= unix.CLONE_NEWNET
	}
	if b.layers.User && a.Cloneflags != 0 {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP}
	}
	return a
}
