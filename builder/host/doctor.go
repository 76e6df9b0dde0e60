package host

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"slipway/builder"
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
	return append(h.checkSandbox(Probe()), h.checkRoot()...)
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
