package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// ErrNoObject says that a repository does not have an object.
var ErrNoObject = errors.New("no such object")

// Object is what a repository says of one object without showing it.
type Object struct {
	Type string // commit, tree, blob, tag
	Size int64  // bytes
}

// TooLargeError is an object that is larger than the reader was ready for.
type TooLargeError struct {
	OID   string
	Size  int64
	Limit int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("object %s has %d bytes, more than %d", e.OID, e.Size, e.Limit)
}

// Cat reads objects of one repository by one `git cat-file --batch-command`
// process, which git has had since 2.36. It may be used concurrently; reads
// run one after the other. Whoever opened it closes it.
type Cat struct {
	ctx  func() error // the cause of ctx's end, nil before it
	c    Cmd
	mu   sync.Mutex
	in   io.WriteCloser
	out  *bufio.Reader
	dead error // after a failure the streams are out of step
	wait func() error
}

// OpenCat starts the process for the repository dir; env is beside the base
// environment, such as the variables of a quarantine. The process ends when
// ctx does.
func OpenCat(ctx context.Context, dir string, env map[string]string) (*Cat, error) {
	said := &tail{limit: maxErrors}
	c := Cmd{Dir: dir, Args: []Opt{"cat-file", "--batch-command"}, Env: env, Stderr: said}
	cmd := c.Command(ctx)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, c.Explain(ctx, err, "")
	}
	return &Cat{
		c: c, in: in, out: bufio.NewReaderSize(out, 64<<10),
		ctx: func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		},
		wait: func() error {
			err := cmd.Wait()
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			return c.Explain(ctx, err, said.String())
		},
	}, nil
}

// Info says what the object is; ErrNoObject if it is not there.
func (c *Cat) Info(oid string) (Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info(oid)
}

// Read returns the object whole. Of one that is larger than limit bytes
// nothing is read, and the error is a *TooLargeError.
func (c *Cat) Read(oid string, limit int64) (Object, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, err := c.info(oid)
	if err != nil {
		return o, nil, err
	}
	if o.Size > limit {
		return o, nil, &TooLargeError{oid, o.Size, limit}
	}
	if o, err = c.ask("contents", oid); err != nil {
		return o, nil, err
	}
	if o.Size > limit {
		return o, nil, c.broken(&TooLargeError{oid, o.Size, limit})
	}
	b := make([]byte, o.Size+1)
	if _, err := io.ReadFull(c.out, b); err != nil {
		return o, nil, c.broken(err)
	}
	return o, b[:o.Size], nil
}

// Close ends the process and waits for it.
func (c *Cat) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.in.Close()
	if werr := c.wait(); werr != nil {
		err = werr
	}
	if c.dead == nil {
		c.dead = errors.New("closed")
	}
	return err
}

func (c *Cat) info(oid string) (Object, error) { return c.ask("info", oid) }

func (c *Cat) ask(what, oid string) (Object, error) {
	if c.dead != nil {
		return Object{}, c.dead
	}
	if !isHex(oid) {
		return Object{}, fmt.Errorf("%q is not an object's full name", oid)
	}
	if _, err := io.WriteString(c.in, what+" "+oid+"\n"); err != nil {
		return Object{}, c.broken(err)
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return Object{}, c.broken(err)
	}
	words := strings.Fields(line)
	if len(words) == 2 && words[1] == "missing" {
		return Object{}, fmt.Errorf("%s: %w", oid, ErrNoObject)
	}
	if len(words) != 3 || words[0] != oid {
		return Object{}, c.broken(fmt.Errorf("cat-file answered %q", line))
	}
	size, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil || size < 0 {
		return Object{}, c.broken(fmt.Errorf("cat-file answered %q", line))
	}
	return Object{Type: words[1], Size: size}, nil
}

// broken remembers that the streams can no longer be used.
func (c *Cat) broken(err error) error {
	if cause := c.ctx(); cause != nil {
		err = cause
	} else if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	c.dead = fmt.Errorf("git cat-file: %w", err)
	return c.dead
}

func isHex(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}
