package hooks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"slipway/config"
	"slipway/store/disk"
	"slipway/store/fault"
	"slipway/store/git"
)

// refLock is git update-ref with a transaction prepared: the refs are locked
// and their old values proved. Its end without a commit is an abort.
type refLock struct {
	in   io.WriteCloser
	out  *bufio.Reader
	wait func() error
	sync func() error // makes what was committed durable
	repo string
	held []string             // the lock files, once they are ours
	kept func(paths []string) // is told of those that cannot be removed
	open bool
}

// lockRefs prepares what the deploy moves; a deploy that moves nothing gets a
// lock whose commit does nothing.
func (d *deploy) lockRefs(ctx context.Context) (*refLock, error) {
	if err := fault.Hit("refs.prepare"); err != nil {
		return nil, err
	}
	if d.old == d.commit && len(d.tags) == 0 {
		return &refLock{}, nil
	}
	repo := d.s.o.Store.RepoPath(d.ae.App())
	space := namespace(d.ae.Env())
	var script strings.Builder
	script.WriteString("start\n")
	if err := d.s.unlockStale(d.ae); err != nil {
		return nil, &config.Error{Op: "lock", On: d.ref, Err: disk.Explain(err, repo)}
	}
	l := &refLock{open: true, repo: repo, kept: func(paths []string) { d.s.keepStale(d.ae, paths) }}
	var moved []string
	for _, u := range append([]update{{d.old, d.commit, d.ref}}, d.tags...) {
		fmt.Fprintf(&script, "update %s%s %s %s\n", space, u.ref, u.new, u.old)
		moved = append(moved, u.ref)
	}
	l.sync = func() error { return syncRefs(repo, d.ae.Env(), moved...) }
	script.WriteString("prepare\n")

	var said strings.Builder
	c := git.Cmd{Dir: repo, Args: []git.Opt{"update-ref", "--stdin"}, Files: d.s.lockFiles()}
	cmd := c.Command(ctx)
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l.in, l.out = in, bufio.NewReader(out)
	l.wait = func() error { return c.Explain(ctx, cmd.Wait(), said.String()) }
	prepared := false
	defer func() {
		if !prepared { // a panic too leaves no lock
			_ = l.close() // after any other failure it has been called already
		}
	}()
	_, err = io.WriteString(in, script.String())
	for _, want := range []string{"start: ok\n", "prepare: ok\n"} {
		if err == nil {
			err = l.expect(want)
		}
	}
	if err == nil {
		for _, u := range append([]update{{ref: d.ref}}, d.tags...) {
			l.held = append(l.held, filepath.Join(repo, space, u.ref)+".lock")
		}
		err = fault.Hit("refs.locked")
	}
	if err != nil {
		if ended := l.close(); ended != nil {
			err = ended
		}
		return nil, &config.Error{Err: fmt.Errorf("lock %s: %w", d.ref, disk.Explain(err, repo)), Hint: "git fetch deploy, then push again"}
	}
	prepared = true
	return l, nil
}

func (l *refLock) expect(want string) error {
	line, err := l.out.ReadString('\n')
	if err == nil && line != want {
		err = fmt.Errorf("git update-ref answers %q, not %q", line, want)
	}
	return err
}

// commit renames the locked refs into place, durably.
func (l *refLock) commit() error {
	if !l.open {
		return nil
	}
	err := fault.Hit("refs.commit")
	if err == nil {
		_, err = io.WriteString(l.in, "commit\n")
	}
	if err == nil {
		err = l.expect("commit: ok\n")
	}
	if ended := l.close(); ended != nil {
		return disk.Explain(ended, l.repo)
	}
	if err != nil {
		return err
	}
	if err := fault.Hit("refs.moved"); err != nil {
		return err
	}
	return l.sync()
}

func namespace(env config.Env) string { return "refs/namespaces/" + env.String() + "/" }

// syncRefs makes durable what git leaves to the kernel: that refs of env have
// new values, and that their objects are there. The directories that git may
// have made for them are synced too, each once.
func syncRefs(repo string, env config.Env, refs ...string) error {
	dirs := map[string]bool{filepath.Join(repo, "objects", "pack"): true}
	for _, ref := range refs {
		for dir := filepath.Dir(filepath.Join(repo, namespace(env), ref)); len(dir) > len(repo); dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// close ends git, which gives up what was not committed.
func (l *refLock) close() error {
	if !l.open {
		return nil
	}
	l.open = false
	l.in.Close() // an error shows in how git ends
	err := l.wait()
	if err == nil {
		return nil
	}
	// Its locks are still there if it was killed, or if the file system has
	// become read-only.
	left, stay := removeAll(l.held)
	if stay != nil {
		l.kept(left)
	}
	return errors.Join(err, stay)
}

// keepStale notes locks of refs that no git holds and that cannot be removed
// now.
func (s *Server) keepStale(ae config.AppEnv, paths []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale[ae] = append(s.stale[ae], paths...)
}

// unlockStale removes such locks; the caller holds ae's place in the queue.
func (s *Server) unlockStale(ae config.AppEnv) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale[ae], err = removeAll(s.stale[ae])
	return err
}

// removeAll removes files, which may be gone, and says which cannot be.
func removeAll(paths []string) (left []string, err error) {
	for _, path := range paths {
		if stays := os.Remove(path); stays != nil && !errors.Is(stays, os.ErrNotExist) {
			left, err = append(left, path), errors.Join(err, stays)
		}
	}
	return left, err
}

// syncDir makes the entries of a directory durable; one that is not there has
// none.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
