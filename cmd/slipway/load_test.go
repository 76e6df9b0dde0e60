package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLoad measures what a server does that has much to do, and prints it. With
// $SOAK_SCALE it runs; 1 is the full size.
func TestLoad(t *testing.T) {
	text := os.Getenv("SOAK_SCALE")
	if text == "" {
		t.Skip("make soak runs it")
	}
	scale, err := strconv.ParseFloat(text, 64)
	if err != nil || scale <= 0 {
		t.Fatalf("SOAK_SCALE=%s is no size", text)
	}
	l := newLoad(t, scale)
	fmt.Printf("\n%-3s  %-52s %10s %10s\n", "", "load, at scale "+text, "measured", "bound")
	for _, m := range []struct {
		name    string
		measure func()
	}{
		{"L1", l.silentStrangers},
		{"L2", l.flood},
		{"L3", l.manyPushes},
		{"L4", l.competing},
		{"L5", l.manyPlaces},
		{"L6+L7", l.badClients},
		{"L8", l.largeTree},
		{"over", l.over},
	} {
		t.Run(m.name, func(sub *testing.T) {
			l.T = sub
			defer func() { l.T = t }()
			m.measure()
		})
	}
	if l.exceeded > 0 {
		t.Errorf("%d figures are over their bound", l.exceeded)
	}
}

// load is a server with many environments, and an app that does little.
type load struct {
	*faulty
	scale    float64
	source   *source
	begin    usage
	exceeded int
	made     int
}

const loadTOML = `[ssh]
listen = "127.0.0.1:0"
[web]
listen = "127.0.0.1:0"
`

// places is how many environments there are at full size.
const places = 200

func newLoad(t *testing.T, scale float64) *load {
	l := &load{scale: scale, source: startSource(t)}
	l.faulty = newWorld(t, buildBinary(t), func(dir string) string {
		text, err := l.source.declare(dir, filepath.Join(filepath.Dir(dir), "source"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range places {
			text += fmt.Sprintf("[environments.e%d]\ntarget = \"local\"\nkeep = 2\n", i)
		}
		return loadTOML + text
	})
	l.must(os.MkdirAll(l.repo, 0o755))
	l.git("init", "-q", "-b", "main")
	for name, text := range map[string]string{
		"postinstall": "#!/bin/sh\n[ ! -e chatty ] || yes 'so many words about so little work' | head -c 8000000\n",
		"restart":     faultyRestart, "slipway.toml": faultyApp,
	} {
		l.must(os.WriteFile(filepath.Join(l.repo, name), []byte(text), 0o755))
	}
	l.git("add", ".")
	l.git("commit", "-qm", "Start")
	for range 3 { // what is made at the first use is there
		l.push1("warm/e0", l.next())
	}
	l.begin = l.usage()
	return l
}

// n is a number at this scale, not below a least.
func (l *load) n(full, least int) int { return max(least, int(math.Round(float64(full)*l.scale))) }

// figure prints one, and whether it is within its bound.
func (l *load) figure(name, what string, got, bound float64, unit string) {
	verdict := "ok"
	if got > bound {
		verdict = "OVER"
		l.exceeded++
	}
	digits := 1
	if unit == "s" && bound < 10 {
		digits = 2
	}
	if unit == "" {
		digits = 0
	}
	show := func(x float64) string { return strings.TrimSpace(strconv.FormatFloat(x, 'f', digits, 64) + " " + unit) }
	fmt.Printf("%-3s  %-52s %10s %10s  %s\n", name, what, show(got), show(bound), verdict)
}

// count prints a number that has to be as it is.
func (l *load) count(name, what string, got, want int) {
	verdict := "ok"
	if got != want {
		verdict = "WRONG"
		l.exceeded++
	}
	fmt.Printf("%-3s  %-52s %10d %10d  %s\n", name, what, got, want, verdict)
}

// next makes a commit on the one before, to push to a place again and again.
func (l *load) next() string {
	l.Helper()
	commit := l.change(1 << 10)
	l.git("update-ref", "refs/heads/main", commit)
	return commit
}

// change makes a commit on main, with so many new bytes in it.
func (l *load) change(size int, more ...string) string {
	l.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	l.must(os.WriteFile(filepath.Join(l.repo, "data"), data, 0o644))
	l.git("add", "data")
	for _, name := range more {
		l.must(os.WriteFile(filepath.Join(l.repo, name), nil, 0o644))
		l.git("add", name)
	}
	tree := l.git("write-tree")
	for _, name := range more {
		l.git("rm", "-q", "-f", name)
	}
	l.made++
	return l.git("commit-tree", "-p", "main", "-m", "Change "+strconv.Itoa(l.made), tree)
}

// pushed is what came of a push.
type pushed struct {
	to, commit string
	took       time.Duration
	ok         bool
	out        string
}

// push pushes over a port of a machine, ours or a proxy's, with more in git's
// environment.
func (l *load) push(port, to, commit string, environ ...string) pushed {
	ctx, cancel := context.WithTimeout(l.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "push", "-q", "ssh://deploy@127.0.0.1:"+port+"/"+to, commit+":refs/heads/main")
	cmd.Dir, cmd.Env, cmd.WaitDelay = l.repo, append(l.outside(), environ...), time.Second
	began := time.Now()
	out, err := cmd.CombinedOutput()
	return pushed{to: to, commit: commit, took: time.Since(began), ok: err == nil, out: string(out)}
}

// push1 pushes, and insists.
func (l *load) push1(to, commit string) pushed {
	l.Helper()
	p := l.push(l.port, to, commit)
	if !p.ok {
		l.Fatalf("a push to %s fails after %s:\n%s", to, p.took, p.out)
	}
	return p
}

// pushAll pushes all at once.
func (l *load) pushAll(all []pushed) []pushed {
	var g sync.WaitGroup
	for i, p := range all {
		g.Go(func() { all[i] = l.push(l.port, p.to, p.commit) })
	}
	g.Wait()
	return all
}

func took(all []pushed) []time.Duration {
	var d []time.Duration
	for _, p := range all {
		d = append(d, p.took)
	}
	return d
}

// centile is the value that so many percent of all do not exceed, in seconds.
func centile(all []time.Duration, percent int) float64 {
	s := slices.Sorted(slices.Values(all))
	return s[min(len(s)-1, len(s)*percent/100)].Seconds()
}

// usage is what the server holds.
type usage struct {
	files, goroutines int
	resident, peak    float64 // MiB
}

func (l *load) usage() (u usage) {
	l.Helper()
	pid := l.server.Process.Pid
	files, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	l.must(err)
	u.files = len(files)
	u.resident, u.peak = memory(pid)
	answer, err := http.Get("http://" + l.web + "/metrics")
	l.must(err)
	defer answer.Body.Close()
	var name string
	var value float64
	for {
		_, err := fmt.Fscanf(answer.Body, "%s %g\n", &name, &value)
		if name == "go_goroutines" && err == nil {
			u.goroutines = int(value)
			return u
		}
		if err != nil && err.Error() == "EOF" {
			l.Fatal("the server does not say how many goroutines it has")
		}
	}
}

// memory is what a process has in memory now and had at most, in MiB; 0 if
// there is none.
func memory(pid int) (now, peak float64) {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status")) // it may be gone
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmRSS:":
			now = kib / 1024
		case "VmHWM:":
			peak = kib / 1024
		}
	}
	return now, peak
}

