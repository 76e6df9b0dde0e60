package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// manyPushes is L3: pushes of 1 MB at once, each to an environment of its own.
func (l *load) manyPushes() {
	all := make([]pushed, l.n(50, 5))
	for i := range all {
		all[i] = pushed{to: fmt.Sprintf("many/e%d", i), commit: l.change(1 << 20)}
	}
	l.forget()
	stop := l.watchTree()
	all = l.pushAll(all)
	most := stop()
	_, peak := memory(l.server.Process.Pid)
	l.count("L3", fmt.Sprintf("%d pushes of 1 MB to %d environments: accepted", len(all), len(all)), accepted(all), len(all))
	l.figure("L3", "  p50", centile(took(all), 50), 10, "s")
	l.figure("L3", "  p95", centile(took(all), 95), 20, "s")
	l.figure("L3", "  memory of the server", peak, 150, "MiB")
	l.figure("L3", "  memory of it and all below it", most, 1024, "MiB")
	l.settle(all)
}

func accepted(all []pushed) (n int) {
	for _, p := range all {
		if p.ok {
			n++
		}
	}
	return n
}

// settle holds all places that were pushed to against what was accepted.
func (l *load) settle(all []pushed) {
	l.Helper()
	l.quiet()
	for _, p := range all {
		app, env, _ := strings.Cut(p.to, "/")
		f := l.of(app, env)
		if p.ok {
			f.agree(p.commit, f.releases())
		} else if !strings.Contains(p.out, "moved from") && !strings.Contains(p.out, "fetch first") {
			l.Errorf("a push to %s is refused for another reason:\n%s", p.to, p.out)
		}
	}
	l.checkLeft()
	l.checkProcesses()
}

// competing is L4: pushes that cannot all win.
func (l *load) competing() {
	l.manyToFew()
	l.manyToOne()
}

// manyToFew pushes at once, two to each environment: of either two one wins.
func (l *load) manyToFew() {
	few := l.n(25, 3)
	all := make([]pushed, 2*few)
	for i := range all {
		all[i] = pushed{to: fmt.Sprintf("few/e%d", i%few), commit: l.change(10 << 10)}
	}
	all = l.pushAll(all)
	l.count("L4", fmt.Sprintf("%d pushes over %d environments: accepted", len(all), few), accepted(all), few)
	l.figure("L4", "  p95", centile(took(all), 95), 20, "s")
	l.settle(all)
}

// manyToOne: of pushes at once to one place, all from one base, one wins.
func (l *load) manyToOne() {
	l.push1("one/e0", l.change(1<<10))
	base := l.of("one", "e0").ref()
	tree := l.git("rev-parse", base+"^{tree}")
	all := make([]pushed, l.n(50, 10))
	for i := range all {
		all[i] = pushed{to: "one/e0", commit: l.git("commit-tree", "-p", base, "-m", strconv.Itoa(i), tree)}
	}
	all = l.pushAll(all)
	l.count("L4", fmt.Sprintf("%d pushes to one environment: accepted", len(all)), accepted(all), 1)
	l.figure("L4", "  the last has its answer after", centile(took(all), 100), 20, "s")
	l.settle(all)
}

// manyPlaces is L5: a push to each of many environments, one after the other,
// then a history in all of them, and a restart.
func (l *load) manyPlaces() {
	n := l.n(places, 20)
	all := make([]pushed, n)
	for i := range all {
		all[i] = l.push1(fmt.Sprintf("flat/e%d", i), l.next())
	}
	tenth := max(n/10, 5)
	first, last := centile(took(all[:tenth]), 50), centile(took(all[n-tenth:]), 50)
	l.figure("L5", fmt.Sprintf("%d environments, one push each: last/first %d, median", n, tenth), last/first, 1.3, "x")
	l.idle()
	history := l.n(20, 2)
	var orders sync.WaitGroup
	begin := time.Now()
	next := make(chan string)
	for range 4 {
		orders.Go(func() {
			for to := range next {
				for i := range history - 1 {
					if out, err := l.command("vars", "set", to, fmt.Sprintf("N=%d", i)).CombinedOutput(); err != nil {
						l.Errorf("vars set %s: %v\n%s", to, err, out)
						break
					}
				}
			}
		})
	}
	for _, p := range all {
		next <- p.to
	}
	close(next)
	orders.Wait()
	releases := n * (history - 1)
	fmt.Printf("%-3s  %-52s %8.1f/s\n", "L5", fmt.Sprintf("  %d releases more by vars set", releases), float64(releases)/time.Since(begin).Seconds())
	again := make([]pushed, tenth)
	for i := range again {
		again[i] = l.push1(fmt.Sprintf("flat/e%d", i), l.next())
	}
	l.figure("L5", fmt.Sprintf("  with %d releases each: against the first %d", history, tenth), centile(took(again), 50)/first, 1.3, "x")
	l.idle()
}

// idle looks at a server that has nothing to do, and restarts it.
func (l *load) idle() {
	l.Helper()
	l.quiet()
	l.checkProcesses()
	u := l.usage()
	l.figure("L5", "  memory of the idle server", u.resident, 80, "MiB")
	l.must(l.server.Process.Signal(syscall.SIGTERM))
	l.gone()
	began := time.Now()
	l.start()
	l.figure("L5", "  a start takes", time.Since(began).Seconds(), 10, "s")
}
