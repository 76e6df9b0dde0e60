package host

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"slipway/config"
)

// groupPeriod is the time within which a build may use its share of the CPUs,
// in microseconds; it is the kernel's default.
const groupPeriod = 100_000

// groupEnd bounds how long the processes of a group that were killed may take
// to go.
const groupEnd = 5 * time.Second

// group is the control group of one command: its processes are bounded
// together, and end together.
type group struct {
	limits  config.Limits
	unified bool
	dirs    map[string]string // by controller; in the unified hierarchy all are one
}

// groupName begins the names of the groups of one root.
func groupName(root string) string {
	sum := sha256.Sum256([]byte(root))
	return groupPrefix + hex.EncodeToString(sum[:6]) + "-"
}

// newGroup makes a group with its limits, nil where none can be made.
func newGroup(p groupParents, prefix string, limits config.Limits) (_ *group, err error) {
	if len(p.dirs) == 0 {
		return nil, nil
	}
	g := &group{limits: limits, unified: p.unified, dirs: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("limit the build: %w", err), g.remove())
		}
	}()
	name := prefix + rand.Text()[:10]
	for c, parent := range p.dirs {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !(p.unified && errors.Is(err, fs.ErrExist)) {
			return g, err
		}
		g.dirs[c] = dir
	}
	for _, s := range g.settings() {
		dir := g.dirs[s.controller]
		if dir == "" {
			continue
		}
		err := set(filepath.Join(dir, s.file), s.value)
		if err != nil && !(s.optional && errors.Is(err, fs.ErrNotExist)) {
			return g, err
		}
	}
	return g, nil
}

// setting is one file of a group.
type setting struct {
	controller, file, value string
	optional                bool // kernels without swap have no such file
}

// settings are the limits, in an order in which the kernel takes them.
func (g *group) settings() []setting {
	var all []setting
	add := func(controller, unified, older, value string, optional bool) {
		if file := map[bool]string{true: unified, false: older}[g.unified]; file != "" {
			all = append(all, setting{controller, file, value, optional})
		}
	}
	if n := g.limits.Memory; n > 0 {
		bytes := strconv.FormatInt(n, 10)
		add(memoryController, "memory.max", "memory.limit_in_bytes", bytes, false)
		add(memoryController, "memory.swap.max", "", "0", true)
		add(memoryController, "", "memory.memsw.limit_in_bytes", bytes, true)
	}
	if n := g.limits.Processes; n > 0 {
		add(pidsController, "pids.max", "pids.max", strconv.Itoa(n), false)
	}
	if n := g.limits.CPUs; n > 0 {
		quota := strconv.Itoa(n * groupPeriod)
		add(cpuController, "cpu.max", "", quota+" "+strconv.Itoa(groupPeriod), false)
		add(cpuController, "", "cpu.cfs_period_us", strconv.Itoa(groupPeriod), false)
		add(cpuController, "", "cpu.cfs_quota_us", quota, false)
	}
	return all
}

func (g *group) has(controller string) bool { return g != nil && g.dirs[controller] != "" }

// each calls f for each directory of the group, once.
func (g *group) each(f func(dir string) error) error {
	var errs []error
	seen := map[string]bool{}
	for _, dir := range g.dirs {
		if !seen[dir] {
			seen[dir] = true
			errs = append(errs, f(dir))
		}
	}
	return errors.Join(errs...)
}

// add puts a process, and all that it will start, into the group.
func (g *group) add(pid int) error {
	return g.each(func(dir string) error {
		return set(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
	})
}

// over says which limit the kernel had to enforce, "" if none.
func (g *group) over() string {
	if g == nil {
		return ""
	}
	events := map[bool]string{true: "memory.events", false: "memory.oom_control"}[g.unified]
	if g.count(memoryController, events, "oom_kill") > 0 {
		return humanize.IBytes(uint64(g.limits.Memory)) + " of memory"
	}
	if g.count(pidsController, "pids.events", "max") > 0 {
		return strconv.Itoa(g.limits.Processes) + " processes"
	}
	return ""
}

// count reads one figure of a file of lines of a name and a number; what cannot
// be read has not happened.
func (g *group) count(controller, file, name string) int {
	if !g.has(controller) {
		return 0
	}
	text, err := os.ReadFile(filepath.Join(g.dirs[controller], file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, err := strconv.Atoi(value)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// remove ends every process in the group, whatever it has become, and removes
// the group.
func (g *group) remove() error { return g.each(removeGroup) }

func removeGroup(dir string) error {
	end := time.Now().Add(groupEnd)
	for {
		err := os.Remove(dir)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
			return nil
		case !errors.Is(err, syscall.EBUSY):
			return err
		case time.Now().After(end):
			return fmt.Errorf("processes of %s do not end", dir)
		}
		if err := killGroup(dir); err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// killGroup kills every process in a group, by one word to the kernel where it
// knows that.
func killGroup(dir string) error {
	err := set(filepath.Join(dir, "cgroup.kill"), "1")
	if err == nil {
		return nil
	}
	pids, err := words(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, text := range pids {
		pid, bad := strconv.Atoi(text)
		if bad != nil || pid <= 0 || pid == os.Getpid() {
			continue // 0 is one that we cannot see
		}
		if gone := syscall.Kill(pid, syscall.SIGKILL); gone != nil && !errors.Is(gone, syscall.ESRCH) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// sweepGroups ends what is left in groups of a root whose server was killed. No
// command of it may run.
func sweepGroups(p groupParents, prefix string) error {
	var errs []error
	for _, parent := range p.dirs {
		left, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
		errs = append(errs, err)
		for _, dir := range left {
			errs = append(errs, removeGroup(dir))
		}
	}
	return errors.Join(errs...)
}
