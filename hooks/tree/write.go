package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
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

// Write lays the tree into dir, an empty directory that nobody else can enter,
// so that it equals what a recursive clone checks out, less .git; then it syncs
// the file system once. parts are those that m was read from, workers is how
// many files of one part git writes side by side. Git writes the files, so
// attributes come out as in a clone; its indexes are in dir/.slipway while it
// works, where they go away with dir if this process does not live to remove
// them. Where Write fails dir holds a part of the tree: remove it.
func Write(ctx context.Context, m *Manifest, parts []Part, dir string, workers int) (err error) {
	if err := checkRoom(m, dir); err != nil {
		return err
	}
	if err := lay(ctx, m, parts, dir, workers); err != nil {
		return explainWrite(m, dir, err)
	}
	if err := verify(ctx, m, parts, dir); err != nil {
		return explainWrite(m, dir, err)
	}
	return explainWrite(m, dir, syncAll(dir))
}

func lay(ctx context.Context, m *Manifest, parts []Part, dir string, workers int) (err error) {
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
		if e.Part < 0 || e.Part >= len(parts) {
			return fmt.Errorf("%s is of part %d of %d", show(e.Path), e.Part, len(parts))
		}
		entries[e.Part]++
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, p := range parts {
		if entries[i] == 0 {
			continue
		}
		g.Go(func() error {
			index := filepath.Join(dir, reserved, strconv.Itoa(i))
			if err := checkoutPart(gctx, p, filepath.Join(dir, p.Path), index, workers, nil); err != nil {
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

// checkoutPart has git write the files of a part: all of them, or those whose
// names, each with a NUL behind it, names has. Attributes that are not in the
// work tree are those of the index.
func checkoutPart(ctx context.Context, p Part, worktree, index string, workers int, names io.Reader) error {
	env := map[string]string{}
	for k, v := range p.Env {
		env[k] = v
	}
	env["GIT_INDEX_FILE"], env["GIT_WORK_TREE"] = index, worktree
	conf := map[string]string{"checkout.workers": strconv.Itoa(max(1, workers))}
	for k, v := range checkout {
		conf[k] = v
	}
	read := git.Cmd{Dir: p.Dir, Env: env, Config: conf, Args: []git.Opt{"read-tree"}, Data: []string{string(p.Commit)}}
	if err := read.Run(ctx); err != nil {
		return err
	}
	which := []git.Opt{"--all"}
	if names != nil {
		which = []git.Opt{"-z", "--stdin"}
	}
	return runUmask(ctx, git.Cmd{
		Dir: p.Dir, Env: env, Config: conf, Stdin: names,
		Args: append([]git.Opt{"checkout-index", "--force", "--quiet"}, which...),
	})
}

// runUmask runs a git process whose files get the modes of a clone, 0644 and
// 0755, whatever umask this process has.
func runUmask(ctx context.Context, c git.Cmd) error {
	said := &tail{}
	c.Stderr = said
	cmd := c.Command(ctx)
	started := make(chan error)
	// A umask belongs to the process, but a thread may have one of its own
	// once it has left what the others share, and a child takes that of the
	// thread that starts it. The thread ends with the goroutine, as it is
	// never unlocked.
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			started <- fmt.Errorf("unshare the umask: %w", err)
			return
		}
		unix.Umask(0o022)
		started <- cmd.Start()
	}()
	err := <-started
	if err == nil {
		err = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // workers that it left behind
	}
	return c.Explain(ctx, err, said.String())
}

// syncAll puts the whole file system of dir on disk, once: far cheaper than
// one sync a file.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))), f.Close())
}
