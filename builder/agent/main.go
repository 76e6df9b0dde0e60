package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Command is the argument that starts this program as an agent.
const Command = "agent"

// keepAgents is how long the program of a version that nobody has used stays.
const keepAgents = 30 * 24 * time.Hour

// Main serves one server over in and out, and returns the exit status.
func Main(in, out, errs *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A server that is gone must not end us before what runs has been ended.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	syscall.Umask(0o022)
	if err := sweepAgents(time.Now()); err != nil {
		fmt.Fprintln(errs, "slipway agent:", err) // they only take room
	}
	in, out = closable(in), closable(out)
	unblock := context.AfterFunc(ctx, func() { in.Close() })
	defer unblock()
	if err := Serve(ctx, in, io.WriteCloser(out)); err != nil {
		fmt.Fprintln(errs, "slipway agent:", err)
		return 1
	}
	return 0
}

// closable is f as a file of which a Close ends what is being read or written:
// a server that is silent leaves both without an end.
func closable(f *os.File) *os.File {
	fd := int(f.Fd())
	if syscall.SetNonblock(fd, true) != nil {
		return f
	}
	return os.NewFile(uintptr(fd), f.Name())
}

// sweepAgents removes the programs of other versions, beside our own, that have
// not been used for a while.
func sweepAgents(now time.Time) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	own := filepath.Dir(self)
	if filepath.Base(filepath.Dir(own)) != "agent" {
		return nil // started by hand, from elsewhere
	}
	if err := os.Chtimes(own, now, now); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Dir(own))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || now.Sub(info.ModTime()) < keepAgents {
			continue
		}
		if err := os.RemoveAll(filepath.Join(filepath.Dir(own), e.Name())); err != nil {
			return err
		}
	}
	return nil
}
