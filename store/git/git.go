// Package git starts every git process of Slipway: argument vectors made of
// literals, an environment made from nothing, a process group of its own,
// bounded output. It knows nothing of what the commands are for.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Opt is an option or a subcommand. Only literals convert to it silently, so
// that nothing which was pushed can become an option.
type Opt string

// Cmd is one git process. The zero value of every field but Args is usable.
type Cmd struct {
	Dir    string            // GIT_DIR, absolute; "" for commands that need none
	Args   []Opt             // subcommand and options
	Data   []string          // operands; they follow --end-of-options
	Paths  []string          // operands after "--"
	Env    map[string]string // beside the base environment
	Config map[string]string // beside the base configuration
	Stdin  io.Reader
	Stdout io.Writer // nil collects up to maxOutput for Output
	Stderr io.Writer // nil collects the end of it for the error

	// Files are open in the process and in all that it starts, from
	// descriptor 3 on.
	Files []*os.File
}

const (
	maxOutput = 64 << 20
	maxErrors = 8 << 10
	grace     = 5 * time.Second
)

// RunError is a git process that did not end well.
type RunError struct {
	Args   string // subcommand and options, no operands
	Status int    // exit status, -1 if a signal ended it
	Stderr string // the end of what it said
	Err    error
}

func (e *RunError) Error() string {
	if e.Stderr != "" {
		return fmt.Sprintf("git %s: %v: %s", e.Args, e.Err, e.Stderr)
	}
	return fmt.Sprintf("git %s: %v", e.Args, e.Err)
}

func (e *RunError) Unwrap() error { return e.Err }

// ExitStatus returns the status of the git process that err speaks of, or -1.
func ExitStatus(err error) int {
	var e *RunError
	if errors.As(err, &e) {
		return e.Status
	}
	return -1
}

// base is git's configuration in every process (SECURITY.md, section 7). It
// travels in the environment, so it holds no secret.
var base = map[string]string{
	"protocol.allow":               "never",
	"core.hooksPath":               "/dev/null",
	"core.fsmonitor":               "false",
	"core.protectHFS":              "true",
	"core.protectNTFS":             "true",
	"core.fsync":                   "all",
	"core.bigFileThreshold":        "8m",
	"core.useReplaceRefs":          "false",
	"core.logAllRefUpdates":        "false",
	"core.attributesFile":          "/dev/null",
	"core.excludesFile":            "/dev/null",
	"transfer.fsckObjects":         "true",
	"transfer.bundleURI":           "false",
	"transfer.credentialsInUrl":    "die",
	"transfer.advertiseSID":        "false",
	"transfer.unpackLimit":         "1",
	"fetch.recurseSubmodules":      "false",
	"submodule.recurse":            "false",
	"maintenance.auto":             "false",
	"gc.auto":                      "0",
	"gc.autoDetach":                "false",
	"http.followRedirects":         "false",
	"http.sslVerify":               "true",
	"http.lowSpeedLimit":           "1000",
	"http.lowSpeedTime":            "30",
	"credential.helper":            "",
	"safe.bareRepository":          "explicit",
	"safe.directory":               "*",
	"init.defaultBranch":           "main",
	"advice.detachedHead":          "false",
	"uploadpack.allowFilter":       "true",
	"pack.writeBitmapHashCache":    "true",
	"core.compression":             "1",
	"receive.advertisePushOptions": "true",
}

