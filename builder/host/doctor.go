package host

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"slipway/builder"
	"slipway/config"
)

// lowSpace and lowFiles are what is left on the file system when a warning is
// due.
const (
	lowSpace = 1 << 30
	lowFiles = 10_000
)

// Doctor says which layers of the sandbox this machine can give, and what the
// root has left.
func (h *Host) Doctor(context.Context) []builder.Check {
	all := append(h.checkSandbox(Probe()), checkGroups(findGroups(), h.o.Limits))
	return append(all, h.checkRoot()...)
}

func (h *Host) checkSandbox(l Layers) []builder.Check {
	bad := "warn"
	if h.o.Limits.Sandbox == "require" {
		bad = "fail"
	}
	var all []builder.Check
	var there []string
	for _, p := range l.parts() {
		if p.there {
			there = append(there, p.name)
			continue
		}
		hint := "run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces"
		if p.name == "Landlock" {
			hint = "a kernel from 5.13 on with landlock in its lsm= list has it"
		}
		all = append(all, builder.Check{Level: bad, What: "sandbox", Text: "no " + p.name + ": " + p.lack, Hint: hint})
	}
	text := strings.Join(there, ", ")
	if l.Landlock > 0 {
		text += fmt.Sprintf(" (ABI %d)", l.Landlock)
	}
	if text != "" {
		all = append(all, builder.Check{Level: "ok", What: "sandbox", Text: text})
	}
	switch {
	case os.Geteuid() != 0:
		text = "builds run as the server's own account"
	case h.o.User != "":
		text = "builds run as " + h.o.User
	default:
		text = "each APP/ENV builds as an account of its own"
	}
	return append(all, builder.Check{Level: "ok", What: "sandbox", Text: text})
}

// checkGroups says what bounds a build as a whole.
func checkGroups(p groupParents, limits config.Limits) builder.Check {
	var there, lack []string
	for _, c := range groupControllers {
		if p.has(c) {
			there = append(there, c)
		} else if c != cpuController || limits.CPUs > 0 {
			lack = append(lack, c)
		}
	}
	if len(lack) == 0 {
		return builder.Check{Level: "ok", What: "limits", Text: p.version() + " bounds a whole build: " + strings.Join(there, ", ")}
	}
	return builder.Check{
		Level: "warn", What: "limits", Text: fmt.Sprintf("no control group for %s: limits hold for each process, or not at all (%s)", strings.Join(lack, ", "), p.lack),
		Hint: "let root start serve, or systemd with Delegate=yes and DelegateSubgroup=server",
	}
}

func (h *Host) checkRoot() []builder.Check {
	check := builder.Check{Level: "ok", What: "root"}
	err := makeDir(h.o.Root, 0o755)
	if err == nil {
		// To enter it shows that it is a directory.
		err = unix.Access(h.o.Root+"/.", unix.W_OK)
	}
	if err != nil {
		check.Level, check.Text = "fail", fmt.Sprintf("%s: %v", h.o.Root, err)
		check.Hint = "let the account that runs Slipway write to it"
		return []builder.Check{check}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(h.o.Root, &st); err != nil {
		check.Level, check.Text = "warn", fmt.Sprintf("%s: %v", h.o.Root, err)
		return []builder.Check{check}
	}
	free := st.Bavail * uint64(st.Bsize)
	check.Text = fmt.Sprintf("%s: %s free, %s files", h.o.Root, humanize.IBytes(free), humanize.Comma(int64(st.Ffree)))
	// Some file systems have no count of files.
	if free < lowSpace || st.Files > 0 && st.Ffree < lowFiles {
		check.Level, check.Hint = "warn", "make room, or lower keep in server.toml"
	}
	return []builder.Check{check}
}
