package socket

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Session is one call as the server sees it. The streams are valid until the
// handler returns.
type Session struct {
	Hello    Hello
	In       io.Reader
	Out, Err io.Writer
	Sizes    <-chan [2]int // later rows and columns of the terminal
}

// errGone is the cause that a handler's context ends with when its client did.
var errGone = errors.New("the client went away")

const (
	greetingTime = 10 * time.Second       // in which a client says what it wants
	crowdedTime  = 100 * time.Millisecond // between two tries to accept while the system has no room
	ahead        = 32                     // frames of input that are taken before the handler reads them
)

// Serve accepts calls until l is closed, and returns once all handlers have.
// Only root and the server's own user may call. handle's context ends when the
// client does; its result is the exit status.
func Serve(ctx context.Context, l net.Listener, handle func(context.Context, *Session) int) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ENOBUFS):
			<-time.After(crowdedTime) // what is open now will be closed
			continue
		case err != nil:
			return fmt.Errorf("accept on the socket: %w", err)
		}
		calls.Go(func() { serve(ctx, conn.(*net.UnixConn), handle) })
	}
}

func serve(ctx context.Context, conn *net.UnixConn, handle func(context.Context, *Session) int) {
	defer conn.Close()
	uid, err := peerUID(conn)
	if err != nil || uid != 0 && int(uid) != os.Geteuid() {
		return // nobody else can open the socket's file; the caller sees the end of the call and fails
	}
	var hello Hello
	_ = conn.SetReadDeadline(time.Now().Add(greetingTime))
	kind, b, err := readFrame(conn)
	if err != nil || kind != frameHello || json.Unmarshal(b, &hello) != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in, feed := io.Pipe()
	sizes := make(chan [2]int, 1)
	s := &Session{Hello: hello, In: in, Sizes: sizes}
	var mu sync.Mutex
	s.Out, s.Err = &frames{conn, &mu, frameOutput}, &frames{conn, &mu, frameErrors}

	// The reader runs ahead of the handler, which may never read: the client's
	// going is to be seen all the same.
	inbox := make(chan []byte, ahead)
	var reader sync.WaitGroup
	reader.Go(func() { pump(inbox, feed) })
	reader.Go(func() {
		defer close(sizes)
		defer close(inbox)
		read(conn, inbox, sizes)
		cancel(errGone)
	})
	status := handle(ctx, s)
	in.CloseWithError(io.ErrClosedPipe)
	mu.Lock()
	_ = writeFrame(conn, frameExit, []byte{byte(status)}) // a client that is gone needs no status
	mu.Unlock()
	conn.Close()
	reader.Wait()
}

// read relays what the client sends until it ends.
func read(conn net.Conn, inbox chan<- []byte, sizes chan [2]int) {
	for {
		kind, b, err := readFrame(conn)
		switch {
		case err != nil:
			return
		case kind == frameInput:
			inbox <- b
		case kind == frameSize && len(b) == 4:
			size := [2]int{int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))}
			select {
			case <-sizes: // only the newest counts
			default:
			}
			sizes <- size
		}
	}
}

// pump hands the input on; a client that goes without having ended it leaves
// it cut off.
func pump(inbox <-chan []byte, feed *io.PipeWriter) {
	for b := range inbox {
		if len(b) == 0 {
			feed.Close()
			continue
		}
		_, _ = feed.Write(b) // fails once the handler reads no more, which is its right
	}
	feed.CloseWithError(io.ErrUnexpectedEOF)
}

// frames writes one stream.
type frames struct {
	conn net.Conn
	mu   *sync.Mutex
	kind byte
}

func (f *frames) Write(b []byte) (int, error) {
	for n := 0; n < len(b); n += chunk {
		f.mu.Lock()
		err := writeFrame(f.conn, f.kind, b[n:min(n+chunk, len(b))])
		f.mu.Unlock()
		if err != nil {
			return n, err
		}
	}
	return len(b), nil
}
