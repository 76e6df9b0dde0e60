package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"slipway/builder"
)

// RunOnce runs [deploy] release in a release that is staged.
func (h *Host) RunOnce(ctx context.Context, s builder.Stage, out io.Writer) error {
	return h.step(ctx, s, "release", shell(s.App.Deploy.Release), s.App.Build.Timeout, out)
}

// Health runs [deploy] health in a release that is staged.
func (h *Host) Health(ctx context.Context, s builder.Stage, out io.Writer) error {
	return h.step(ctx, s, "health", shell(s.App.Deploy.Health.Command), s.App.Deploy.Health.Timeout, out)
}

const (
	// restartTime bounds a restart command; the processes that it starts go on.
	restartTime = 2 * time.Minute

	// restartLog, below the release's home, is the standard output of what a
	// restart command starts: a pipe would end with the command.
	restartLog = "restart.log"

	followEvery = 100 * time.Millisecond
)

// Restart runs [deploy] restart. What it starts is the app's own, and stays.
func (h *Host) Restart(ctx context.Context, s builder.Stage, out io.Writer) error {
	b, err := h.box(ctx, s, shell(s.App.Deploy.Restart))
	if err != nil {
		return err
	}
	log, err := makeLog(filepath.Join(h.at(s.AppEnv).home(s.Number), restartLog), b.spec.Owner)
	if err != nil {
		return h.explainSpace(fmt.Errorf("restart: %w", err))
	}
	defer log.Close()
	b.spec.Survive, b.out, b.err = true, log, log
	stop := follow(log.Name(), out)
	err = h.explainBuild(b.step(ctx, "restart", restartTime))
	return errors.Join(err, stop())
}

// makeLog makes a new file in a directory that the app may change.
func makeLog(path string, o owner) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil || !o.set() {
		return log, err
	}
	if err := log.Chown(o.UID, o.GID); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return log, nil
}

// follow copies a file that grows to out, until the function that it returns
// is called; that one copies what is left first.
func follow(path string, out io.Writer) (stop func() error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return func() error { return err }
	}
	done, over := make(chan struct{}), make(chan error, 1)
	go func() {
		defer f.Close()
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-done:
				// What goes on writing must not keep us: as far as it is now.
				info, err := f.Stat()
				if err == nil {
					at, seekErr := f.Seek(0, io.SeekCurrent)
					_, err = io.CopyN(out, f, max(info.Size()-at, 0))
					err = errors.Join(seekErr, err)
				}
				over <- err
				return
			}
			if _, err := io.Copy(out, f); err != nil {
				over <- err
				return
			}
		}
	}()
	return func() error { close(done); return <-over }
}

// Run runs a command in a release's environment; exit is its status, and 128
// and the signal's number where one ended it.
func (h *Host) Run(ctx context.Context, s builder.Stage, argv []string, stdio builder.Stdio, tty *builder.Terminal) (exit int, err error) {
	b, err := h.box(ctx, s, argv)
	if err != nil {
		return 0, err
	}
	b.in, b.out, b.err = stdio.In, stdio.Out, stdio.Err
	if tty != nil {
		end, err := b.terminal(stdio, tty)
		if err != nil {
			return 0, fmt.Errorf("open a terminal: %w", err)
		}
		defer end()
	}
	r, err := b.run(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, err
	case err != nil:
		return 0, explainStart("the command", argv, err)
	}
	exit = r.Status
	if r.Signal != 0 {
		exit = 128 + int(r.Signal)
	}
	if exit != 0 && b.over != "" {
		_, err = fmt.Fprintf(stdio.Err, "the command went over its %s\n", b.over)
	}
	return exit, err
}

// terminal puts a pseudo terminal between the caller and the command. The
// function that it returns ends it when the command has ended.
func (b *box) terminal(stdio builder.Stdio, t *builder.Terminal) (end func(), err error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	resize := func(rows, columns int) error {
		return pty.Setsize(master, &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)})
	}
	err = resize(t.Rows, t.Columns)
	if b.spec.Owner.set() {
		err = errors.Join(err, slave.Chown(b.spec.Owner.UID, b.spec.Owner.GID))
	}
	if err != nil {
		return nil, errors.Join(err, slave.Close(), master.Close())
	}
	b.tty = slave
	b.spec.TTY = true
	b.spec.Env = append(b.spec.Env, "TERM="+t.Term)
	var shown sync.WaitGroup
	shown.Go(func() { io.Copy(stdio.Out, master) }) // ends with EIO when no process has the other side open
	go func() { io.Copy(master, stdio.In) }()       // nobody waits for it: the reader may stay open for ever
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case size, ok := <-t.Resize:
				if !ok {
					return
				}
				resize(size[0], size[1]) // a size that cannot be set is the old one
			case <-ended:
				return
			}
		}
	}()
	return func() { close(ended); slave.Close(); shown.Wait(); master.Close() }, nil
}