// Environ returns the whole environment of a git process: nothing is
// inherited.
func Environ(dir string, env, config map[string]string) []string {
	merged := map[string]string{
		"PATH":                    "/usr/local/bin:/usr/bin:/bin",
		"HOME":                    "/nonexistent",
		"XDG_CONFIG_HOME":         "/nonexistent",
		"LC_ALL":                  "C",
		"TZ":                      "UTC",
		"GIT_CONFIG_NOSYSTEM":     "1",
		"GIT_CONFIG_SYSTEM":       "/dev/null",
		"GIT_CONFIG_GLOBAL":       "/dev/null",
		"GIT_ATTR_NOSYSTEM":       "1",
		"GIT_TERMINAL_PROMPT":     "0",
		"GIT_ASKPASS":             "/bin/false",
		"SSH_ASKPASS_REQUIRE":     "never",
		"GIT_NO_REPLACE_OBJECTS":  "1",
		"GIT_NO_LAZY_FETCH":       "1",
		"GIT_OPTIONAL_LOCKS":      "0",
		"GIT_PROTOCOL_FROM_USER":  "0",
		"GIT_CEILING_DIRECTORIES": "/",
	}
	if dir != "" {
		merged["GIT_DIR"] = dir
	}
	for k, v := range env {
		merged[k] = v
	}
	all := make(map[string]string, len(base)+len(config))
	for k, v := range base {
		all[k] = v
	}
	for k, v := range config {
		all[k] = v
	}
	keys := make([]string, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	merged["GIT_CONFIG_COUNT"] = strconv.Itoa(len(keys))
	for i, k := range keys {
		merged["GIT_CONFIG_KEY_"+strconv.Itoa(i)] = k
		merged["GIT_CONFIG_VALUE_"+strconv.Itoa(i)] = all[k]
	}
	list := make([]string, 0, len(merged))
	for k, v := range merged {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// Command prepares the process in a group of its own. When ctx ends the group
// gets SIGTERM, and what is left after a grace of 5 s is killed.
func (c Cmd) Command(ctx context.Context) *exec.Cmd {
	argv := make([]string, 0, len(c.Args)+len(c.Data)+len(c.Paths)+2)
	for _, a := range c.Args {
		argv = append(argv, string(a))
	}
	if len(c.Data) > 0 {
		argv = append(argv, "--end-of-options")
		argv = append(argv, c.Data...)
	}
	if len(c.Paths) > 0 {
		argv = append(argv, "--")
		argv = append(argv, c.Paths...)
	}
	cmd := exec.CommandContext(ctx, "git", argv...)
	cmd.Env = Environ(c.Dir, c.Env, c.Config)
	cmd.Dir = "/"
	if c.Dir != "" {
		cmd.Dir = c.Dir
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.ExtraFiles = c.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	return cmd
}

// Run runs the process to its end. The error is a RunError; when ctx ended it,
// it wraps the cause of that.
func (c Cmd) Run(ctx context.Context) error {
	said := &Tail{Limit: maxErrors}
	if c.Stderr == nil {
		c.Stderr = said
	}
	cmd := c.Command(ctx)
	err := cmd.Start()
	if err == nil {
		err = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind in its group
	}
	return c.explain(ctx, err, said.String())
}

// Output runs the process and returns what it printed, at most 64 MiB.
func (c Cmd) Output(ctx context.Context) ([]byte, error) {
	out := &bounded{limit: maxOutput}
	c.Stdout = out
	if err := c.Run(ctx); err != nil {
		return nil, err
	}
	if out.over {
		return nil, c.explain(ctx, fmt.Errorf("printed more than %d bytes", maxOutput), "")
	}
	return out.Bytes(), nil
}

// Explain makes a RunError of how a process that the caller started by Command
// has ended, nil for nil.
func (c Cmd) Explain(ctx context.Context, err error, said string) error {
	return c.explain(ctx, err, said)
}

func (c Cmd) explain(ctx context.Context, err error, said string) error {
	if err == nil {
		return nil
	}
	words := make([]string, len(c.Args))
	for i, a := range c.Args {
		words[i] = string(a)
	}
	status := -1
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &RunError{Args: strings.Join(words, " "), Status: status, Stderr: strings.TrimSpace(said), Err: err}
}

// bounded collects up to limit bytes and remembers that there were more.
type bounded struct {
	bytes.Buffer
	limit int
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		b.over = true
		return 0, io.ErrShortBuffer
	}
	return b.Buffer.Write(p)
}

// Executable is the path of this very program, for what git is to start.
func Executable() (string, error) { return os.Executable() }
