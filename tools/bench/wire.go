package main

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// wire is a link to addr that counts the bytes of both directions, and holds
// each up for delay: a round trip takes twice that longer. It bounds no
// bandwidth. Only what TCP itself sends to connect is not delayed.
type wire struct {
	net.Listener
	addr  string
	delay time.Duration
	bytes atomic.Int64
}

func newWire(addr string, delay time.Duration) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{Listener: l, addr: addr, delay: delay}
	go w.serve()
	return w, nil
}

func (w *wire) port() int { return w.Addr().(*net.TCPAddr).Port }

func (w *wire) serve() {
	for {
		near, err := w.Accept()
		if err != nil { // closed
			return
		}
		go func() {
			defer near.Close()
			far, err := net.Dial("tcp", w.addr)
			if err != nil {
				return
			}
			defer far.Close()
			var both sync.WaitGroup
			both.Go(func() { w.carry(far.(*net.TCPConn), near) })
			both.Go(func() { w.carry(near.(*net.TCPConn), far) })
			both.Wait()
		}()
	}
}

// carry hands over what comes, each piece when its time has come, and then the
// end.
func (w *wire) carry(to *net.TCPConn, from io.Reader) {
	type piece struct {
		data []byte
		due  time.Time
	}
	line := make(chan piece, 4096)
	var done sync.WaitGroup
	done.Go(func() {
		for p := range line {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				_ = to.Close() // so the other side hears of it too
			}
		}
		_ = to.CloseWrite()
	})
	for {
		data := make([]byte, 64<<10)
		n, err := from.Read(data)
		w.bytes.Add(int64(n))
		if n > 0 {
			line <- piece{data[:n], time.Now().Add(w.delay)}
		}
		if err != nil {
			break
		}
	}
	close(line)
	done.Wait()
}
