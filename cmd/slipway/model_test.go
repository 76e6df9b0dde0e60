package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway/store/fault"
)

// model is a few people who push to a few places at random, while the server is
// killed, stopped, and made to fail at random. Whenever all is quiet, what is
// promised must hold.
type model struct {
	*faulty
	rand   *rand.Rand
	places []place
	people []*person
	trees  *trees

	loose  bool               // something was made to fail, or killed, beside the server
	start  string             // the fault at the next start, "" for none
	once   map[place]int      // the newest release of a place that is known to have been live
	refuse map[string]place   // commits that were refused, and where
	vars   map[place][]string // keys that were refused
	counts map[string]int
	rounds int

	mu    sync.RWMutex // held, alone, while the server is down
	epoch int          // of the server that runs

	log   sync.Mutex
	trace []string
}

type place struct{ app, env string }

func (p place) String() string { return p.app + "/" + p.env }

const modelTOML = `[ssh]
listen = "127.0.0.1:0"
[limits]
drain = "1s"
[environments.dev]
target = "local"
keep = 2
[environments.staging]
target = "local"
keep = 3
`

// testModel plays for $SOAK_TIME, else for a short while. $SEED repeats what
// was drawn, though not how the machine interleaved it.
func testModel(t *testing.T, bin string) {
	length, seed := 10*time.Second, uint64(time.Now().UnixNano())
	if text := os.Getenv("SOAK_TIME"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	m := newModel(t, bin, seed)
	end, report := time.Now().Add(length), time.NewTicker(time.Minute)
	defer report.Stop()
	for m.rounds == 0 || time.Now().Before(end) {
		m.round()
		m.rounds++
		if t.Failed() {
			t.Fatalf("SEED=%d, round %d:\n%s", seed, m.rounds, strings.Join(m.trace, "\n"))
		}
		select {
		case <-report.C:
			fmt.Printf("model: SEED=%d, %d rounds\n", seed, m.rounds)
		default:
		}
	}
	m.say("audit", "verify")
	text := fmt.Sprintf("model: SEED=%d, %d rounds", seed, m.rounds)
	for _, what := range slices.Sorted(maps.Keys(m.counts)) {
		text += fmt.Sprintf("; %s %d", what, m.counts[what])
	}
	if os.Getenv("SOAK_TIME") != "" { // else it is of interest with -v only
		fmt.Println(text)
	}
	t.Log(text)
}

func newModel(t *testing.T, bin string, seed uint64) *model {
	source := startSource(t)
	m := &model{
		rand:   rand.New(rand.NewPCG(seed, 0)),
		places: []place{{"shop", "dev"}, {"shop", "staging"}, {"blog", "dev"}},
		once:   map[place]int{}, refuse: map[string]place{}, vars: map[place][]string{}, counts: map[string]int{},
	}
	var repos string
	m.faulty = newWorld(t, bin, func(dir string) string {
		repos = filepath.Join(filepath.Dir(dir), "source")
		sources, err := source.declare(dir, repos)
		if err != nil {
			t.Fatal(err)
		}
		return modelTOML + sources
	})
	m.trees = newTrees(m.faulty, repos, source.url(repos))
	for i, options := range [][]string{nil, nil, {"-o", "ControlPath=" + filepath.Join(m.root, "mux")}} {
		m.people = append(m.people, newPerson(m, i, seed, options))
	}
	return m
}

// round lets everybody do a few things at once, until all is quiet again.
func (m *model) round() {
	m.trace, m.loose, m.start = nil, false, ""
	m.threaten()
	hangUp := m.multiplex(m.people[len(m.people)-1])
	done := make(chan struct{})
	var all sync.WaitGroup
	for _, p := range m.people {
		p.tried = nil
		all.Go(p.act)
	}
	go func() { all.Wait(); close(done) }()
	m.disturb(done)
	hangUp()
	m.calm()
	var tried []*attempt
	for _, p := range m.people {
		tried = append(tried, p.tried...)
	}
	m.judge(tried)
	m.repeat(tried)
}

// note keeps what has happened, for the case that something is wrong.
func (m *model) note(format string, a ...any) {
	m.log.Lock()
	defer m.log.Unlock()
	m.trace = append(m.trace, time.Now().Format("05.000 ")+fmt.Sprintf(format, a...))
}

func (m *model) count(what string) {
	m.log.Lock()
	defer m.log.Unlock()
	m.counts[what]++
}

// threaten chooses the place at which the server is to die or to fail.
func (m *model) threaten() {
	points := fault.Points()
	p := points[m.rand.IntN(len(points))]
	action := "kill"
	switch m.rand.IntN(8) {
	case 0, 1, 2, 3, 4:
		return
	case 5:
		action = "error"
	}
	faults := with(p, action)
	if p.Start {
		faults, m.start = p.Before+":kill", p.Name+":"+action
	}
	m.loose = strings.Contains(faults, "error") || strings.Contains(m.start, "error")
	m.note("faults %s %s", faults, m.start)
	m.set(faults)
}

// multiplex gives a person one connection for all that they do in a round.
func (m *model) multiplex(p *person) (hangUp func()) {
	socket := filepath.Join(m.root, "mux")
	m.must(errors.Join(os.RemoveAll(socket)))
	cmd := exec.Command("ssh", append(m.ssh()[1:], "-M", "-N", "-S", socket, "-p", m.port, "deploy@127.0.0.1")...)
	cmd.Env = m.outside()
	m.must(cmd.Start())
	over := make(chan struct{})
	go func() { defer close(over); _ = cmd.Wait() }() // it is killed, or its server is
	m.await(func() bool {
		select {
		case <-over:
			return true
		default:
			return exists(socket)
		}
	})
	return func() {
		_ = cmd.Process.Kill() // it may have ended
		<-over
	}
}

// disturb kills or stops the server at random moments, and starts one again
// whenever there is none, until done.
func (m *model) disturb(done <-chan struct{}) {
	moments := max(0, m.rand.IntN(4)-1)
	for {
		var moment <-chan time.Time
		if moments > 0 {
			moment = time.After(time.Duration(m.rand.IntN(700)) * time.Millisecond)
		}
		select {
		case <-done:
			select {
			case <-m.ended:
				m.restart("died")
			default:
			}
			return
		case <-m.ended:
			m.restart("died")
		case <-moment:
			moments--
			switch m.rand.IntN(8) {
			case 0, 1, 2:
				m.restart("killed")
			case 3:
				m.restart("stopped")
			case 4:
				m.killOther()
			}
		}
	}
}

// restart ends the server, if it has not ended by itself, and starts another,
// which may be killed as well.
func (m *model) restart(how string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count("servers " + how)
	m.note("the server is %s", how)
	switch how {
	case "killed":
		_ = m.server.Process.Kill() // it may have ended
	case "stopped":
		_ = m.server.Process.Signal(syscall.SIGTERM) // likewise
	}
	m.gone()
	for again := 0; again < 2 && m.rand.IntN(3) == 0; again++ {
		m.note("another is killed as it starts")
		m.count("servers killed at start")
		ready := m.launch()
		select {
		case <-time.After(time.Duration(m.rand.IntN(60)) * time.Millisecond):
		case <-ready:
		}
		m.kill()
	}
	if m.start != "" {
		m.set(m.start)
		m.start = ""
	}
	for try := 0; !m.tryStart(); try++ { // it dies at a named place
		m.note("another dies as it starts")
		if try == 5 {
			m.Fatalf("the server does not start:\n%s", strings.Join(m.trace, "\n"))
		}
	}
	m.epoch++
}

// killOther kills one of the processes that take part in a push beside the
// server.
func (m *model) killOther() {
	others := m.processes(m.dir, "")
	delete(others, m.server.Process.Pid)
	for _, pid := range slices.Sorted(maps.Keys(others)) {
		if m.rand.IntN(len(others)) > 0 {
			continue
		}
		m.loose = true
		m.note("kill %s", others[pid])
		m.count("processes killed")
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		return
	}
}

// calm waits until nothing goes on any more. Where something was made to fail
// the journal may be left open, which the next start has to close.
func (m *model) calm() {
	if err := os.Remove(m.fault); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.Fatal(err)
	}
	if m.loose {
		m.settled(2 * time.Second)
		m.restart("killed")
	}
	if !m.settled(30 * time.Second) {
		m.Fatalf("it does not come to rest: %v\n%s", m.processes(m.dir, ""), strings.Join(m.trace, "\n"))
	}
}

// settled says whether, within a time, no client is connected, no process but
// the server runs, and no deploy is open.
func (m *model) settled(within time.Duration) bool {
	db := m.journal()
	defer db.Close()
	ctx, cancel := context.WithTimeout(m.Context(), within+10*time.Second)
	defer cancel()
	end := time.Now().Add(within)
	for time.Now().Before(end) {
		others := m.processes(m.dir, "")
		delete(others, m.server.Process.Pid)
		if len(others) == 0 && m.connections() == 0 && m.faulty.open(ctx, db) == 0 {
			return true
		}
		<-time.After(10 * time.Millisecond)
	}
	return false
}

// connections counts those to the server's port that are not closed.
func (m *model) connections() int {
	port, err := net.LookupPort("tcp", m.port)
	m.must(err)
	table, err := os.ReadFile("/proc/net/tcp")
	m.must(err)
	n := 0
	for _, line := range strings.Split(string(table), "\n") {
		const established, closeWait = "01", "08"
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && (f[3] == established || f[3] == closeWait) {
			n++
		}
	}
	return n
}
