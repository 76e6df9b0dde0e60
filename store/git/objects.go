package git

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// ErrNoObject says that a repository does not have an object.
var ErrNoObject = errors.New("no such object")

// Hash is an object's name.
type Hash [20]byte

// String is the name in 40 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads a whole name in small hexadecimal digits.
func ParseHash(s string) (h Hash, err error) {
	if len(s) != 2*len(h) || strings.Trim(s, "0123456789abcdef") != "" {
		return h, fmt.Errorf("%.80q is no object name of 40 digits", s)
	}
	_, err = hex.Decode(h[:], []byte(s))
	return h, err
}

// Object is what a repository says of one object without showing it.
type Object struct {
	Type string // commit, tree, blob, tag
	Size int64  // bytes
}

// ObjectError is an object that is not what it has to be.
type ObjectError struct {
	Hash Hash
	Text string // what it is instead
	Err  error  // ErrNoObject, a *TooLargeError, or nil
}

func (e *ObjectError) Error() string { return "object " + e.Hash.String() + " " + e.Text }
func (e *ObjectError) Unwrap() error { return e.Err }

// TooLargeError is an object that is larger than the reader was ready for.
type TooLargeError struct{ Size, Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d bytes, more than %d", e.Size, e.Limit)
}

// Objects reads one repository's objects through one `git cat-file
// --batch-command` process, which git has had since 2.36. It asks for many at
// once: what costs is the way there and back, not the object. It is not for
// concurrent use. Whoever opened it closes it.
type Objects struct {
	ctx context.Context // of all reading; none of it outlives what it is for
	cmd Cmd

	// Of the process, which starts with the first question and, where an answer
	// was left unread, again with the next.
	proc *exec.Cmd
	stop context.CancelFunc
	in   *bufio.Writer
	pipe io.Closer
	out  *bufio.Reader
	said *Tail
}

// batch is how many requests are on their way at once: git keeps them in
// memory until the flush, and answers nothing before it, so that neither side
// waits for the other.
const batch = 8192

// OpenObjects reads the repository dir; env is beside the base environment, such
// as the variables of a quarantine. Reading ends when ctx does.
func OpenObjects(ctx context.Context, dir string, env map[string]string) *Objects {
	return &Objects{ctx: ctx, cmd: Cmd{Dir: dir, Env: env, Args: []Opt{"cat-file", "--batch-command", "--buffer"}}}
}

func (o *Objects) start() error {
	ctx, stop := context.WithCancel(o.ctx)
	o.said = &Tail{Limit: maxErrors}
	proc := o.cmd.Command(ctx)
	proc.Stderr = o.said
	in, err := proc.StdinPipe()
	if err != nil {
		stop()
		return err
	}
	out, err := proc.StdoutPipe()
	if err != nil {
		stop()
		return err
	}
	if err := proc.Start(); err != nil {
		stop()
		return o.cmd.Explain(o.ctx, err, "")
	}
	o.proc, o.stop, o.pipe = proc, stop, in
	o.in, o.out = bufio.NewWriterSize(in, 64<<10), bufio.NewReaderSize(out, 256<<10)
	return nil
}

// Close ends the process. It is no error that answers were left unread.
func (o *Objects) Close() {
	if o.proc == nil {
		return
	}
	o.stop()
	_ = o.pipe.Close()
	_ = o.proc.Wait() // it was told to end: its status says nothing
	_ = syscall.Kill(-o.proc.Process.Pid, syscall.SIGKILL)
	o.proc = nil
}

// Info asks for type and size of each object.
func (o *Objects) Info(hashes []Hash, got func(i int, ob Object) error) error {
	return o.ask("info ", hashes, got)
}

// Contents asks for the objects themselves. One that is larger than limit bytes
// ends the reading with an error before it is read.
func (o *Objects) Contents(hashes []Hash, limit int64, got func(i int, ob Object, body []byte) error) error {
	return o.ask("contents ", hashes, func(i int, ob Object) error {
		if ob.Size > limit {
			return &ObjectError{
				hashes[i], fmt.Sprintf("is %d bytes large; %d are allowed for a %s", ob.Size, limit, ob.Type), &TooLargeError{ob.Size, limit},
			}
		}
		body := make([]byte, ob.Size)
		if _, err := io.ReadFull(o.out, body); err != nil {
			return o.broken(err)
		}
		if _, err := o.out.Discard(1); err != nil {
			return o.broken(err)
		}
		return got(i, ob, body)
	})
}

// Stream asks for the objects themselves, of whatever size; r is of no use once
// got has returned.
func (o *Objects) Stream(hashes []Hash, got func(i int, ob Object, r io.Reader) error) error {
	return o.ask("contents ", hashes, func(i int, ob Object) error {
		body := &io.LimitedReader{R: o.out, N: ob.Size}
		if err := got(i, ob, body); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return o.broken(err)
		}
		if body.N > 0 {
			return o.broken(io.ErrUnexpectedEOF)
		}
		if _, err := o.out.Discard(1); err != nil {
			return o.broken(err)
		}
		return nil
	})
}

// errEnough ends the reading of an object of which no more is wanted.
var errEnough = errors.New("enough")

// Head reads at most the first limit bytes of one object.
func (o *Objects) Head(h Hash, limit int64) (ob Object, body []byte, err error) {
	err = o.Stream([]Hash{h}, func(_ int, got Object, r io.Reader) error {
		ob, body = got, make([]byte, min(got.Size, limit))
		if _, err := io.ReadFull(r, body); err != nil {
			return o.broken(err)
		}
		if got.Size > limit {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return ob, body, err
}

func (o *Objects) ask(verb string, hashes []Hash, answer func(i int, ob Object) error) (err error) {
	if len(hashes) == 0 {
		return nil
	}
	if o.proc == nil {
		if err := o.start(); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil { // answers are on their way that nobody will read
			o.Close()
		}
	}()
	for from := 0; from < len(hashes); from += batch {
		to := min(from+batch, len(hashes))
		line := make([]byte, 0, 64)
		for _, h := range hashes[from:to] {
			line = append(line[:0], verb...)
			line = hex.AppendEncode(line, h[:])
			line = append(line, '\n')
			if _, err := o.in.Write(line); err != nil {
				return o.broken(err)
			}
		}
		if _, err := o.in.WriteString("flush\n"); err != nil {
			return o.broken(err)
		}
		if err := o.in.Flush(); err != nil {
			return o.broken(err)
		}
		for i := from; i < to; i++ {
			ob, err := o.head(hashes[i])
			if err != nil {
				return err
			}
			if err := answer(i, ob); err != nil {
				return err
			}
		}
	}
	return nil
}

// head reads "HASH TYPE SIZE", the first line of an answer.
func (o *Objects) head(want Hash) (Object, error) {
	line, err := o.out.ReadSlice('\n')
	if err != nil {
		return Object{}, o.broken(err)
	}
	text := strings.TrimSuffix(string(line), "\n")
	if text == want.String()+" missing" {
		return Object{}, &ObjectError{want, "is missing", ErrNoObject}
	}
	fields := strings.Fields(text)
	if len(fields) != 3 || fields[0] != want.String() {
		return Object{}, fmt.Errorf("git cat-file answered %q", text)
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || size < 0 {
		return Object{}, fmt.Errorf("git cat-file answered %q", text)
	}
	return Object{Type: fields[1], Size: size}, nil
}

// broken explains a pipe that ended early.
func (o *Objects) broken(err error) error {
	if o.ctx.Err() != nil {
		return context.Cause(o.ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ended early")
	}
	return &RunError{Args: "cat-file --batch-command", Status: -1, Stderr: o.said.String(), Err: err}
}
