package receiver

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"slipway/builder"
)

// sink is one of a session's two ways out. Its writes are whole and in order,
// also from several goroutines, and it knows since when one of them waits.
type sink struct {
	mu    sync.Mutex
	w     io.Writer
	crlf  bool // the client's terminal is raw: a line feed alone would not return
	after byte // the last byte written
	since atomic.Int64
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.crlf {
		return s.write(p)
	}
	out := make([]byte, 0, len(p)+len(p)/32+2)
	for _, b := range p {
		if b == '\n' && s.after != '\r' {
			out = append(out, '\r')
		}
		out, s.after = append(out, b), b
	}
	if _, err := s.write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *sink) write(p []byte) (int, error) {
	s.since.Store(time.Now().UnixNano())
	defer s.since.Store(0)
	return s.w.Write(p)
}

// blocked is for how long a write has been waiting for the client to read.
func (s *sink) blocked(now time.Time) time.Duration {
	if since := s.since.Load(); since != 0 {
		return now.Sub(time.Unix(0, since))
	}
	return 0
}

// rawSink writes to a sink without the care for a terminal.
type rawSink struct{ *sink }

func (r rawSink) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.write(p)
}

// RawOut returns w without the translation that a session with a terminal
// has, for a program that has a terminal of its own there; any other writer
// comes back as it is.
func RawOut(w io.Writer) io.Writer {
	if s, ok := w.(*sink); ok {
		return rawSink{s}
	}
	return w
}

// RawIn returns r with every key passed on as it was typed, Ctrl-C too; any
// other reader comes back as it is.
func RawIn(r io.Reader) io.Reader {
	if c, ok := r.(*console); ok {
		c.setRaw()
	}
	return r
}

// maxTyped is what a console keeps of what nobody has read yet.
const maxTyped = 64 << 10

const (
	ctrlC = 0x03
	ctrlD = 0x04
)

// console is the input of a session with a terminal whose command asked for no
// raw one: the client's own terminal is raw, so Ctrl-C and Ctrl-D arrive as
// bytes and mean here what they mean to a person.
type console struct {
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	more sync.Cond
	buf  []byte
	raw  bool
	eof  bool // no more is coming
	over bool // nobody reads any more
}

func newConsole(cancel context.CancelCauseFunc) *console {
	c := &console{cancel: cancel}
	c.more.L = &c.mu
	return c
}

// pump reads r to its end, so that Ctrl-C is seen though nobody reads.
func (c *console) pump(r io.Reader) {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		c.mu.Lock()
		for c.raw && len(c.buf) >= maxTyped && !c.over {
			c.more.Wait()
		}
		switch {
		case c.over: // nobody reads any more
		case c.raw:
			c.buf = append(c.buf, buf[:n]...)
		default:
			c.cook(buf[:n])
		}
		if err != nil {
			c.eof = true
		}
		c.more.Broadcast()
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *console) cook(p []byte) {
	if bytes.IndexByte(p, ctrlC) >= 0 {
		c.cancel(errInterrupted)
	}
	if c.eof || len(c.buf)+len(p) > maxTyped {
		return
	}
	for _, b := range p {
		switch b {
		case ctrlC:
		case ctrlD:
			c.eof = true
			return
		case '\r':
			c.buf = append(c.buf, '\n')
		default:
			c.buf = append(c.buf, b)
		}
	}
}

func (c *console) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.buf) == 0 {
		if c.eof {
			return 0, io.EOF
		}
		c.more.Wait()
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	c.more.Broadcast()
	return n, nil
}

func (c *console) setRaw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = true
}

// end wakes who waits: the command is over and nobody reads any more.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eof, c.over = true, true
	c.more.Broadcast()
}

// terminal is what a client that asked for one has.
type terminal struct {
	term          string
	rows, columns int
	resize        chan [2]int // holds the newest size that was not taken yet
}

func (t *terminal) resized(rows, columns int) {
	select {
	case <-t.resize:
	default:
	}
	t.resize <- [2]int{rows, columns} // one sender, room for one
}

func (t *terminal) builder() *builder.Terminal {
	if t == nil {
		return nil
	}
	return &builder.Terminal{Term: t.term, Rows: t.rows, Columns: t.columns, Resize: t.resize}
}
