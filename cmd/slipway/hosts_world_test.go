package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"slipway/builder/sshclient/sshdtest"
)

// hosted is a world whose environment prod is on hosts of its own.
type hosted struct {
	*faulty
	hosts []*machine
	more  string // what server.toml has beside the hosts
	where func(n int) (ip string, port int, wrap []string)
}

// machine is one of them: a real sshd, whose sessions have a home of their own,
// and see a directory of their own as the environment's root.
type machine struct {
	*sshdtest.Server
	dir   string // home, apps, and fault
	apps  string // what is the root there
	fault string // the file with the faults of its agent to come
}

const hostedTOML = `[ssh]
listen = "127.0.0.1:0"
[limits]
drain = "1s"
[environments.dev]
target = "local"
[environments.prod]
target = "ssh"
root = %q
hosts = [%s]
identity = "keys/prod"
known_hosts = "known_hosts"
keep = 2
%s`

const hostedApp = `[deploy]
restart = "./restart"
release = "echo once on $SLIPWAY_HOST; touch released"
health = { command = "echo well", timeout = "30s" }
`

// newHosted starts hosts and a server that deploys to them. more is what
// server.toml has beside.
func newHosted(t *testing.T, bin string, hosts int, more string) *hosted {
	t.Helper()
	root := t.TempDir()
	f := &faulty{T: t, root: root, dir: filepath.Join(root, "dir")}
	return newHostedAt(f, bin, hosts, more, func(n int) (string, int, []string) { return fmt.Sprintf("127.0.0.%d", 2+n), 0, nil })
}

