package builder

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"slipway/config"
)

const (
	// Columns is the widest line of Slipway's own: 80 less git's "remote: ".
	Columns = 71

	margin    = 10               // where a step's text begins
	quietTime = 10 * time.Second // no line for this long makes one that says so
	lineLimit = 4 << 10          // one line of a builder's output
)

// Progress is what the pusher sees and the log keeps: whole lines, masked,
// written to both at once. A writer that fails calls Gone once, and the rest
// goes to the log alone. It is safe for concurrent use.
type Progress struct {
	mu      sync.Mutex
	pusher  io.Writer
	log     io.Writer
	mask    *Mask
	gone    func(error)
	now     func() time.Time
	last    time.Time // of the last line
	busy    string    // what goes on quietly, "" if nothing does
	since   time.Time
	blank   bool // the last line was blank
	changed chan struct{}
}

// ProgressOptions wire a Progress. Pusher and Now are required; Log is added
// later by Tee where a release exists only after the first lines.
type ProgressOptions struct {
	Pusher io.Writer
	Now    func() time.Time
	Gone   func(error) // called once when the pusher can no longer be written to
}

// NewProgress returns a Progress without a mask and a log.
func NewProgress(o ProgressOptions) *Progress {
	return &Progress{pusher: o.Pusher, now: o.Now, gone: o.Gone, last: o.Now(), changed: make(chan struct{})}
}

// Tee adds the log that every line from now on also goes to.
func (p *Progress) Tee(log io.Writer) { p.mu.Lock(); p.log = log; p.mu.Unlock() }

// SetPusher sets where the pusher reads from now on.
func (p *Progress) SetPusher(w io.Writer) { p.mu.Lock(); p.pusher = w; p.mu.Unlock() }

// SetMask sets what is hidden from now on.
func (p *Progress) SetMask(m *Mask) { p.mu.Lock(); p.mask = m; p.mu.Unlock() }

// Changed returns a channel that is closed at the next line.
func (p *Progress) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Blank writes an empty line, never two in a row.
func (p *Progress) Blank() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.blank {
		p.line("")
		p.blank = true
	}
}

// Head writes a line as it is, cut to the width.
func (p *Progress) Head(format string, a ...any) {
	p.write(cut(ascii(fmt.Sprintf(format, a...)), Columns))
}

// Step writes a step's line; took < 0 leaves the time out.
func (p *Progress) Step(name, text string, took time.Duration) {
	p.write(timed(fmt.Sprintf("%-*s%s", margin, name, ascii(text)), took))
}

// Detail writes an indented line; took < 0 leaves the time out.
func (p *Progress) Detail(text string, took time.Duration) { p.write(timed("  "+ascii(text), took)) }

// Below writes text that belongs to the detail above it, folded and indented.
func (p *Progress) Below(text string) { p.fold("      ", ascii(text)) }

// Fail writes the error line and, where there is one, the hint line. Long ones
// are folded at spaces, indented.
func (p *Progress) Fail(err error) {
	p.Blank()
	var wrong config.Mistakes
	if errors.As(err, &wrong) && len(wrong) > 1 {
		for _, m := range wrong[:len(wrong)-1] {
			p.Say("error", m.String())
			if m.Hint != "" {
				p.Say("hint", m.Hint)
			}
		}
		err = wrong[len(wrong)-1:]
	}
	p.Say("error", err.Error())
	if hint := config.Hint(err); hint != "" {
		p.Say("hint", hint)
	}
	p.Blank()
}

// Say writes "word: text", folded.
func (p *Progress) Say(word, text string) { p.fold(word+": ", ascii(text)) }

func (p *Progress) fold(lead, text string) {
	for i, line := range wrap(text, Columns-len(lead)) {
		if i > 0 {
			lead = strings.Repeat(" ", len(lead))
		}
		p.write(strings.TrimRight(lead+line, " "))
	}
}

// Busy says what goes on from now; until the function that it returns is
// called, silence is broken every quiet time by a line with the time passed.
func (p *Progress) Busy(what string) (done func()) {
	p.mu.Lock()
	p.busy, p.since = what, p.now()
	p.mu.Unlock()
	stop := make(chan struct{})
	var ended sync.WaitGroup
	ended.Add(1)
	go func() {
		defer ended.Done()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				p.tick()
			}
		}
	}()
	return sync.OnceFunc(func() { close(stop); ended.Wait() })
}

func (p *Progress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Sub(p.last) >= quietTime {
		p.line(cut(ascii(fmt.Sprintf("  ... %s, %s", p.busy, Seconds(now.Sub(p.since)))), Columns))
		p.blank = false
	}
}

func (p *Progress) write(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line(s)
	p.blank = false
}

// line writes one line to the pusher and the log; the caller holds the lock.
func (p *Progress) line(s string) {
	s = p.mask.Apply(s) + "\n"
	p.last = p.now()
	if p.pusher != nil {
		if _, err := io.WriteString(p.pusher, s); err != nil {
			p.pusher = nil
			if p.gone != nil {
				p.gone(fmt.Errorf("the client went away: %w", err))
			}
		}
	}
	if p.log != nil {
		if _, err := io.WriteString(p.log, s); err != nil && p.gone != nil {
			p.log = nil
			p.gone(&LogError{err})
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// Builder returns a writer for the output of what is built: its lines appear
// behind "  | ", cleaned of control codes. After limit bytes the rest is
// dropped with a note. Close writes what has no end of line yet.
func (p *Progress) Builder(limit int64) io.WriteCloser {
	return &lines{each: func(s string) { p.write(strings.TrimRight("  | "+s, " ")) }, mask: p.masked, left: limit}
}

// masked is the mask of now.
func (p *Progress) masked() *Mask {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mask
}

// lines cuts a stream into lines.
type lines struct {
	mu   sync.Mutex
	each func(string)
	mask func() *Mask
	buf  []byte
	over bool  // the line is longer than the limit; its rest is dropped
	cr   bool  // the last byte was a carriage return
	left int64 // bytes that may still be shown
	full bool  // what came after those is not shown
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full { // nothing of it is looked at any more, as there may be any amount
		l.buf = l.buf[:0]
		return len(b), nil
	}
	most := lineLimit + l.mask().longest() // a value across the limit is still seen whole
	for _, c := range b {
		switch {
		case c == '\n':
			l.cr = false
			l.flush()
			continue
		case c == '\r':
			l.cr = true
			continue
		case l.cr: // progress drawn over itself: only its last state counts
			l.cr, l.over, l.buf = false, false, l.buf[:0]
		}
		if len(l.buf) < most {
			l.buf = append(l.buf, c)
		} else {
			l.over = true
		}
	}
	return len(b), nil
}

func (l *lines) flush() {
	text := l.mask().Apply(Clean(string(l.buf)))
	if l.over || len(text) > lineLimit {
		text = cutBytes(text, lineLimit) + "..."
	}
	l.buf, l.over = l.buf[:0], false
	if l.full {
		return
	}
	l.left -= int64(len(text)) + 1
	if l.left < 0 {
		l.full = true
		text = "(more output than the log may hold; the rest is not kept)"
	}
	l.each(text)
}

func (l *lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > 0 {
		l.flush()
	}
	return nil
}
