package tree

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
	"sync"
	"syscall"

	"slipway/store/git"
)

// objects reads one repository's objects through one git process. It asks for
// many at once: what costs is the way there and back, not the object.
type objects struct {
	ctx  func() error // why the reading was ended, nil if it was not
	cmd  git.Cmd
	proc *exec.Cmd
	in   *bufio.Writer
	pipe io.Closer
	out  *bufio.Reader
	said *tail
	stop context.CancelFunc
}

// batch is how many requests are on their way at once: git keeps them in
// memory until the flush, and answers nothing before it, so that neither side
// waits for the other.
const batch = 8192

// maxTree bounds one tree object, which is read into memory whole: a directory
// of a million files fits.
const maxTree = 64 << 20

// openObjects starts the process; the caller closes it.
func openObjects(ctx context.Context, part Part) (*objects, error) {
	ctx, stop := context.WithCancel(ctx)
	o := &objects{said: &tail{}, stop: stop, ctx: func() error { return context.Cause(ctx) }}
	o.cmd = git.Cmd{Dir: part.Dir, Env: part.Env, Args: []git.Opt{"cat-file", "--batch-command", "--buffer"}}
	o.proc = o.cmd.Command(ctx)
	o.proc.Stderr = o.said
	in, err := o.proc.StdinPipe()
	if err != nil {
		stop()
		return nil, err
	}
	out, err := o.proc.StdoutPipe()
	if err != nil {
		stop()
		return nil, err
	}
	if err := o.proc.Start(); err != nil {
		stop()
		return nil, o.cmd.Explain(ctx, err, "")
	}
	o.pipe, o.in, o.out = in, bufio.NewWriterSize(in, 64<<10), bufio.NewReaderSize(out, 256<<10)
	return o, nil
}

// close ends the process. It is no error that answers were left unread.
func (o *objects) close() {
	o.stop()
	_ = o.pipe.Close()
	_ = o.proc.Wait() // it was told to end: its status says nothing
	_ = syscall.Kill(-o.proc.Process.Pid, syscall.SIGKILL)
}

// object is the head of one answer.
type object struct {
	kind string // commit, tree, blob, tag
	size int64
}

// info asks for kind and size of each object.
func (o *objects) info(hashes []Hash, got func(i int, ob object) error) error {
	return o.ask("info ", hashes, got)
}

// contents asks for the objects themselves. One that is larger than limit ends
// the reading with an error before it is read.
func (o *objects) contents(hashes []Hash, limit int64, got func(i int, ob object, body []byte) error) error {
	return o.ask("contents ", hashes, func(i int, ob object) error {
		if ob.size > limit {
			return &objectError{hashes[i], fmt.Sprintf("is %d bytes large; %d are allowed for a %s", ob.size, limit, ob.kind)}
		}
		body := make([]byte, ob.size)
		if _, err := io.ReadFull(o.out, body); err != nil {
			return o.broken(err)
		}
		if _, err := o.out.Discard(1); err != nil {
			return o.broken(err)
		}
		return got(i, ob, body)
	})
}

// stream asks for the objects themselves, of whatever size; r is of no use once
// got has returned.
func (o *objects) stream(hashes []Hash, got func(i int, ob object, r io.Reader) error) error {
	return o.ask("contents ", hashes, func(i int, ob object) error {
		body := &io.LimitedReader{R: o.out, N: ob.size}
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

// begin reads at most limit bytes of one object; the process is of no use
// afterwards.
func (o *objects) begin(h Hash, limit int64) (ob object, body []byte, err error) {
	err = o.ask("contents ", []Hash{h}, func(_ int, got object) error {
		ob = got
		body = make([]byte, min(got.size, limit))
		if _, err := io.ReadFull(o.out, body); err != nil {
			return o.broken(err)
		}
		return nil
	})
	return ob, body, err
}

func (o *objects) ask(verb string, hashes []Hash, answer func(i int, ob object) error) error {
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

// head reads "HASH KIND SIZE", the first line of an answer.
func (o *objects) head(want Hash) (object, error) {
	line, err := o.out.ReadSlice('\n')
	if err != nil {
		return object{}, o.broken(err)
	}
	text := strings.TrimSuffix(string(line), "\n")
	if text == want.String()+" missing" {
		return object{}, &objectError{want, "is missing"}
	}
	fields := strings.Fields(text)
	if len(fields) != 3 || fields[0] != want.String() {
		return object{}, fmt.Errorf("git cat-file answered %q", text)
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || size < 0 {
		return object{}, fmt.Errorf("git cat-file answered %q", text)
	}
	return object{kind: fields[1], size: size}, nil
}

// broken explains a pipe that ended early.
func (o *objects) broken(err error) error {
	if cause := o.ctx(); cause != nil {
		return cause
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ended early")
	}
	return &git.RunError{Args: "cat-file --batch-command", Status: -1, Stderr: o.said.String(), Err: err}
}

// objectError is an object that is not what the tree says.
type objectError struct {
	hash Hash
	what string
}

func (e *objectError) Error() string { return "object " + e.hash.String() + " " + e.what }

func parseHash(s string) (h Hash, err error) {
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("%s is no object name of 40 digits", show(s))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return h, fmt.Errorf("%s is no object name of 40 digits", show(s))
	}
	return h, nil
}

// tail keeps the end of what a process says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - 8<<10; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
