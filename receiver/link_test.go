package receiver

import (
	"net"
	"os"
	"sync"
	"testing"
)

var interrupt = os.Interrupt

// link is a line between a client and the server that can be cut so that
// neither side hears of it.
type link struct {
	l     net.Listener
	mu    sync.Mutex
	dead  bool
	bytes chan int // what the client sent, piece by piece
	all   sync.WaitGroup
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	k := &link{l: l, bytes: make(chan int, 4096)}
	ends := make(chan net.Conn, 2)
	k.all.Add(1)
	go func() {
		defer k.all.Done()
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			near.Close()
			return
		}
		ends <- near
		ends <- far
		k.all.Add(2)
		go k.copy(far, near, true)
		go k.copy(near, far, false)
	}()
	t.Cleanup(func() {
		l.Close()
		for len(ends) > 0 {
			(<-ends).Close()
		}
		k.all.Wait()
	})
	return k
}

func (k *link) addr() string { return k.l.Addr().String() }

func (k *link) copy(to, from net.Conn, up bool) {
	defer k.all.Done()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		k.mu.Lock()
		dead := k.dead
		k.mu.Unlock()
		if err != nil {
			if !dead {
				to.Close()
			}
			return
		}
		if dead {
			continue // into the void
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		if up {
			select {
			case k.bytes <- n:
			default:
			}
		}
	}
}

// passed waits for the client to say something.
func (k *link) passed(t *testing.T) bool { return wait(t, "a sign of life", k.bytes) > 0 }

func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead = true
}
