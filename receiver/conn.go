package receiver

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"
)

// The reasons for which the door ends something. They are the causes of the
// sessions' contexts, and what a deploy that ends so is said to have ended by.
var (
	errGone        = errors.New("the client went away")
	errDead        = errors.New("the client did not answer any more")
	errStalled     = errors.New("the client stopped reading")
	errSlow        = errors.New("the push came in too slowly")
	errInterrupted = errors.New("interrupted by the client")
	errKeyRemoved  = errors.New("the key was removed")
	errStopping    = errors.New("the server is stopping")
	errFlood       = errors.New("too many requests on one connection")
	errRefusedOpen = errors.New("too many refused channels on one connection")
	errIdle        = errors.New("nothing ran on the connection")
	errCrowded     = errors.New("dropped to let others in")
	errNotSSH      = errors.New("not an SSH client")
	errTalkative   = errors.New("too many bytes before a key was proved")
)

const (
	preface        = "SSH-"    // how every SSH client begins
	maxBeforeProof = 256 << 10 // bytes of a whole handshake, amply
	maxRequests    = 1000      // at once; see conn.flood
	maxRefusedOpen = 3         // channels of a kind that is not served

	slowest = 4 << 10 // bytes a second of a push, while it comes in
	trickle = 256     // bytes a second: below it are answers to keepalives
)

// conn is one TCP connection. It owns the deadlines: the SSH library resets
// those of the net.Conn that it was given at each read and write, so its calls
// do nothing here.
type conn struct {
	net.Conn
	start  time.Time
	flood  *rate.Limiter // refills in a minute, so that a day of resizing a window is no flood
	closed chan struct{} // closed by Close
	once   sync.Once

	read   atomic.Int64 // bytes; those before a key was proved are bounded
	heard  atomic.Int64 // time.Duration since start at which the client last gave a sign of life
	proven atomic.Bool
	pace   pace

	mu       sync.Mutex
	cause    error             // why the door ended it, nil if it did not
	holder   string            // name of the key that was proved
	ssh      *gossh.ServerConn // nil before the first channel
	channels map[*channel]struct{}
	running  int       // commands and git services
	idle     time.Time // since when running is 0
	refused  int
	offers   []offer
}

func newConn(nc net.Conn, handshake time.Duration) (*conn, error) {
	c := &conn{
		Conn: nc, start: time.Now(), closed: make(chan struct{}),
		flood:    rate.NewLimiter(rate.Every(time.Minute/maxRequests), maxRequests),
		channels: map[*channel]struct{}{},
	}
	// The real clock, as the kernel compares with it.
	return c, nc.SetDeadline(c.start.Add(handshake))
}

func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	c.alive()
	at := c.read.Add(int64(n)) - int64(n)
	for i := 0; i < n && at+int64(i) < int64(len(preface)); i++ {
		if p[i] != preface[at+int64(i)] {
			c.kill(errNotSSH)
			return 0, errNotSSH
		}
	}
	if at > maxBeforeProof && !c.proven.Load() {
		c.kill(errTalkative)
		return 0, errTalkative
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	before := time.Now()
	n, err := c.Conn.Write(p)
	// A write that had to wait and went through says that the client takes
	// what it is sent, however slow its line is.
	if err == nil && time.Since(before) > 100*time.Millisecond {
		c.alive()
	}
	return n, err
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *conn) alive() { c.heard.Store(int64(time.Since(c.start))) }

// quiet is for how long the client gave no sign of life.
func (c *conn) quiet() time.Duration { return time.Since(c.start) - time.Duration(c.heard.Load()) }

// kill ends the connection and everything on it, for a reason; the first
// reason stays.
func (c *conn) kill(why error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = why
	}
	c.mu.Unlock()
	_ = c.Close() // closing twice is an error of no interest
}

// why says why the connection has ended.
func (c *conn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return errGone
}

// proved lifts the handshake's deadline.
func (c *conn) proved(holder string) error {
	c.mu.Lock()
	c.holder, c.idle = holder, time.Now()
	c.mu.Unlock()
	c.proven.Store(true)
	return c.Conn.SetDeadline(time.Time{})
}

// pace is how fast a push comes in. It looks at the bytes of the connection, as
// what a push sends is seen below it in large pieces only. Time in which next
// to nothing comes does not count: a client may count and compress for as long
// as it likes before it sends. Only the goroutine that watches the connection
// uses it.
type pace struct {
	at    time.Time // of the last look
	read  int64     // bytes, up to then
	bytes int64     // that came in during the time below
	took  time.Duration
	ended time.Time // when pushes were last ended for it
}

// slow looks at the bytes that were read until now, and says whether they have
// come too slowly for as long as patience.
func (p *pace) slow(now time.Time, read int64, patience time.Duration) bool {
	took, bytes := now.Sub(p.at), read-p.read
	p.at, p.read = now, read
	if float64(bytes) < trickle*took.Seconds() {
		return false
	}
	p.took += took
	p.bytes += bytes
	if p.took < patience {
		return false
	}
	slow := float64(p.bytes) < slowest*p.took.Seconds()
	p.took, p.bytes = 0, 0
	return slow
}

// begin forgets what came in before a push.
func (p *pace) begin(now time.Time, read int64) { *p = pace{at: now, read: read, ended: p.ended} }

// offer is a key that was shown and not accepted.
type offer struct {
	key  gossh.PublicKey
	user string
	why  error
}

func (c *conn) offered(o offer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.offers) < 16 {
		c.offers = append(c.offers, o)
	}
}

// open counts a channel in, unless there are enough.
func (c *conn) open(sc *gossh.ServerConn, ch *channel, most int) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.channels) >= most {
		return false
	}
	c.ssh = sc
	c.channels[ch] = struct{}{}
	return true
}

func (c *conn) shut(ch *channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.channels, ch)
}

// run counts what runs by d.
func (c *conn) run(d int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running += d
	c.idle = time.Now()
}

// busy says whether something runs.
func (c *conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running > 0
}

// asker is what a keepalive request can be sent by, nil before the first
// session.
func (c *conn) asker() *gossh.ServerConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ssh
}

// refuse counts a channel that is not served.
func (c *conn) refuse() {
	c.mu.Lock()
	c.refused++
	over := c.refused >= maxRefusedOpen
	c.mu.Unlock()
	if over {
		c.kill(errRefusedOpen)
	}
}

// request counts one request of the client and says whether it may go on.
func (c *conn) request() bool {
	if c.flood.Allow() {
		return true
	}
	c.kill(errFlood)
	return false
}
