package ssh

import (
	"bytes"
	"io"
	"sync"
)

// maxHeld is how much of a line is held back for its end to come.
const maxHeld = 64 << 10

// prefixed says before each line which host it is of, and writes whole lines
// only, so that those of several hosts do not run into each other.
type prefixed struct {
	out    io.Writer
	turn   *sync.Mutex // of all hosts, for out
	prefix string

	mu   sync.Mutex
	held []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(b); ; {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			p.held = append(p.held, b...)
			if len(p.held) > maxHeld {
				return n, p.line()
			}
			return n, nil
		}
		p.held = append(p.held, b[:i]...)
		if err := p.line(); err != nil {
			return 0, err
		}
		b = b[i+1:]
	}
}

// line writes what is held; the caller holds the lock of what is held.
func (p *prefixed) line() error {
	p.turn.Lock()
	defer p.turn.Unlock()
	text := append([]byte(p.prefix), p.held...)
	p.held = p.held[:0]
	_, err := p.out.Write(append(text, '\n'))
	return err
}

// flush writes a last line that has no end.
func (p *prefixed) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.held) == 0 {
		return nil
	}
	return p.line()
}
