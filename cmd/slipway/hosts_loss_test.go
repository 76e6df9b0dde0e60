package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway/store/fault"
)

// TestHostLost cuts one of three hosts off, as a loss of power does, at every
// step that a deploy takes there, and kills the server at every step of its own.
func TestHostLost(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers and hosts")
	}
	t.Parallel()
	bin := faultBinary(t)
	all := os.Getenv("SLIPWAY_SOAK") != ""
	few := func(marks ...string) []string { // the first of them stands for the others
		if all {
			return marks
		}
		return marks[:1]
	}
	for name, test := range map[string]func(*hosted){
		"before": func(h *hosted) {
			for _, mark := range few("host.build", "host.place", "host.furnish", "host.built", "host.sync", "host.build:error,host.discard", "host.build:error,host.discarded") {
				h.loseBefore(mark)
			}
		},
		"switch": func(h *hosted) {
			for _, mark := range few("host.renamed", "host.lock", "host.fenced", "host.link") {
				h.loseInSwitch(mark)
			}
			for _, mark := range few("host.renamed", "host.place", "host.link") {
				h.blink(mark)
			}
		},
		"server": func(h *hosted) {
			if all { // else there is time for less
				loseBoth(h)
				h.losePruning()
			}
			killBuilding(h)
			for _, p := range fault.Points() {
				// What hosts do is in their agents, and they make their own spare trees.
				there := strings.HasPrefix(p.Name, "host.") || p.Name == "tree.write" || p.Name == "tree.keep"
				if !there && (all || p.Name == "switch.told" || p.Name == "refs.moved") {
					h.killAt(p)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(newLossy(t, bin)) })
	}
}

// newLossy is three hosts with something live, and something to prune.
func newLossy(t *testing.T, bin string) *hosted {
	t.Helper()
	h := newHosted(t, bin, 3, "")
	for range 2 { // which is what is kept
		h.commit("Before")
		h.again()
	}
	h.agreeAll(h.git("rev-parse", "HEAD"))
	return h
}

// pauseAt starts a push that stops at a place on a host.
func (h *hosted) pauseAt(m *machine, faults string) (push *exec.Cmd, out *strings.Builder, held string) {
	h.Helper()
	held = filepath.Join(m.dir, "held")
	h.must(os.WriteFile(m.fault, []byte(faults+":pause="+held), 0o600))
	push, out = h.startPush()
	h.await(func() bool { _, err := os.Stat(held); return err == nil })
	return push, out, held
}

// loseAt loses a host at a place, and returns what the pusher has seen.
func (h *hosted) loseAt(m *machine, faults string) (ok bool, out string) {
	h.Helper()
	push, said, held := h.pauseAt(m, faults)
	m.Lose(h.T)
	h.must(os.Remove(held))
	return push.Wait() == nil, said.String()
}

func (h *hosted) loseBefore(mark string) {
	h.Helper()
	h.phase("lost at " + mark)
	live, m := h.git("rev-parse", "HEAD"), h.hosts[1]
	others := []*machine{h.hosts[0], h.hosts[2]}
	var before [][]string
	for _, o := range others {
		before = append(before, o.state(h.T))
	}
	commit := h.commit("Lost at " + mark)
	ok, out := h.loseAt(m, mark)
	if text := flat(out); ok || !strings.Contains(text, m.Host.Name) || !strings.Contains(text, "is still live") ||
		!strings.Contains(mark, "error") && !strings.Contains(text, "hint: when "+m.Host.Name+" answers again, do the same once more") {
		h.Errorf("lost at %s, the pusher sees:\n%s", mark, out)
	}
	if at := h.ref(); at != live {
		h.Errorf("the ref has moved to %.7s", at)
	}
	for i, o := range others {
		if now := o.state(h.T); !slices.Equal(now, before[i]) {
			h.Errorf("lost at %s, %s had\n%v\nand has\n%v", mark, o.Host.Name, before[i], now)
		}
	}
	m.Return(h.T)
	h.agreeAll(live)
	h.again()
	h.agreeAll(commit)
}

func (h *hosted) loseInSwitch(mark string) {
	h.Helper()
	h.phase("lost at " + mark)
	live, m := h.git("rev-parse", "HEAD"), h.hosts[1]
	before := h.hosts[0].live()
	commit := h.commit("Lost at " + mark)
	ok, out := h.loseAt(m, mark)
	if text := flat(out); ok || !strings.Contains(text, m.Host.Name+" did not confirm, and is put back when it answers") || !strings.Contains(text, "nothing goes live in shop/prod before that") {
		h.Errorf("lost at %s, the pusher sees:\n%s", mark, out)
	}
	if at := h.ref(); at != live {
		h.Errorf("the ref has moved to %.7s", at)
	}
	for _, o := range []*machine{h.hosts[0], h.hosts[2]} {
		if now := o.live(); now != before {
			h.Errorf("lost at %s: %s is at release %s, not %s", mark, o.Host.Name, now, before)
		}
	}
	if os.Getenv("SLIPWAY_SOAK") != "" { // else there is no time for what comes after long waits
		h.refused("the deploy of release ", " has to be settled first", m.Host.Name, "hint: ")
	}
	m.Return(h.T)
	h.agreeAll(live)
	h.again()
	h.agreeAll(commit)
}

