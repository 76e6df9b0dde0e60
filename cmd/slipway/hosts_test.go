package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestHosts goes through the life of an app on three hosts.
func TestHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server and hosts")
	}
	t.Parallel()
	h := newHosted(t, faultBinary(t), 3, "")

	first := h.git("rev-parse", "HEAD")
	ok, out := h.push()
	if !ok {
		t.Fatalf("the first push fails:\n%s", out)
	}
	for i, m := range h.hosts {
		for _, line := range []string{fmt.Sprintf("built on %d", i), "well"} {
			if n := strings.Count(out, "  | "+m.Host.Name+": "+line); n != 1 {
				t.Errorf("%s says %q %d times", m.Host.Name, line, n)
			}
		}
		if _, err := os.Stat(filepath.Join(m.apps, "shop", "current", "released")); (err == nil) != (i == 0) {
			t.Errorf("release on host %d: %v", i, err)
		}
	}
	if n := strings.Count(out, ": once on "); n != 1 || !strings.Contains(out, h.hosts[0].Host.Name+": once on 0") {
		t.Errorf("release ran %d times", n)
	}
	if t.Failed() {
		t.Fatal(out)
	}
	h.agreeAll(first)

	h.phase("of a second push only what changed is sent")
	h.write("assets", rand.Text()+strings.Repeat("x", 1<<20))
	for i := range 200 {
		h.write(fmt.Sprintf("page%d", i), rand.Text())
	}
	h.commit("Many files")
	h.again()
	h.write("page7", rand.Text())
	second := h.commit("A small change")
	if ok, out = h.push(); !ok {
		t.Fatalf("the second push fails:\n%s", out)
	}
	if sent := regexp.MustCompile(`sent 1 file to 3 hosts, (\d+) B`).FindStringSubmatch(out); sent == nil {
		t.Errorf("more was sent than 1 KiB:\n%s", out)
	} else {
		t.Logf("%s bytes went to 3 hosts", sent[1])
	}
	h.agreeAll(second)

	h.phase("one host cannot build it")
	before := h.states()
	h.write("postinstall", "#!/bin/sh\necho trying\n[ $SLIPWAY_HOST != 1 ] || exit 3\n")
	h.commit("Fails on one host")
	h.refused("error: postinstall on 127.0.0.3 exited 3; release 3 ("+second[:7]+") is still live", "| 127.0.0.3: trying", "hint: ")
	h.unchanged(before)
	h.agreeAll(second)
	h.git("reset", "-q", "--hard", second)
	for _, c := range []struct{ instead, command, host string }{
		{"touch released", "exit 4", "127.0.0.2"},
		{"echo well", "[ $SLIPWAY_HOST != 2 ] || exit 4", "127.0.0.4"},
	} {
		h.write("slipway.toml", strings.Replace(hostedApp, c.instead, c.command, 1))
		h.commit("Not well")
		h.refused("on " + c.host + " exited 4; release 3 (" + second[:7] + ") is still live")
		h.unchanged(before)
		h.agreeAll(second)
		h.git("reset", "-q", "--hard", second)
	}

	h.phase("a restart that fails on one host")
	h.write("restart", "#!/bin/sh\n[ $SLIPWAY_HOST != 2 ] || exit 5\n"+strings.TrimPrefix(faultyRestart, "#!/bin/sh\n"))
	h.commit("Fails at restart")
	h.refused("error: restart on 127.0.0.4 exited 5; release 3 (" + second[:7] + ") is live again")
	h.agreeAll(second)
	h.git("reset", "-q", "--hard", second)

	h.phase("a host that lags")
	lagging := h.hosts[1]
	h.must(os.Remove(filepath.Join(lagging.apps, "shop", "current")))
	said := h.doctor()
	for _, c := range []struct{ text, want string }{
		{h.say("releases", "shop/prod"), "note: 127.0.0.3: lags: release 3 is live; host sync shop/prod mends it"},
		{h.say("host", "list", "shop/prod"), "lags: release 3 is live"},
		{said, "127.0.0.3 runs release - of shop/prod; release 3 is live"},
		{said, "hint: host sync shop/prod"},
	} {
		if !strings.Contains(c.text, c.want) {
			t.Errorf("%q is not in\n%s", c.want, c.text)
		}
	}
	if said := h.say("host", "sync", "shop/prod"); !strings.Contains(flat(said), "127.0.0.3: release 0 -> 3") || !strings.Contains(said, "127.0.0.2 is at release 3 already") {
		t.Errorf("host sync:\n%s", said)
	}
	h.agreeAll(second)

	h.phase("a new host")
	added := h.addHost()
	h.reload(4)
	if said := h.doctor(); !strings.Contains(said, "127.0.0.5 runs release - of shop/prod; release 3 is live") {
		t.Errorf("doctor says nothing of the new host:\n%s", said)
	}
	if said := h.say("host", "sync", "shop/prod"); !strings.Contains(flat(said), "127.0.0.5: release 0 -> 3") || !strings.Contains(said, "127.0.0.5: built on 3") {
		t.Errorf("host sync:\n%s", said)
	}
	if added.live() != "3" {
		t.Errorf("the new host is at release %q", added.live())
	}
	if said := h.say("releases", "shop/prod"); strings.Contains(said, "lags") {
		t.Errorf("a host lags after host sync:\n%s", said)
	}
	h.say("redeploy", "shop/prod")
	h.agreeAll(second)
	h.say("rollback", "shop/prod")
	h.agreeAll(second)
	h.commit("On four hosts")
	h.again()
	h.agreeAll(h.git("rev-parse", "HEAD"))
}

