package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// envNetwork says to a test that it runs in a network of its own.
const envNetwork = "SLIPWAY_TEST_NETWORK"

// sourceIP is where the source is, in the server's network alone.
const sourceIP = "10.77.100.1"

// network is hosts that each are in a network of their own, with a cable to the
// server's and to nothing else.
type network struct {
	*testing.T
	holders []*exec.Cmd // of each host's network
}

// TestHostsApart deploys to hosts that have no route to the source, and cuts
// the cable of one in the middle.
func TestHostsApart(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("starts a server and hosts")
	case os.Geteuid() != 0:
		t.Skip("only root can lay cables between networks; TestHosts and TestHostLost are for everybody")
	case os.Getenv(envNetwork) == "":
		t.Parallel()
		inNetwork(t)
		return
	}
	n := &network{T: t}
	n.run("ip", "link", "set", "lo", "up")
	n.run("ip", "addr", "add", sourceIP+"/32", "dev", "lo")
	src := startSourceAt(t, sourceIP)
	root := t.TempDir()
	f := &faulty{T: t, root: root, dir: filepath.Join(root, "dir")}
	f.must(os.MkdirAll(filepath.Join(f.dir, "keys"), 0o700))
	key, err := os.ReadFile(filepath.Join(src.dir, "client"))
	f.must(err)
	f.must(os.WriteFile(filepath.Join(f.dir, "keys", "source"), key, 0o600))
	f.must(os.WriteFile(filepath.Join(f.dir, "known_source"), []byte(src.known()), 0o600))
	more := fmt.Sprintf("[[sources]]\nurl = \"%s/\"\nidentity = \"keys/source\"\nknown_hosts = \"known_source\"\n", src.url(filepath.Join(root, "source")))
	h := newHostedAt(f, faultBinary(t), 3, more, n.lay)

	module := filepath.Join(root, "source", "module")
	h.must(os.MkdirAll(module, 0o755))
	h.git("init", "-q", "-b", "main", module)
	h.must(os.WriteFile(filepath.Join(module, "inside"), []byte("of a submodule\n"), 0o644))
	h.git("-C", module, "add", ".")
	h.git("-C", module, "commit", "-qm", "Inside")
	h.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", module, "module")
	h.git("config", "-f", ".gitmodules", "submodule.module.url", src.url(module))
	commit := h.commit("With a submodule")
	h.again()
	h.agreeAll(commit)
	for i, m := range h.hosts {
		if text, err := os.ReadFile(filepath.Join(m.apps, "shop/current/module/inside")); string(text) != "of a submodule\n" {
			t.Errorf("host %d has of the submodule %q, %v", i, text, err)
		}
		n.noRoute(i, src)
		n.noKeys(m.dir)
	}

	h.phase("a start with a cable cut")
	n.cut(1)
	h.kill()
	began := time.Now()
	h.start()
	h.of("shop", "dev").again()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("to serve another environment took %s", took.Round(time.Second))
	}
	n.mend(1)
	commit = h.commit("After that")
	h.again()
	h.agreeAll(commit)

	if os.Getenv("SLIPWAY_SOAK") == "" {
		return // what follows waits until a silence is one
	}
	cutTransfer(h, n)
	cutSwitch(h, n)
}

// cutTransfer cuts the cable of a host in the middle of a file.
func cutTransfer(h *hosted, n *network) {
	h.phase("a cable cut while a file is sent")
	live, m := h.git("rev-parse", "HEAD"), h.hosts[1]
	before := h.states()
	const size = 96 << 20
	h.run("sh", "-c", fmt.Sprintf("head -c %d /dev/urandom > big", size))
	h.git("config", "core.compression", "0") // the test is not about git's time
	commit := h.commit("A big file")
	contents := filepath.Join(m.apps, "shop", "contents")
	_, had := diskUsage(h.T, contents, func(string) bool { return false })
	held := filepath.Join(m.dir, "held") // it gets no further, however fast it is
	h.must(os.WriteFile(m.fault, []byte("host.place:pause="+held), 0o600))
	push, out := h.startPush()
	arrived := int64(0)
	h.await(func() bool {
		_, has := diskUsage(h.T, contents, func(string) bool { return false })
		arrived = has - had
		return arrived > size/8
	})
	n.cut(1)
	began := time.Now()
	failed := push.Wait() != nil
	h.Logf("after %d MiB the cable was cut; the push ended %s later:\n%s", arrived>>20, time.Since(began).Round(time.Second), out)
	if text := flat(out.String()); !failed || !strings.Contains(text, m.Host.Name) || !strings.Contains(text, "is still live") || !strings.Contains(text, "hint: ") {
		h.Errorf("the pusher sees:\n%s", out)
	}
	for _, i := range []int{0, 2} {
		if now := h.hosts[i].state(h.T); fmt.Sprint(now) != fmt.Sprint(before[i]) {
			h.Errorf("host %d had\n%v\nand has\n%v", i, before[i], now)
		}
	}
	if at := h.ref(); at != live {
		h.Errorf("the ref has moved to %.7s", at)
	}
	if err := os.Remove(m.fault); err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.Error(err)
	}
	if err := os.Remove(held); err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.Error(err)
	}
	n.mend(1)
	h.agreeAll(live)
	ok, said := h.push()
	if !ok {
		h.Fatalf("the same push fails:\n%s", said)
	}
	sent := regexp.MustCompile(`sent \d+ files? to 3 hosts, (\d+(?:\.\d+)?) MiB`).FindStringSubmatch(said)
	if sent == nil {
		h.Fatalf("it says not what was sent:\n%s", said)
	}
	h.Logf("the same push sent %s MiB, of %d", sent[1], size>>20)
	if mib, _ := strconv.ParseFloat(sent[1], 64); mib > float64((size-arrived*3/4)>>20) {
		h.Errorf("%s MiB were sent, and %d were there", sent[1], arrived>>20)
	}
	h.agreeAll(commit)
}