// blink loses a host that is back at once: what may be repeated is, and the
// pusher sees nothing of it.
func (h *hosted) blink(mark string) {
	h.Helper()
	h.phase("away for a moment at " + mark)
	commit, m := h.commit("Blinks at "+mark), h.hosts[1]
	push, out, held := h.pauseAt(m, mark)
	m.Lose(h.T)
	h.must(os.Remove(held))
	m.Return(h.T)
	if push.Wait() != nil {
		h.Errorf("away for a moment at %s, the push fails:\n%s", mark, out)
	}
	h.agreeAll(commit)
}

// losePruning loses a host when all is decided.
func (h *hosted) losePruning() {
	h.Helper()
	h.phase("lost at host.prune")
	commit, m := h.commit("Lost in pruning"), h.hosts[1]
	if ok, out := h.loseAt(m, "host.prune"); !ok {
		h.Errorf("the push fails:\n%s", out)
	}
	m.Return(h.T)
	h.quiet()
	if live := h.live(); live.Commit != commit || m.live() != h.hosts[0].live() {
		h.Errorf("live is %v, and the hosts are at %s and %s", live, m.live(), h.hosts[0].live())
	}
	commit = h.commit("After that")
	h.again()
	h.agreeAll(commit)
}

// killAt kills the server at a place, and again at its start where the place is
// there.
func (h *hosted) killAt(p fault.Point) {
	h.Helper()
	h.phase("killed at " + p.Name)
	want := h.git("rev-parse", "HEAD")
	commit := h.commit("Killed at " + p.Name)
	before, _, _ := strings.Cut(p.Before, ",")
	switch {
	case p.Start:
		h.set(p.Before + ":kill")
	case strings.HasPrefix(before, "host."): // which only agents come by
		h.must(os.WriteFile(h.hosts[1].fault, []byte(before), 0o600))
		h.set(p.Name + ":kill")
	default:
		h.set(with(p, "kill"))
	}
	_, out := h.push()
	h.gone()
	h.hit()
	if p.Start {
		h.set(p.Name + ":kill")
		if h.tryStart() {
			h.gone()
		}
		h.hit()
	}
	h.restart()
	if p.Forward {
		want = commit
	}
	h.agreeAll(want)
	h.again()
	h.agreeAll(commit)
	if h.Failed() {
		h.Fatalf("killed at %s:\n%s", p.Name, out)
	}
}

// killBuilding kills the server while hosts build: they end that by themselves.
func killBuilding(h *hosted) {
	live := h.git("rev-parse", "HEAD")
	before := h.states()
	h.write("postinstall", "#!/bin/sh\ntouch begun\nsleep 600 & sleep 600\n")
	h.commit("Killed in the build")
	n := h.releases()[0].Number + 1
	push, _ := h.startPush()
	for _, m := range h.hosts {
		h.await(func() bool {
			_, err := os.Stat(filepath.Join(m.apps, fmt.Sprintf("shop/releases/%d/begun", n)))
			return err == nil
		})
	}
	h.kill()
	_ = push.Wait() // cut off
	for i, m := range h.hosts {
		h.await(func() bool { return len(m.Processes(h.T)) == 1 && slices.Equal(m.state(h.T), before[i]) })
	}
	h.git("checkout", "-q", "HEAD^", "--", "postinstall")
	commit := h.commit("It builds")
	h.restart()
	h.agreeAll(live)
	h.again()
	h.agreeAll(commit)
}

// loseBoth loses a host in the switch, and then the server.
func loseBoth(h *hosted) {
	live, m := h.git("rev-parse", "HEAD"), h.hosts[1]
	commit := h.commit("Lost with the server")
	push, _, held := h.pauseAt(m, "host.renamed")
	m.Lose(h.T)
	h.must(os.Remove(held))
	h.kill()
	_ = push.Wait() // cut off
	h.start()       // with a host that is away
	dev := h.of("shop", "dev")
	dev.again()
	h.refused("has to be settled first", m.Host.Name)
	if said := h.doctor(); !strings.Contains(said, m.Host.Name) {
		h.Errorf("doctor is silent about a host that is away:\n%s", said)
	}
	if _, err := os.Stat(m.fault); !errors.Is(err, fs.ErrNotExist) {
		h.Errorf("the fault has not come: %v", err)
	}
	m.Return(h.T)
	h.agreeAll(live)
	h.again()
	h.agreeAll(commit)
}