// phase says what comes.
func (h *hosted) phase(what string) {
	h.Helper()
	h.Logf("%s  %s", time.Now().Format(time.TimeOnly), what)
}

// refused pushes, and insists that it fails with these words.
func (h *hosted) refused(words ...string) {
	h.Helper()
	ok, out := h.push()
	if ok {
		h.Fatalf("the push is accepted:\n%s", out)
	}
	for _, w := range words {
		if !strings.Contains(flat(out), w) {
			h.Fatalf("%q is not in\n%s", w, out)
		}
	}
}

// doctor is what doctor says, whether or not all is well.
func (h *hosted) doctor() string {
	h.Helper()
	out, _ := h.command("doctor").CombinedOutput() // other checks may fail here
	return flat(string(out))
}

func (h *hosted) states() (all [][]string) {
	h.Helper()
	for _, m := range h.hosts {
		all = append(all, m.state(h.T))
	}
	return all
}

// unchanged asserts that every host has what it had.
func (h *hosted) unchanged(before [][]string) {
	h.Helper()
	h.quiet()
	for i, now := range h.states() {
		if !slices.Equal(now, before[i]) {
			h.Errorf("host %d had\n%v\nand has\n%v", i, before[i], now)
		}
	}
}

// TestStartWithSilentHost starts the server beside a host that takes what is
// sent to it and never answers: that must not hold up other environments.
func TestStartWithSilentHost(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server and a host")
	}
	t.Parallel()
	h := newHosted(t, faultBinary(t), 1, "")
	live := h.git("rev-parse", "HEAD")
	h.again()
	h.quiet()
	h.of("shop", "dev").again()

	commit := h.commit("Stopped before the switch")
	m := h.hosts[0]
	h.set("switch.begun:kill")
	_, _ = h.push()
	h.gone()
	m.Lose(t)
	silent, err := net.Listen("tcp", m.Host.Addr()) // the kernel takes what comes, nobody reads it
	h.must(err)
	began := time.Now()
	h.start()
	h.of("shop", "dev").again()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("to serve another environment took %s", took.Round(time.Second))
	} else {
		t.Logf("another environment is served after %s", took.Round(time.Millisecond))
	}
	h.must(silent.Close())
	m.Return(t)
	h.agreeAll(live)
	h.again()
	h.agreeAll(commit)
}
