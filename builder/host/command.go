package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"slipway/builder"
	"slipway/config"
)

func shell(line string) []string { return []string{"/bin/sh", "-c", line} }

// step runs one command of the app in its sandbox, within its time; 0 is
// without end.
func (h *Host) step(ctx context.Context, s builder.Stage, name string, argv []string, timeout time.Duration, out io.Writer) error {
	b, err := h.box(ctx, s, argv)
	if err != nil {
		return h.explainSpace(err)
	}
	b.out, b.err = out, out
	return h.explainBuild(b.step(ctx, name, timeout))
}

func (b *box) step(ctx context.Context, name string, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, &builder.TimeoutError{Step: name, After: timeout})
		defer cancel()
	}
	r, err := b.run(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return err // why it was ended
	case err != nil:
		return explainStart(name, b.spec.Argv, err)
	case r.Signal != 0:
		return &builder.ExitError{Step: name, Signal: r.Signal.String(), Over: b.over}
	case r.Status != 0:
		return &builder.ExitError{Step: name, Status: r.Status, Over: b.over}
	}
	return nil
}

// explainStart says why a command did not start, where the app can mend it.
func explainStart(name string, argv []string, err error) error {
	var start *startError
	if !errors.As(err, &start) {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch start.report.Errno {
	case syscall.ENOENT:
		if !strings.Contains(argv[0], "/") {
			return config.Errorf(config.Failed, "a file of the release is ./"+argv[0]+"; other programs come with the packages of this machine",
				"%s cannot start: there is no program %s in PATH", name, argv[0])
		}
		return config.Errorf(config.Failed, "look at the first line of "+argv[0]+", and at the system packages of this machine",
			"%s cannot start: %s, or the interpreter that its first line names, is not there", name, argv[0])
	case syscall.ENOEXEC:
		return config.Errorf(config.Failed, "let its first line name an interpreter: #!/bin/sh",
			"%s cannot start: %s is no program for this machine", name, argv[0])
	case syscall.E2BIG:
		return config.Errorf(config.Failed, "keep great values in a file, and its path in a var",
			"%s cannot start: its vars are greater than the system can pass on", name)
	case syscall.EACCES:
		return config.Errorf(config.Failed, "git update-index --chmod=+x "+strings.TrimPrefix(argv[0], "./")+", commit, push again",
			"%s cannot start: %s, or its interpreter, may not be executed", name, argv[0])
	}
	return fmt.Errorf("%s cannot start: %w", name, err)
}

// box prepares the sandbox of everything that is run for a release.
func (h *Host) box(ctx context.Context, s builder.Stage, argv []string) (*box, error) {
	p := h.at(s.AppEnv)
	o, err := h.account(ctx, s.AppEnv)
	if err != nil {
		return nil, err
	}
	layers := Probe()
	if lack := layers.missing(); len(lack) > 0 && h.o.Limits.Sandbox == "require" {
		return nil, config.Errorf(config.Failed, "let the machine have them, or set [limits] sandbox = \"prefer\"",
			"this machine's sandbox lacks %s", strings.Join(lack, ", "))
	}
	if err := h.makeTemp(p, s.Number, o); err != nil {
		return nil, err
	}
	env := h.variables(p, s)
	list := make([]string, 0, len(env))
	for name, v := range env {
		list = append(list, name+"="+v)
	}
	slices.Sort(list)
	old := ""
	if s.App.DotCloud != nil && isDir(homes) {
		old = p.home(s.Number)
	}
	return &box{layers: layers, network: true, groups: groupName(h.o.Root), limits: h.o.Limits, spec: spec{
		Argv: argv, Env: list, Dir: p.release(s.Number), Owner: o,
		Hidden: append([]string{h.o.Root}, h.o.Hidden...), Base: p.app, DotCloud: old,
		Writable: existing(p.release(s.Build), p.home(s.Number), p.home(s.Build), p.cache(), p.shared(), p.temp(s.Number)),
		Temp:     p.temp(s.Number),
		MaxFiles: h.o.Limits.OpenFiles, MaxProcesses: h.o.Limits.Processes, MaxMemory: h.o.Limits.Memory,
	}}, nil
}

// makeTemp makes the directory for temporary files of a release. It stays as
// long as the release does: what runs of it may use it at any time.
func (h *Host) makeTemp(p place, n int, o owner) error {
	temp := p.temp(n)
	if _, err := os.Lstat(temp); err == nil {
		return nil
	}
	if err := os.Mkdir(temp, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return chownAll(temp, o)
}

// emptyTemp removes what a build has left in its temporary files.
func (p place) emptyTemp(n int) error {
	entries, err := os.ReadDir(p.temp(n))
	for _, e := range entries {
		err = errors.Join(err, removeAll(filepath.Join(p.temp(n), e.Name())))
	}
	return err
}

// existing drops paths that are not there, and repetitions.
func existing(paths ...string) []string {
	var all []string
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}
