package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	aliveEvery = 15 * time.Second // between two signs of life
	window     = 4 << 20          // bytes of one stream that nobody has read yet
	bodyTime   = 20 * time.Second // for the body of a call to come
	endTime    = 20 * time.Second // for calls to end once the connection has

	// A connection that takes no byte for so long is as good as cut.
	writeTime = 30 * time.Second
)

var errCut = errors.New("the connection to the server was cut")

// Serve serves calls from in, and writes to out, until in ends; then it ends
// what calls have left running, and returns. out and in are closed.
func Serve(ctx context.Context, in io.ReadCloser, out io.WriteCloser) error {
	sum, err := Checksum("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	if _, err := fmt.Fprintf(out, "%s %d %s\n", Greeting, Protocol, sum); err != nil {
		return fmt.Errorf("greet the server: %w", err)
	}
	mux, err := yamux.Server(duplex{in, out}, settings())
	if err != nil {
		return err
	}
	defer mux.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errCut)
	s := &server{bodies: map[uint64]chan net.Conn{}, spares: spares{going: map[string]context.CancelFunc{}}}
	for {
		conn, err := mux.AcceptStreamWithContext(ctx)
		if err != nil {
			break
		}
		s.calls.Go(func() { s.serve(ctx, conn) })
	}
	cancel(errCut)
	ended := make(chan struct{})
	go func() { s.calls.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-time.After(endTime):
		return errors.New("a call does not end")
	}
}

// settings are those of both sides.
func settings() *yamux.Config {
	c := yamux.DefaultConfig()
	c.KeepAliveInterval = aliveEvery
	c.ConnectionWriteTimeout = writeTime
	c.MaxStreamWindowSize = window
	c.LogOutput = io.Discard // what fails is an error of the calls
	return c
}

// duplex is the two halves of a connection as one.
type duplex struct {
	io.ReadCloser
	out io.WriteCloser
}

func (d duplex) Write(b []byte) (int, error) { return d.out.Write(b) }
func (d duplex) Close() error                { return errors.Join(d.out.Close(), d.ReadCloser.Close()) }

// Checksum is the SHA-256 of a file, in hexadecimal.
func Checksum(path string) (sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// server is one connection, seen by the agent.
type server struct {
	calls  sync.WaitGroup
	spares spares
	mu     sync.Mutex
	bodies map[uint64]chan net.Conn
}

// body is where the body of a call arrives, whichever of the two comes first.
func (s *server) body(number uint64) chan net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies[number] == nil {
		s.bodies[number] = make(chan net.Conn, 1)
	}
	return s.bodies[number]
}

func (s *server) forget(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bodies, number)
}

// serve serves one stream: a call, or the body of one.
func (s *server) serve(ctx context.Context, conn net.Conn) {
	st := &stream{conn: conn}
	k, text, err := st.receive()
	if err != nil {
		conn.Close()
		return
	}
	switch k {
	case kindBody:
		var number uint64
		if json.Unmarshal(text, &number) != nil {
			conn.Close()
			return
		}
		select {
		case s.body(number) <- conn: // who takes it closes it
		default:
			conn.Close()
		}
	case kindRequest:
		defer conn.Close()
		c := &call{server: s, stream: st, sizes: make(chan [2]int, 1)}
		if err := json.Unmarshal(text, &c.request); err != nil {
			_ = st.sendJSON(kindResult, result{Error: packError(fmt.Errorf("a request that cannot be read: %w", err))})
			return
		}
		defer s.forget(c.request.Number)
		c.serve(ctx)
	default:
		conn.Close()
	}
}
