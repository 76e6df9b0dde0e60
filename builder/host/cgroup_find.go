package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// The controllers that bound a build.
const (
	memoryController = "memory"
	pidsController   = "pids"
	cpuController    = "cpu"
)

// groupControllers are all of them.
var groupControllers = [...]string{memoryController, pidsController, cpuController}

// groupPrefix begins the name of every group that Slipway makes.
const groupPrefix = "slipway-"

// groupParents are the directories in which this process can make groups of
// processes: one for each controller, which in the unified hierarchy (v2) is the
// same for all.
type groupParents struct {
	unified bool
	dirs    map[string]string
	lack    string // why a controller is missing
}

func (p groupParents) has(controller string) bool { return p.dirs[controller] != "" }

// version is how people call it.
func (p groupParents) version() string {
	if p.unified {
		return "cgroup v2"
	}
	return "cgroup v1"
}

// findGroups tries, once in the life of a process: what is delegated to it does
// not change.
var findGroups = sync.OnceValue(func() groupParents {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err == nil {
		var mounts []byte
		if mounts, err = os.ReadFile("/proc/self/mountinfo"); err == nil {
			return usableGroups(ownGroups(string(own), string(mounts)))
		}
	}
	return groupParents{lack: err.Error()}
})

// ownGroups says in which directory this process is, by controller; "" stands
// for the unified hierarchy.
func ownGroups(own, mountinfo string) map[string]string {
	dirs := map[string]string{}
	for line := range strings.Lines(own) {
		// 4:memory:/some/path, or 0::/some/path
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for _, controller := range strings.Split(fields[1], ",") {
			if dir, ok := mountedAt(mountinfo, controller, fields[2]); ok {
				dirs[controller] = dir
			}
		}
	}
	return dirs
}

// mountedAt finds the directory that shows a path of a controller's hierarchy.
func mountedAt(mountinfo, controller, path string) (string, bool) {
	for line := range strings.Lines(mountinfo) {
		// 31 23 0:26 ROOT POINT OPTIONS ... - TYPE SOURCE SUPER
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 5 || len(kind) < 3 {
			continue
		}
		switch {
		case controller == "" && kind[0] == "cgroup2":
		case controller != "" && kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), controller):
		default:
			continue
		}
		// A container sees a part of the hierarchy: what lies outside of it is
		// nowhere for us.
		if rest, inside := below(path, place[3]); inside {
			return filepath.Join(place[4], rest), true
		}
	}
	return "", false
}

// below is a path as it is seen from root.
func below(path, root string) (rest string, ok bool) {
	if root == "/" {
		return path, true
	}
	rest, ok = strings.CutPrefix(path, root)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// usableGroups tries where groups can be made. The unified hierarchy is taken if
// it has what bounds memory or processes; else the older ones.
func usableGroups(own map[string]string) groupParents {
	p := groupParents{dirs: map[string]string{}, lack: "this process is in no group whose directory is mounted"}
	if own[""] != "" {
		dir, controllers, err := delegated(own[""])
		if err == nil {
			p.unified = true
			for _, c := range controllers {
				p.dirs[c] = dir
			}
			return p
		}
		p.lack = err.Error()
	}
	for _, c := range groupControllers {
		if dir := own[c]; dir == "" {
			continue
		} else if err := tryGroup(dir); err != nil {
			p.lack = err.Error()
		} else {
			p.dirs[c] = dir
		}
	}
	return p
}

// tryGroup makes a group and removes it.
func tryGroup(dir string) error {
	if err := unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK); err != nil {
		return fmt.Errorf("put processes into groups of %s: %w", dir, err)
	}
	path := filepath.Join(dir, groupPrefix+"try-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Remove(path)
}

// delegated finds the nearest directory, from that of our own group upwards, in
// which a group can be made that has controllers. Only a group without processes
// in it, or the topmost, passes any on; so it is above ours, and nothing is ever
// moved: systemd must find a unit's own group as it has left it.
func delegated(own string) (dir string, controllers []string, err error) {
	lack := fmt.Errorf("no group from %s upwards passes memory and pids on to groups of ours", own)
	for dir = own; ; dir = filepath.Dir(dir) {
		passed, err := words(filepath.Join(dir, "cgroup.subtree_control"))
		if errors.Is(err, fs.ErrNotExist) { // above the mount
			return "", nil, lack
		}
		if err != nil {
			return "", nil, err
		}
		if len(ours(passed)) == 0 && givenToUs(dir) {
			passed, err = takeOn(dir)
		}
		if err != nil || !slices.Contains(passed, memoryController) && !slices.Contains(passed, pidsController) {
			continue
		}
		if err := tryGroup(dir); err != nil {
			lack = err
			continue
		}
		return dir, ours(passed), nil
	}
}

// takeOn lets the groups below one that was given to us have its controllers.
func takeOn(dir string) ([]string, error) {
	there, err := words(filepath.Join(dir, "cgroup.controllers"))
	if err != nil || len(ours(there)) == 0 {
		return nil, err
	}
	return ours(there), set(filepath.Join(dir, "cgroup.subtree_control"), "+"+strings.Join(ours(there), " +"))
}

// ours keeps those controllers that bound builds.
func ours(controllers []string) []string {
	return slices.DeleteFunc(slices.Clone(controllers), func(c string) bool { return !slices.Contains(groupControllers[:], c) })
}

func words(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	return strings.Fields(string(text)), err
}

// set writes one of a group's files; it makes none.
func set(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// givenToUs says whether the group is ours to arrange: systemd marks those of
// Delegate=yes, and gives them to the unit's account.
func givenToUs(dir string) bool {
	mark := make([]byte, 8)
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, name, mark); err == nil && bytes.Equal(mark[:n], []byte("1")) {
			return true
		}
	}
	var st unix.Stat_t
	return unix.Stat(dir, &st) == nil && st.Uid != 0 && int(st.Uid) == os.Geteuid()
}
