package submodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store/disk"
	"slipway/store/git"
)

const (
	tries    = 3                    // attempts at a source that cannot be reached
	maxPacks = 40                   // packs of a repository before they are made one
	whole    = "--depth=2147483647" // git's word for all of the history
)

// fetch gets one commit: itself first, then by the source's refs where it does
// not give out what it does not advertise. Only a source that cannot be
// reached is tried again.
func (r *Resolver) fetch(ctx context.Context, w want) (got, error) {
	unlock, err := r.lock(ctx, w.dir)
	if err != nil {
		return got{}, err
	}
	defer unlock()
	g, err := r.fetchLocked(ctx, w)
	return g, disk.Write{Path: r.o.Dir, What: w.url.Short()}.Explain(err)
}

func (r *Resolver) fetchLocked(ctx context.Context, w want) (got, error) {
	if pinned(w.dir, w.url, w.commit) { // by a flight to the same repository
		return got{cached: true}, nil
	}
	if err := r.gate.enter(ctx); err != nil {
		return got{}, err
	}
	defer r.gate.leave()
	if err := r.create(ctx, w.dir, w.url); err != nil {
		return got{}, err
	}
	if err := r.repack(ctx, w.dir); err != nil {
		return got{}, err
	}
	before, err := diskUse(filepath.Join(w.dir, "objects"))
	if err != nil {
		return got{}, err
	}
	g, byRefs, err := r.persist(ctx, w)
	if err == nil {
		err = r.finish(ctx, w, byRefs)
	}
	if err != nil {
		return g, errors.Join(err, sweepRepo(w.dir)) // the next fetch begins anew
	}
	after, err := diskUse(filepath.Join(w.dir, "objects"))
	g.bytes = max(after-before, 0)
	return g, err
}

// persist tries until the source has answered, one way or the other.
func (r *Resolver) persist(ctx context.Context, w want) (g got, byRefs bool, err error) {
	began := r.o.Now()
	for try := 1; ; try++ {
		g.said, byRefs, err = r.attempt(ctx, w)
		var away *unreachableError
		if err == nil || !errors.As(err, &away) {
			return g, byRefs, err
		}
		if try == tries {
			return g, byRefs, config.Errorf(config.Failed, `nothing changed; push again when "doctor" finds it reachable`,
				"%w, %d tries in %s", err, tries, builder.Whole(r.o.Now().Sub(began)))
		}
		if err := pause(ctx, r.o.Backoff(try+1)); err != nil {
			return g, byRefs, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// attempt asks the source once for the commit, and once for its refs where it
// says no to that.
func (r *Resolver) attempt(ctx context.Context, w want) (said []string, byRefs bool, err error) {
	said, err = r.run(ctx, w, []git.Opt{"--depth=1"}, string(w.commit))
	var no *declinedError
	if !errors.As(err, &no) {
		return said, false, err
	}
	opts := []git.Opt{"--prune"}
	if _, err := os.Stat(filepath.Join(w.dir, "shallow")); err == nil {
		opts = append(opts, whole) // the commit may lie beyond what was fetched before
	}
	said, err = r.run(ctx, w, opts, "+refs/heads/*:refs/source/heads/*", "+refs/tags/*:refs/source/tags/*")
	if errors.As(err, &no) {
		err = declined(w, no)
	}
	return said, true, err
}

// declined explains a source that answers, yet gives no refs either. Git has no
// codes for what it found, only words, which LC_ALL=C keeps.
func declined(w want, no *declinedError) error {
	says := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(no.git, word) {
				return true
			}
		}
		return false
	}
	switch {
	case says("mismatched algorithms", "object format", "hash algorithm"):
		return config.Errorf(config.Usage, "only SHA-1 repositories can be deployed",
			"%s is a SHA-256 repository, which is not supported", w.url.Short())
	case says("fsck error", "error in object", "bad object"):
		return config.Errorf(config.Usage, "repair that repository: git fsck finds the same there",
			"git does not take what %s sends: %s", w.url.Short(), cause(no.git))
	case no.cut:
		return &unreachableError{w.url.Addr(), cause(no.git)}
	}
	return config.Errorf(config.Failed, "", "%s: %s", w.url.Short(), cause(no.git))
}

// finish proves that the commit is there, is a commit and is whole, and marks
// it. Git has proved the last where it was asked for the commit itself.
func (r *Resolver) finish(ctx context.Context, w want, byRefs bool) error {
	id, err := git.ParseHash(string(w.commit))
	if err != nil {
		return err
	}
	objects := git.OpenObjects(ctx, w.dir, nil)
	defer objects.Close()
	var o git.Object
	err = objects.Info([]git.Hash{id}, func(_ int, got git.Object) error { o = got; return nil })
	switch {
	case errors.Is(err, git.ErrNoObject):
		return neverPushed(w.url, w.commit)
	case err != nil:
		return err
	case o.Type != "commit":
		return config.Errorf(config.Usage, "pin the commit itself", "the submodule is pinned to a %s, %s, not to a commit", o.Type, w.commit.Short())
	}
	if byRefs {
		check := git.Cmd{Dir: w.dir, Args: []git.Opt{"rev-list", "--objects", "--quiet", "--max-count=1"}, Data: []string{string(w.commit)}}
		if err := check.Run(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			return fmt.Errorf("commit %s of %s is not whole: %w", w.commit.Short(), w.url.Short(), err)
		}
	}
	return pin(w.dir, w.commit)
}

// repack makes one pack of many, while nobody else reads them.
func (r *Resolver) repack(ctx context.Context, dir string) error {
	packs, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) < maxPacks || r.holders(dir) > 1 {
		return err
	}
	return git.Cmd{Dir: dir, Args: []git.Opt{"repack", "-a", "-d", "-q"}}.Run(ctx)
}
