package main

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// from connects to the server's door from another address of this machine.
func (l *load) from(addr string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}, Timeout: 10 * time.Second}
	return d.Dial("tcp", "127.0.0.1:"+l.port)
}

// silentStrangers is L1: connections that say nothing, and a push.
func (l *load) silentStrangers() {
	before := l.usage()
	l.forget()
	n := l.n(500, 50)
	var open sync.WaitGroup
	var last atomic.Int64
	began := time.Now()
	for i := range n {
		c, err := l.from(fmt.Sprintf("127.0.1.%d", 1+i%50))
		l.must(err)
		open.Go(func() {
			defer c.Close()
			_, _ = io.Copy(io.Discard, c) // until the server has enough of it
			last.Store(int64(time.Since(began)))
		})
	}
	p := l.push1("warm/e0", l.next())
	_, peak := memory(l.server.Process.Pid)
	open.Wait()
	l.figure("L1", fmt.Sprintf("%d silent connections: a push takes", n), p.took.Seconds(), 3, "s")
	l.figure("L1", "  memory that they cost", peak-before.resident, 25, "MiB")
	l.figure("L1", "  the last is closed after", time.Duration(last.Load()).Seconds(), 21, "s")
	after := l.rest(before, 5*time.Second)
	l.figure("L1", "  files left open", float64(after.files-before.files), 4, "")
}

// flood is L2: many connections a second from some addresses, of which a third
// hang up, a third are silent, and a third begin to speak; and good logins from
// another address meanwhile.
func (l *load) flood() {
	length := time.Duration(l.n(30, 3)) * time.Second
	const rate, each = 2000, 10 * time.Millisecond
	end := time.Now().Add(length)
	var strangers sync.WaitGroup
	var made, refused atomic.Int64
	stranger := func(i int) {
		c, err := l.from(fmt.Sprintf("127.0.2.%d", 1+i%50))
		if err != nil {
			refused.Add(1)
			return
		}
		defer c.Close()
		made.Add(1)
		if i%3 == 0 {
			return
		}
		if i%3 == 1 {
			_, _ = c.Write([]byte("SSH-2.0-stranger\r\n")) // it may be closed already
		}
		_ = c.SetDeadline(time.Now().Add(3 * time.Second)) // a connection that is closed has none
		_, _ = io.Copy(io.Discard, c)
	}
	began := time.Now()
	strangers.Go(func() {
		tick := time.NewTicker(each)
		defer tick.Stop()
		for i := 0; time.Now().Before(end); <-tick.C {
			// As many as are due, however late the tick is.
			for due := int(time.Since(began).Seconds() * rate); i < due; i++ {
				strangers.Go(func() { stranger(i) })
			}
		}
	})
	var logins []time.Duration
	failed := 0
	for time.Now().Before(end) {
		cmd := exec.Command("ssh", append(l.ssh()[1:], "-p", l.port, "deploy@127.0.0.1", "version")...)
		cmd.Env = l.outside()
		start := time.Now()
		if err := cmd.Run(); err != nil {
			failed++
		}
		logins = append(logins, time.Since(start))
	}
	lasted := time.Since(began).Seconds()
	strangers.Wait()
	l.figure("L2", fmt.Sprintf("%.0f connections/s for %.0f s: good logins, p95", float64(made.Load()+refused.Load())/lasted, lasted),
		centile(logins, 95), 2, "s")
	l.count("L2", fmt.Sprintf("  of %d logins these failed", len(logins)), failed, 0)
}
