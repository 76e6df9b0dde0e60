package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestHostsVolume sends many small files and a large one to hosts: neither the
// server nor an agent holds them in memory, and a second push sends what
// changed.
func TestHostsVolume(t *testing.T) {
	if testing.Short() {
		t.Skip("sends a large file to hosts")
	}
	t.Parallel()
	large, hosts := 64<<20, 1
	if os.Getenv("SLIPWAY_SOAK") != "" {
		large, hosts = 1<<30, 2
	}
	h := newHosted(t, faultBinary(t), hosts, "")
	h.must(os.Mkdir(filepath.Join(h.repo, "small"), 0o755))
	for i := range 2000 {
		h.write(fmt.Sprintf("small/%d", i), strings.Repeat(fmt.Sprintf("file %d\n", i), 50))
	}
	h.run("sh", "-c", fmt.Sprintf("head -c %d /dev/urandom > large", large))
	h.git("config", "core.compression", "0") // the test is not about git's time
	first := h.commit("Large")
	began := time.Now()
	ok, out := h.push()
	if !ok {
		t.Fatalf("the push fails:\n%s", out)
	}
	t.Logf("2,000 files and one of %d MiB in %s: %s", large>>20, time.Since(began).Round(time.Second), sentLine(out))
	h.agreeAll(first)

	h.write("small/7", "changed\n")
	second := h.commit("One line")
	began = time.Now()
	if ok, out = h.push(); !ok {
		t.Fatalf("the second push fails:\n%s", out)
	}
	t.Logf("a changed line in %s: %s", time.Since(began).Round(100*time.Millisecond), sentLine(out))
	if !regexp.MustCompile(`^sent 1 file to \d hosts?, \d+ B$`).MatchString(sentLine(out)) {
		t.Errorf("more was sent than what changed:\n%s", out)
	}
	h.agreeAll(second)

	// The file is many times as large as what anybody may hold of it.
	const most = 192 << 10 // KiB
	if kib := peak(t, h.server.Process.Pid); kib > most {
		t.Errorf("the server took %d KiB", kib)
	} else {
		t.Logf("the server took at most %d MiB", kib>>10)
	}
	for _, m := range h.hosts {
		for pid := range h.processes(m.dir, "slipway agent") {
			if kib := peak(t, pid); kib > most {
				t.Errorf("an agent took %d KiB", kib)
			} else {
				t.Logf("an agent took at most %d MiB", kib>>10)
			}
		}
	}
}

// sentLine is what a push says of what went to hosts.
func sentLine(out string) string {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(strings.TrimPrefix(line, "remote:")); strings.HasPrefix(line, "sent ") {
			return line
		}
	}
	return ""
}

// peak is how much memory a process has ever held, in KiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatal("the kernel does not say how much memory it takes")
	return 0
}
