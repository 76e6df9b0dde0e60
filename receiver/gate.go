package receiver

import (
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// An unproved connection of this age had its chance: a handshake takes
	// well under a second.
	startGrace = 2 * time.Second

	// Failed logins of one network: this many are free, and as many come back
	// each minute; every one beyond shuts that network out for a second more,
	// up to maxPenalty. That is mild on purpose: behind one address stand many
	// people and build servers, and no address is exempt, loopback neither.
	freeFailures = 20
	maxPenalty   = 10 * time.Second
	maxPenalties = 4096 // networks remembered
)

// gate decides which connections are let in. OpenSSH's MaxStartups drops
// newcomers at random when many have not proved a key; a flood then shuts out
// the good ones with the same odds. Here a newcomer rather takes the place of
// one that says nothing, or has been at it for long, from the network that has
// most of them; chance decides only when all of them are young and busy, and
// against the newcomer only if its own network has most.
type gate struct {
	now func() time.Time

	mu        sync.Mutex
	conns     map[*conn]netip.Prefix
	startups  map[netip.Prefix][]*conn // unproved, oldest first
	penalties map[netip.Prefix]*penalty
	forgave   time.Time
}

type penalty struct {
	free  *rate.Limiter
	over  int // failures beyond the free ones, in a row
	until time.Time
	last  time.Time
}

func newGate(now func() time.Time) *gate {
	return &gate{
		now: now, conns: map[*conn]netip.Prefix{}, startups: map[netip.Prefix][]*conn{},
		penalties: map[netip.Prefix]*penalty{},
	}
}

// network is what counts as one address: an IPv4 address, or an IPv6 /64,
// which is what one customer gets.
func network(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// perNetwork is how many connections of one network may be unproved at once.
func perNetwork(connections int) int { return max(connections/2, 10) }

// admit takes c in, if need be in the place of another that it ends. It says
// whether it did; leave must follow if so.
func (g *gate) admit(c *conn, connections int) bool {
	p := network(c.RemoteAddr())
	g.mu.Lock()
	defer g.mu.Unlock()
	if pen := g.penalties[p]; pen != nil && g.now().Before(pen.until) {
		return false
	}
	var victim *conn
	switch {
	case len(g.startups[p]) >= perNetwork(connections):
		victim = g.spare(len(g.startups[p]), g.startups[p])
	case len(g.conns) >= connections:
		victim = g.spare(len(g.startups[p]), slices.Collect(maps.Values(g.startups))...)
	default:
		g.add(c, p)
		return true
	}
	if victim == nil {
		return false
	}
	g.remove(victim)
	victim.kill(errCrowded)
	g.add(c, p)
	return true
}

// spare picks which of some networks' unproved ones makes place, nil if the
// newcomer has to go; beside is how many of those its own network has. Whoever
// has just come says nothing yet: the only silent one of a network is spared as
// long as another network has more connections than one.
func (g *gate) spare(beside int, networks ...[]*conn) *conn {
	var silent, busiest []*conn
	for _, startups := range networks {
		var s []*conn
		for _, c := range startups {
			if c.read.Load() == 0 {
				s = append(s, c)
			}
		}
		if len(s) > len(silent) || len(s) == 1 && len(silent) == 1 && s[0].start.Before(silent[0].start) {
			silent = s
		}
		if len(startups) > len(busiest) {
			busiest = startups
		}
	}
	switch {
	case len(silent) > 1, len(silent) == 1 && len(busiest) == 1:
		return silent[0]
	case len(busiest) > 0 && time.Since(busiest[0].start) > startGrace:
		return busiest[0]
	case beside < len(busiest):
		return busiest[rand.IntN(len(busiest))]
	}
	if n := rand.IntN(len(busiest) + 1); n < len(busiest) {
		return busiest[n]
	}
	return nil
}

func (g *gate) add(c *conn, p netip.Prefix) {
	g.conns[c] = p
	g.startups[p] = append(g.startups[p], c)
}

func (g *gate) remove(c *conn) {
	g.unstart(c)
	delete(g.conns, c)
}

func (g *gate) unstart(c *conn) {
	p := g.conns[c]
	for i, o := range g.startups[p] {
		if o == c {
			g.startups[p] = append(g.startups[p][:i:i], g.startups[p][i+1:]...)
			break
		}
	}
	if len(g.startups[p]) == 0 {
		delete(g.startups, p)
	}
}

// proved takes c out of those that others may push out.
func (g *gate) proved(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unstart(c)
}

// leave forgets c.
func (g *gate) leave(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remove(c)
}

// failed counts a failed login against the network that it came from.
func (g *gate) failed(a net.Addr) {
	p, now := network(a), g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	pen := g.penalties[p]
	if pen == nil {
		if len(g.penalties) >= maxPenalties && now.Sub(g.forgave) > time.Second {
			g.forgive(now)
		}
		if len(g.penalties) >= maxPenalties {
			return // so many failing networks at once that one more is no news
		}
		pen = &penalty{free: rate.NewLimiter(rate.Every(time.Minute/freeFailures), freeFailures)}
		g.penalties[p] = pen
	}
	pen.last = now
	if pen.free.AllowN(now, 1) {
		pen.over = 0
		return
	}
	pen.over++
	pen.until = now.Add(min(time.Duration(pen.over)*time.Second, maxPenalty))
}

// forgive drops the penalties of networks that kept quiet for a minute, after
// which they have all their free failures again.
func (g *gate) forgive(now time.Time) {
	g.forgave = now
	for p, pen := range g.penalties {
		if now.Sub(pen.last) > time.Minute {
			delete(g.penalties, p)
		}
	}
}

// all returns the connections that are in.
func (g *gate) all() []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		all = append(all, c)
	}
	return all
}