// newHostedAt says where each of the hosts is.
func newHostedAt(f *faulty, bin string, hosts int, more string, where func(n int) (ip string, port int, wrap []string)) *hosted {
	f.Helper()
	t, root := f.T, f.root
	h := &hosted{faulty: f, more: more, where: where}
	f.must(os.Chmod(root, 0o755)) // builds have an account of their own
	f.must(os.MkdirAll(filepath.Join(f.dir, "keys"), 0o700))
	f.must(os.Chmod(f.dir, 0o711))
	f.must(os.Mkdir(h.rootThere(), 0o755))
	sshdtest.WriteKey(t, h.identity(), sshdtest.NewKey(t, "ed25519"))
	probe := bound(f.dir, h.rootThere())
	if out, err := exec.Command(probe[0], append(probe[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("this account cannot give hosts on one machine roots of their own: %v\n%s", err, out)
	}
	for range hosts {
		h.addHost()
	}
	h.faulty = newFaultyIn(t, bin, root, f.dir, h.toml(hosts))
	h.app, h.env = "shop", "prod"
	h.write("slipway.toml", hostedApp)
	h.write("postinstall", "#!/bin/sh\necho \"built on $SLIPWAY_HOST\"\n"+strings.TrimPrefix(faultyBuild, "#!/bin/sh\n"))
	h.commit("On hosts")
	return h
}

// rootThere is the environment's root, as hosts see it.
func (h *hosted) rootThere() string { return filepath.Join(h.root, "srv") }

func (h *hosted) identity() string { return filepath.Join(h.dir, "keys", "prod") }

// write changes a file of the app, for the next commit.
func (h *hosted) write(name, text string) {
	h.Helper()
	h.must(os.WriteFile(filepath.Join(h.repo, name), []byte(text), 0o755))
}

// commit makes a new commit of all that was changed.
func (h *hosted) commit(title string) string {
	h.Helper()
	h.git("add", ".")
	return h.faulty.commit(title)
}

// addHost starts one more, which server.toml does not know yet.
func (h *hosted) addHost() *machine {
	h.Helper()
	n := len(h.hosts)
	m := &machine{dir: filepath.Join(h.root, fmt.Sprintf("host%d", n))}
	m.apps, m.fault = filepath.Join(m.dir, "apps"), filepath.Join(m.dir, "fault")
	for _, dir := range []string{m.dir, m.apps, filepath.Join(m.dir, "home")} {
		h.must(os.Mkdir(dir, 0o755))
	}
	ip, port, wrap := h.where(n)
	m.Server = sshdtest.Start(h.T, sshdtest.Options{
		IP: ip, Port: port, Wrap: append(wrap, bound(m.apps, h.rootThere())...),
		Env: []string{"HOME=" + filepath.Join(m.dir, "home"), "SLIPWAY_FAULT=@" + m.fault},
	})
	h.T.Cleanup(func() { m.Lose(h.T) })
	m.Allow(h.T, h.identity(), "")
	h.hosts = append(h.hosts, m)
	return m
}

// bound is how a program is started that sees a directory at another place too.
// An ordinary user may do that in a user namespace, and is itself in a second.
func bound(dir, at string) []string {
	const mount = `mount --bind "$0" "$1" && shift && exec "$@"`
	if os.Geteuid() == 0 {
		return []string{"unshare", "-m", "sh", "-c", mount, dir, at}
	}
	return []string{
		"unshare", "-Urm", "sh", "-c", mount, dir, at,
		"unshare", "-U", fmt.Sprintf("--map-user=%d", os.Geteuid()), fmt.Sprintf("--map-group=%d", os.Getegid()),
	}
}

// toml is server.toml with the first n hosts, all of which are pinned.
func (h *hosted) toml(n int) string {
	h.Helper()
	var known, names []string
	for i, m := range h.hosts {
		known = append(known, m.Known())
		if i < n {
			names = append(names, fmt.Sprintf("%q", m.Host.String()))
		}
	}
	h.must(os.WriteFile(filepath.Join(h.dir, "known_hosts"), []byte(strings.Join(known, "")), 0o600))
	return fmt.Sprintf(hostedTOML, h.rootThere(), strings.Join(names, ", "), h.more)
}

// agreeAll asserts that ref, database and each of the hosts agree on commit, or
// on nothing for "", and that nothing is left of what was tried.
func (h *hosted) agreeAll(commit string) {
	h.Helper()
	h.quiet()
	rows := h.releases()
	for i, m := range h.hosts {
		h.apps = m.apps
		h.agree(commit, rows)
		if h.Failed() {
			h.Fatalf("on host %d", i)
		}
	}
	h.checkLeft()
	h.checkProcesses()
}

// restart starts the server that has ended, and waits until it has looked at
// the hosts.
func (h *hosted) restart() {
	h.Helper()
	began := h.logged()
	h.start()
	h.await(func() bool { return strings.Contains(h.logged()[len(began):], "the hosts were looked at") })
}

// logged is what the server has logged.
func (h *hosted) logged() string {
	h.Helper()
	text, err := os.ReadFile(h.log.Name())
	h.must(err)
	return string(text)
}

// live is what a host's current leads to, "" for nothing.
func (m *machine) live() string {
	to, err := os.Readlink(filepath.Join(m.apps, "shop", "current"))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// state is all that shows what a host has of the app: its paths, less what
// contents keep to be quick.
func (m *machine) state(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"shop/current", "shop/releases/*", "shop/shared/*"} {
		found, err := filepath.Glob(filepath.Join(m.apps, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	all = append(all, "live "+m.live())
	slices.Sort(all)
	return all
}

// reload has the server read a server.toml with the first n hosts.
func (h *hosted) reload(n int) {
	h.Helper()
	seen := h.logged()
	h.must(os.WriteFile(filepath.Join(h.dir, "server.toml"), []byte(h.toml(n)), 0o600))
	h.must(h.server.Process.Signal(syscall.SIGHUP))
	h.await(func() bool { return strings.Contains(h.logged()[len(seen):], `"reloaded"`) })
}

// say runs a command of the server's, and insists that it succeeds.
func (h *hosted) say(args ...string) string {
	h.Helper()
	out, err := h.command(args...).CombinedOutput()
	if err != nil {
		h.Fatalf("slipway %v: %v\n%s", args, err, out)
	}
	return string(out)
}
