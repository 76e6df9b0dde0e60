package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/socket"
	"slipway/store"
)

// stdio is the process's own.
func stdio() builder.Stdio { return builder.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// commandLine runs what an admin types on the server: by the server if one
// runs, else in this process, with the lock of DIR.
func commandLine(ctx context.Context, argv []string) int {
	dir, argv, err := home(argv)
	if err != nil {
		return fail(os.Stderr, err)
	}
	if len(argv) == 0 {
		argv = []string{"help"}
	}
	switch argv[0] {
	case "init":
		return report(os.Stderr, initCommand(ctx, dir, argv[1:]))
	case "serve":
		return report(os.Stderr, serveCommand(ctx, dir, argv[1:]))
	case "restore":
		return report(os.Stderr, restoreCommand(dir, argv[1:], os.Stdout))
	case "backup":
		for i, word := range argv[1:] { // the server has another working directory
			if !strings.HasPrefix(word, "-") && !filepath.IsAbs(word) {
				if argv[i+1], err = filepath.Abs(word); err != nil {
					return fail(os.Stderr, err)
				}
			}
		}
	case "config":
		return configCommand(dir, argv[1:], os.Stdout, os.Stderr)
	case "__complete", "__completeNoDesc":
		return completeLocally(ctx, dir, argv)
	case "version", "completion", "help", "--help", "-h", "--version":
		a := &app{dir: dir, now: time.Now}
		return a.run(ctx, localCaller(), argv, stdio(), nil)
	}
	if wantsHelp(argv) {
		a := &app{dir: dir, now: time.Now}
		return a.run(ctx, localCaller(), argv, stdio(), nil)
	}
	conn, err := socket.Dial(dir)
	if err == nil {
		return relay(conn, argv)
	}
	return inProcess(ctx, dir, argv)
}

// wantsHelp says whether a command line only asks how to write it.
func wantsHelp(argv []string) bool {
	for _, word := range argv {
		switch word {
		case "--":
			return false
		case "--help", "-h":
			return true
		}
	}
	return false
}

// home takes --home DIR out of the words, and finds DIR without it.
func home(argv []string) (dir string, rest []string, err error) {
	for i := 0; i < len(argv); i++ {
		word := argv[i]
		value, has := strings.CutPrefix(word, "--home=")
		switch {
		case word == "--":
			rest = append(rest, argv[i:]...)
			i = len(argv)
			continue
		case word == "--home" && i+1 < len(argv):
			i++
			value, has = argv[i], true
		case word == "--home":
			has = true
		}
		switch {
		case !has:
			rest = append(rest, word)
		case value == "" || strings.HasPrefix(value, "-"):
			return "", nil, config.Errorf(config.Usage, "slipway --home DIR COMMAND", "--home needs a directory")
		default:
			dir = value
		}
	}
	if dir == "" {
		dir = os.Getenv("SLIPWAY_HOME")
	}
	if dir == "" && os.Geteuid() == 0 {
		dir = "/var/lib/slipway"
	}
	if dir == "" {
		state := os.Getenv("XDG_STATE_HOME")
		if state == "" {
			own, err := os.UserHomeDir()
			if err != nil {
				return "", nil, config.Errorf(config.Usage, "slipway --home DIR COMMAND", "find a home for Slipway: %w", err)
			}
			state = filepath.Join(own, ".local", "state")
		}
		dir = filepath.Join(state, "slipway")
	}
	dir, err = filepath.Abs(dir)
	return dir, rest, err
}

// localCaller is the admin on the server, by the name of the account.
func localCaller() store.Caller {
	name := "local"
	if u, err := user.Current(); err == nil {
		name = "local:" + u.Username
	}
	return store.Caller{Name: name, Admin: true}
}

// relay lets the running server do it.
func relay(conn io.ReadWriteCloser, argv []string) int {
	hello := socket.Hello{Command: argv}
	var sizes chan [2]int
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) && argv[0] == "run" {
		columns, rows, err := term.GetSize(fd)
		old, rawErr := term.MakeRaw(fd)
		if err == nil && rawErr == nil {
			defer term.Restore(fd, old) //nolint:errcheck // nothing is left to be done about it
			hello.Term, hello.Rows, hello.Columns = os.Getenv("TERM"), rows, columns
			sizes = make(chan [2]int, 1)
			changed := make(chan os.Signal, 1)
			signal.Notify(changed, syscall.SIGWINCH)
			go func() {
				for range changed {
					if columns, rows, err := term.GetSize(fd); err == nil {
						sizes <- [2]int{rows, columns}
					}
				}
			}()
		}
	}
	status, err := socket.Call(conn, hello, os.Stdin, os.Stdout, os.Stderr, sizes)
	if err != nil {
		return fail(os.Stderr, &config.Error{Err: err, Hint: "look at the server's log"})
	}
	return status
}

// inProcess does it without a server.
func inProcess(ctx context.Context, dir string, argv []string) int {
	if _, err := os.Stat(filepath.Join(dir, "slipway.db")); errors.Is(err, os.ErrNotExist) {
		return fail(os.Stderr, config.Errorf(config.NotFound, "slipway init --home "+dir, "there is no Slipway in %s", dir))
	}
	s, err := open(ctx, dir, quietLog())
	if err != nil {
		return fail(os.Stderr, err)
	}
	status := s.app.run(ctx, localCaller(), argv, stdio(), nil)
	if err := s.close(ctx); err != nil {
		return max(fail(os.Stderr, err), status)
	}
	return status
}

// lock takes DIR for this process and for what inherits the file; the kernel
// gives it up when the last of them has ended, however that happens.
func lock(ctx context.Context, dir string) (held *os.File, err error) {
	held, err = os.OpenFile(filepath.Join(dir, "slipway.lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, held.Close())
			held = nil
		}
	}()
	// What a server that was killed had started may hold it for a while more.
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		err = unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		if conn, dial := socket.Dial(dir); dial == nil { // a server lives
			conn.Close()
			return held, inUse(dir)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return held, inUse(dir)
		}
	}
	if err != nil {
		err = fmt.Errorf("lock %s: %w", dir, err)
	}
	return held, err
}

func inUse(dir string) error {
	return config.Errorf(config.Failed, "stop it first, or give another --home", "another Slipway has %s open", dir)
}

const (
	lockTime = 15 * time.Second
	lockPoll = 50 * time.Millisecond
)