// forget begins to measure the peak of the server's memory anew.
func (l *load) forget() {
	l.Helper()
	l.must(os.WriteFile(filepath.Join("/proc", strconv.Itoa(l.server.Process.Pid), "clear_refs"), []byte("5"), 0o200))
}

// watchTree notes the most that the server and all below it have in memory at
// once, until stop.
func (l *load) watchTree() (stop func() float64) {
	end, over := make(chan struct{}), make(chan float64)
	go func() {
		most := 0.0
		look := time.NewTicker(200 * time.Millisecond)
		defer look.Stop()
		for {
			select {
			case <-end:
				over <- most
				return
			case <-look.C:
				most = max(most, treeMemory(l.server.Process.Pid))
			}
		}
	}()
	return func() float64 { close(end); return <-over }
}

func treeMemory(root int) (sum float64) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := map[int][]int{}
	for _, path := range stats {
		text, _ := os.ReadFile(path) // it may be gone
		_, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		if len(f) < 2 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, _ := strconv.Atoi(f[1])
		children[parent] = append(children[parent], pid)
	}
	for all := []int{root}; len(all) > 0; all = all[1:] {
		sum += share(all[0])
		all = append(all, children[all[0]]...)
	}
	return sum
}

// share is what a process has in memory, in MiB, of which others have a part
// where it is shared with them: a sum over processes counts no page twice, as
// one of what each has would do with the program that all hooks are.
func share(pid int) float64 {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup")) // it may be gone
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}

// rest waits until nothing but the server is left, and it holds no more than
// a measure; the last usage that it saw is returned.
func (l *load) rest(most usage, within time.Duration) (u usage) {
	l.Helper()
	end := time.Now().Add(within)
	for {
		u = l.usage()
		if u.files <= most.files && u.goroutines <= most.goroutines || time.Now().After(end) {
			return u
		}
		<-time.After(100 * time.Millisecond)
	}
}

// over looks at what the server holds when all is done.
func (l *load) over() {
	http.DefaultClient.CloseIdleConnections()
	u := l.rest(l.begin, 15*time.Second)
	l.figure("", "files left open", float64(u.files-l.begin.files), 8, "")
	l.figure("", "goroutines left", float64(u.goroutines-l.begin.goroutines), 8, "")
	l.checkLeft()
	l.checkProcesses()
}
