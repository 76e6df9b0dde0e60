package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway/builder"
	"slipway/config"
)

// needGroups skips a test where no control group can be made for a controller.
func needGroups(t *testing.T, controllers ...string) {
	t.Helper()
	p := findGroups()
	for _, c := range controllers {
		if !p.has(c) {
			t.Skipf("no control group for %s here: %s", c, p.lack)
		}
	}
}

// groupsOf lists the groups of a rig's root that are there.
func (r *rig) groupsOf() (all []string) {
	r.t.Helper()
	for _, parent := range findGroups().dirs {
		left, err := filepath.Glob(filepath.Join(parent, groupName(r.o.Root)+"*"))
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, left...)
	}
	return all
}

func TestOwnGroups(t *testing.T) {
	const older = `30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 /docker/abc /sys/fs/cgroup/pids ro master:4 - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	for _, l := range []struct {
		name, own, mounts string
		want              map[string]string
	}{
		{"unified", "0::/system.slice/slipway.service\n", "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", map[string]string{"": "/sys/fs/cgroup/system.slice/slipway.service"}},
		{"a container", "0::/\n", "30 24 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup ro\n", map[string]string{"": "/sys/fs/cgroup"}},
		{
			"older", "4:memory:/a:b\n3:pids:/docker/abc/x\n2:cpu,cpuacct:/\n0::/y\n", older,
			map[string]string{"memory": "/sys/fs/cgroup/memory/a:b", "pids": "/sys/fs/cgroup/pids/x", "cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "": "/sys/fs/cgroup/unified/y"},
		},
		{"outside of what is mounted", "3:pids:/docker/abcd\n", older, map[string]string{}},
		{"nothing", "", "", map[string]string{}},
		{"junk", "x\n:\n::\n", "a b - c\n - \n", map[string]string{}},
	} {
		if got := ownGroups(l.own, l.mounts); !maps.Equal(got, l.want) {
			t.Errorf("%s: %v", l.name, got)
		}
	}
}

// What a group of the unified hierarchy is told, on a tree of plain files.
func TestUnifiedGroup(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "g")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := &group{unified: true, limits: config.Limits{Memory: 512 << 20, Processes: 40, CPUs: 2}, dirs: map[string]string{memoryController: dir, pidsController: dir, cpuController: dir}}
	var told []string
	for _, s := range g.settings() {
		told = append(told, s.file+" "+s.value)
	}
	if got := strings.Join(told, ", "); got != "memory.max 536870912, memory.swap.max 0, pids.max 40, cpu.max 200000 100000" {
		t.Errorf("told: %s", got)
	}
	if over := g.over(); over != "" {
		t.Errorf("without events: %q", over)
	}
	write("pids.events", "max 3\n")
	if over := g.over(); over != "40 processes" {
		t.Errorf("processes: %q", over)
	}
	write("memory.events", "low 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n")
	if over := g.over(); over != "40 processes" {
		t.Errorf("nothing was killed for memory: %q", over)
	}
	write("memory.events", "max 9\noom 1\noom_kill 2\n")
	if over := g.over(); over != "512 MiB of memory" {
		t.Errorf("memory: %q", over)
	}
}

// Which group of the unified hierarchy is the one to make others in, on a tree
// of plain files: nothing is moved, and what is not ours is not arranged.
func TestDelegated(t *testing.T) {
	top := t.TempDir()
	own := filepath.Join(top, "unit", "server")
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(dir, passed, there string) {
		t.Helper()
		for name, text := range map[string]string{"cgroup.subtree_control": passed, "cgroup.controllers": there, "cgroup.procs": ""} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(own, "", "")
	for _, l := range []struct{ name, unit, top, want string }{
		{"the parent passes them on", "cpuset cpu memory pids", "memory pids", "unit [cpu memory pids]"},
		{"its parent does", "", "cpu memory pids", ". [cpu memory pids]"},
		{"none that bounds", "cpu io", "cpu", ""},
		{"none at all", "", "", ""},
	} {
		write(filepath.Dir(own), l.unit, l.unit)
		write(top, l.top, l.top)
		dir, controllers, err := delegated(own)
		got := ""
		if err == nil {
			rel, err := filepath.Rel(top, dir)
			if err != nil {
				t.Fatal(err)
			}
			got = fmt.Sprint(rel, " ", controllers)
		}
		if got != l.want {
			t.Errorf("%s: %q %v", l.name, got, err)
		}
	}
	if os.Geteuid() != 0 { // an account's own directory counts as given to it
		write(filepath.Dir(own), "", "io memory pids")
		dir, controllers, err := delegated(own)
		if err != nil || dir != filepath.Dir(own) || fmt.Sprint(controllers) != "[memory pids]" || read(t, filepath.Join(dir, "cgroup.subtree_control")) != "+memory +pids" {
			t.Errorf("given to us: %s %v %v", dir, controllers, err)
		}
	}
}

// A build that needs more than it may says so, and leaves no group.
func TestGroupMemory(t *testing.T) {
	needGroups(t, memoryController)
	r := newRig(t)
	r.o.Limits.Memory = 64 << 20
	began := time.Now()
	// Each process is small; together they are not.
	_, err := r.build(`for i in 1 2 3 4 5 6 7 8; do head -c 20M /dev/zero | tail -n 1 > /dev/null & done; wait; head -c 100M /dev/zero | tail -n 1 > /dev/null; kill -9 $$`)
	var exit *builder.ExitError
	if !errors.As(err, &exit) || exit.Over != "64 MiB of memory" || !strings.Contains(err.Error(), "over its 64 MiB of memory") {
		t.Errorf("%v", err)
	}
	if left := r.groupsOf(); len(left) > 0 {
		t.Errorf("groups %v are left", left)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	// One that stays below is not disturbed, and temporary files count.
	if out, err := r.buildAs(2, "head -c 20M /dev/zero | tail -n 1 | wc -c"); err != nil || out != strconv.Itoa(20<<20)+"\n" {
		t.Errorf("%q %v", out, err)
	}
}

// A fork bomb ends within its limit, and so does what it has become.
func TestForkBomb(t *testing.T) {
	needGroups(t, pidsController)
	r := newRig(t)
	r.o.Limits.Processes = 50
	s := r.stage(1, map[string]string{"postinstall": "#!/bin/sh\nbomb() { bomb | bomb & }\nbomb\nsleep 600\n"})
	s.App.Build.Timeout = time.Second
	began := time.Now()
	err := r.Stage(t.Context(), s, io.Discard)
	var late *builder.TimeoutError
	var exit *builder.ExitError
	if !errors.As(err, &late) && (!errors.As(err, &exit) || exit.Over != "50 processes") {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if left := processesIn(t, r.dir); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if left := r.groupsOf(); len(left) > 0 {
		t.Errorf("groups %v are left", left)
	}
}

// What escapes every other hold ends with its group; and what a killed server
// left is swept.
func TestGroupEndsEverything(t *testing.T) {
	needGroups(t, pidsController)
	r := newRig(t)
	for _, dir := range []string{r.dir, filepath.Dir(r.dir)} { // without a view, its account passes our directory
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := r.stage(1, nil)
	r.mustStage(s)
	b, err := r.box(t.Context(), s, shell(daemon+"echo ready; while :; do sleep 600; done"))
	if err != nil {
		t.Fatal(err)
	}
	out := &signalWriter{text: "ready", seen: make(chan struct{})}
	b.layers, b.out, b.err = Layers{Landlock: b.layers.Landlock}, out, io.Discard
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("no more")
	go func() { <-out.seen; cancel(reason) }()
	if _, err := b.run(ctx); !errors.Is(err, reason) {
		t.Errorf("%v", err)
	}
	if left := processesIn(t, r.dir); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}

	g, err := newGroup(findGroups(), groupName(r.o.Root), config.Limits{Processes: 10})
	if err != nil {
		t.Fatal(err)
	}
	stray := sleeper(t)
	if err := g.add(stray.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := r.Sweep(t.Context(), r.ae.Env(), []config.AppEnv{r.ae}); err != nil {
		t.Errorf("%v", err)
	}
	if err := stray.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("what was left over: %v", err)
	}
	if left := r.groupsOf(); len(left) > 0 {
		t.Errorf("groups %v are left", left)
	}
}

// sleeper is a process of ours that sleeps.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// A restarted app is bounded by no build's group: it goes on.
func TestRestartIsInNoGroup(t *testing.T) {
	needGroups(t, pidsController)
	r := newRig(t)
	s := r.stage(1, nil)
	s.App.Deploy.Restart = "cat /proc/self/cgroup"
	r.mustStage(s)
	if err := r.switchTo(1, 0, 1); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Restart(t.Context(), s, &out); err != nil || out.Len() == 0 || strings.Contains(out.String(), groupPrefix) {
		t.Errorf("%v %s", err, out.String())
	}
	in, err := r.buildAs(2, "cat /proc/self/cgroup")
	if err != nil || !strings.Contains(in, groupName(r.o.Root)) {
		t.Errorf("a build: %v %s", err, in)
	}
}

func TestDoctorOfGroups(t *testing.T) {
	all := groupParents{unified: true, dirs: map[string]string{"memory": "/x", "pids": "/x"}}
	if c := checkGroups(all, config.Limits{}); c.Level != "ok" || c.Text != "cgroup v2 bounds a whole build: memory, pids" {
		t.Errorf("%+v", c)
	}
	if c := checkGroups(all, config.Limits{CPUs: 2}); c.Level != "warn" || !strings.Contains(c.Text, "for cpu") || c.Hint == "" {
		t.Errorf("%+v", c)
	}
	if c := checkGroups(groupParents{lack: "permission denied"}, config.Limits{}); c.Level != "warn" || !strings.Contains(c.Text, "for memory, pids") || !strings.Contains(c.Text, "permission denied") || c.Hint == "" {
		t.Errorf("%+v", c)
	}
}
