package agent

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
)

// Protocol is the version of what the two sides say to each other.
const Protocol = 1

// Greeting begins the line by which an agent makes itself known.
const Greeting = "slipway-agent"

// kind is what a frame holds.
type kind byte

const (
	kindRequest kind = 'q' // request, as JSON
	kindBody    kind = 'b' // the number of the call that this stream's bytes belong to, as JSON
	kindCancel  kind = 'c' // why, as text
	kindResize  kind = 'w' // rows and columns, as JSON
	kindOutput  kind = 'o'
	kindErrors  kind = 'e' // what goes to standard error
	kindAnswer  kind = 'a' // a part of an answer before the result
	kindEnd     kind = 'z' // the answer is whole
	kindResult  kind = 'r' // result, as JSON
)

const (
	maxFrame   = 32 << 20 // a request has all vars of an app in it
	chunk      = 64 << 10 // of output
	headLength = 5
)

// strangeError is something that no agent says.
type strangeError struct{ err error }

func strangef(format string, a ...any) error { return &strangeError{fmt.Errorf(format, a...)} }

func (e *strangeError) Error() string { return "the agent " + e.err.Error() }
func (e *strangeError) Unwrap() error { return e.err }

// stream is one stream of frames. Frames may be written concurrently.
type stream struct {
	conn net.Conn
	mu   sync.Mutex
}

func (s *stream) send(k kind, body []byte) error {
	if len(body) > maxFrame {
		return fmt.Errorf("%d bytes are too many for one message", len(body))
	}
	head := make([]byte, headLength, headLength+len(body))
	head[0] = byte(k)
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write(append(head, body...))
	return err
}

func (s *stream) sendJSON(k kind, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.send(k, body)
}

func (s *stream) receive() (kind, []byte, error) {
	var head [headLength]byte
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, strangef("sends a message of %d bytes", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(s.conn, body)
	return kind(head[0]), body, err
}

// writer makes a stream of one kind of frames a Writer.
func (s *stream) writer(k kind) io.Writer { return frames{s, k} }

type frames struct {
	s *stream
	k kind
}

func (f frames) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), chunk)]
		if err := f.s.send(f.k, part); err != nil {
			return n, err
		}
		n += len(part)
		b = b[len(part):]
	}
	return n, nil
}