// cutSwitch cuts the cable of a host that has just switched.
func cutSwitch(h *hosted, n *network) {
	h.phase("a cable cut in the switch")
	live, m := h.git("rev-parse", "HEAD"), h.hosts[1]
	before := h.hosts[0].live()
	commit := h.commit("Cut in the switch")
	push, out, held := h.pauseAt(m, "host.renamed")
	n.cut(1)
	h.must(os.Remove(held))
	began := time.Now()
	failed := push.Wait() != nil
	h.Logf("the push ended %s after the cable was cut:\n%s", time.Since(began).Round(time.Second), out)
	if text := flat(out.String()); !failed || !strings.Contains(text, m.Host.Name+" did not confirm, and is put back when it answers") {
		h.Errorf("the pusher sees:\n%s", out)
	}
	for _, i := range []int{0, 2} {
		if now := h.hosts[i].live(); now != before {
			h.Errorf("host %d is at release %s, not %s", i, now, before)
		}
	}
	n.mend(1)
	h.again() // puts it back first
	h.agreeAll(commit)
	if live == commit {
		h.Error("nothing was pushed")
	}
}

// inNetwork runs a test again in a process that has a network of its own.
func inNetwork(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-nm", self, "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "15m")
	cmd.Env = append(os.Environ(), envNetwork+"=1", "SLIPWAY_FAULT_BINARY="+faultBinary(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v", err)
	}
	t.Logf("%s", out)
}

func (n *network) run(argv ...string) {
	n.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		n.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// on is how a command is started in the network of a host.
func (n *network) on(i int) []string {
	return []string{"nsenter", "-t", strconv.Itoa(n.holders[i].Process.Pid), "-n"}
}

// lay makes the network of a host, and its cable.
func (n *network) lay(i int) (ip string, port int, wrap []string) {
	n.Helper()
	holder := exec.Command("unshare", "-n", "sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() }) // it sleeps
	n.holders = append(n.holders, holder)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		n.Fatal(err)
	}
	pid := strconv.Itoa(holder.Process.Pid)
	end := time.Now().Add(10 * time.Second)
	for at := own; at == own; at, _ = os.Readlink("/proc/" + pid + "/ns/net") {
		if time.Now().After(end) {
			n.Fatal("a host gets no network of its own")
		}
		<-time.After(time.Millisecond)
	}
	cable, mac, net := fmt.Sprintf("host%d", i), fmt.Sprintf("02:00:00:00:00:%02x", i+1), fmt.Sprintf("10.77.%d.", i+1)
	n.run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", pid)
	n.run("ip", "addr", "add", net+"1/30", "dev", cable)
	n.run("ip", "link", "set", cable, "up")
	// Without this a cut cable would soon show as "no route to host".
	n.run("ip", "neigh", "replace", net+"2", "lladdr", mac, "dev", cable, "nud", "permanent")
	for _, words := range []string{"link set lo up", "addr add " + net + "2/30 dev eth0", "link set eth0 up"} {
		n.run(append(append(n.on(i), "ip"), strings.Fields(words)...)...)
	}
	return net + "2", 22, n.on(i)
}

// cut swallows all packets to and from a host.
func (n *network) cut(i int) {
	n.Helper()
	n.run(append(n.on(i), "ip", "link", "set", "eth0", "down")...)
}

func (n *network) mend(i int) {
	n.Helper()
	n.run(append(n.on(i), "ip", "link", "set", "eth0", "up")...)
}

// noRoute proves that a host cannot reach the source, and that the server can.
func (n *network) noRoute(i int, src *source) {
	n.Helper()
	if out, err := exec.Command("ssh-keyscan", "-T", "5", "-p", strconv.Itoa(src.port), src.ip).Output(); err != nil || len(out) == 0 {
		n.Errorf("the server does not reach the source: %q, %v", out, err)
	}
	argv := append(n.on(i), "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", src.ip, src.port))
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err == nil || !strings.Contains(string(out), "Network is unreachable") {
		n.Errorf("host %d and the source: %v\n%s", i, err, out)
	}
}

// noKeys proves that no private key is on a host.
func (n *network) noKeys(dir string) {
	n.Helper()
	out, err := exec.Command("grep", "-rl", "PRIVATE KEY-----", dir, "--exclude=slipway").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 { // 1 is that it has found none
		n.Errorf("private keys in %s: %v\n%s", dir, err, out)
	}
}
