package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"slipway/store/git"
)

// checkout is git's configuration while it writes files: as a clone on Linux
// has it, and nothing of the tree is synced file by file.
var checkout = map[string]string{
	"core.autocrlf":          "false",
	"core.bare":              "false",
	"core.eol":               "lf",
	"core.filemode":          "true",
	"core.fsync":             "none",
	"core.ignoreCase":        "false",
	"core.precomposeUnicode": "false",
	"core.safecrlf":          "false",
	"core.sparseCheckout":    "false",
	"core.splitIndex":        "false",
	"core.symlinks":          "true",
	"index.threads":          "1",
}

// Owner is the account that gets what is written.
type Owner struct{ UID, GID int }

// Options say how a tree is written. The zero value works.
type Options struct {
	Workers int    // how many files of one part git writes side by side
	Owner   *Owner // gets all but the directory itself, nil leaves it ours
	Behind  bool   // there is no hurry: other processes go first
}

// Write lays the tree into dir, an empty directory that nobody else can enter,
// so that it equals what a recursive clone checks out, less .git. parts are
// those that m was read from. Git writes the files, so attributes come out as
// in a clone; its indexes are in dir/.slipway while it works, where they go
// away with dir if this process does not live to remove them. Nothing is synced:
// that is for who puts the tree to use. Where Write fails dir holds a part of
// the tree: remove it.
func Write(ctx context.Context, m *Manifest, parts []Part, dir string, o Options) error {
	if err := m.checkParts(parts); err != nil {
		return err
	}
	items := m.items(parts)
	if err := checkRoom(m.Entries, len(items)-len(m.Entries), dir); err != nil {
		return err
	}
	if err := lay(ctx, m, parts, dir, o, nil); err != nil {
		return explainWrite(m, dir, err)
	}
	return explainWrite(m, dir, verify(ctx, items, dir, o.Owner))
}

func (m *Manifest) checkParts(parts []Part) error {
	for _, e := range m.Entries {
		if e.Part < 0 || e.Part >= len(parts) {
			return fmt.Errorf("%s is of part %d of %d", show(e.Path), e.Part, len(parts))
		}
	}
	return nil
}

// lay has git write the files that only lists for each part, or all of them if
// it is nil.
func lay(ctx context.Context, m *Manifest, parts []Part, dir string, o Options, only [][]string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.Mkdir(reserved, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.RemoveAll(reserved)) }()
	for _, mo := range m.Mounts {
		if err := makeDirs(root, mo.Path); err != nil {
			return err
		}
	}
	entries := make([]int, len(parts))
	for _, e := range m.Entries {
		entries[e.Part]++
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, p := range parts {
		var paths []string
		if only != nil {
			paths = only[i]
			entries[i] = len(paths)
		}
		if entries[i] == 0 {
			continue
		}
		g.Go(func() error {
			index := filepath.Join(dir, reserved, strconv.Itoa(i))
			if err := checkoutPart(gctx, p, filepath.Join(dir, p.Path), index, paths, o); err != nil {
				return fmt.Errorf("write %s: %w", describe(p), err)
			}
			return nil
		})
	}
	return g.Wait()
}

func describe(p Part) string {
	if p.Path == "" {
		return "the app's files"
	}
	return "submodule " + show(p.Path)
}

// makeDirs makes the directory of a submodule with those above it, so that
// repositories can be written in any order. Nothing but directories is there
// yet, and root takes no link that leads out of it.
func makeDirs(root *os.Root, path string) error {
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if err := root.Mkdir(path[:i], 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// checkoutPart has git write the files of a part: those at paths, or all of
// them if there are none.
func checkoutPart(ctx context.Context, p Part, worktree, index string, paths []string, o Options) error {
	env := map[string]string{}
	for k, v := range p.Env {
		env[k] = v
	}
	env["GIT_INDEX_FILE"], env["GIT_WORK_TREE"] = index, worktree
	conf := map[string]string{
		"checkout.workers": strconv.Itoa(max(1, o.Workers)),
		// Workers are processes: for a small part they take longer to start than it
		// takes, and parts are written side by side anyway.
		"checkout.thresholdForParallelism": "1000",
	}
	for k, v := range checkout {
		conf[k] = v
	}
	err := runAside(ctx, git.Cmd{
		Dir: p.Dir, Env: env, Config: conf, Args: []git.Opt{"read-tree"}, Data: []string{string(p.Commit)},
	}, o.Behind)
	if err != nil {
		return err
	}
	write := git.Cmd{
		Dir: p.Dir, Env: env, Config: conf,
		Args: []git.Opt{"checkout-index", "--all", "--force", "--quiet"},
	}
	if len(paths) > 0 {
		write.Args = []git.Opt{"checkout-index", "-z", "--stdin", "--force", "--quiet"}
		write.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	}
	return runAside(ctx, write, o.Behind)
}

const maxSaid = 8 << 10 // bytes kept of what git says

// runAside runs a git process whose files get the modes of a clone, 0644 and
// 0755, whatever umask this process has, and which is nice where it may be.
func runAside(ctx context.Context, c git.Cmd, nice bool) error {
	said := &git.Tail{Limit: maxSaid}
	c.Stderr = said
	cmd := c.Command(ctx)
	started := make(chan error)
	// A umask and a nice value belong to the thread, once it has left what the
	// others share, and a child takes those of the thread that starts it. The
	// thread ends with the goroutine, as it is never unlocked.
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			started <- fmt.Errorf("unshare the umask: %w", err)
			return
		}
		unix.Umask(0o022)
		if nice {
			if err := unix.Setpriority(unix.PRIO_PROCESS, 0, git.Behind); err != nil {
				started <- fmt.Errorf("be nice: %w", err)
				return
			}
		}
		started <- cmd.Start()
	}()
	err := <-started
	if err == nil {
		err = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // workers that it left behind
	}
	return c.Explain(ctx, err, said.String())
}
