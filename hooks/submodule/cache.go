package submodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"slipway/config"
	"slipway/store"
	"slipway/store/git"
)

// A repository of the cache is named by the hash of its URL, with the URL in
// it. One that was fetched anew, for a single plan, has that plan's id before.
var (
	cacheName = config.NewPattern(`^[0-9a-f]{64}\.git$`)
	freshName = config.NewPattern(`^fresh-[A-Z2-7]+-[0-9a-f]{64}\.git$`)
)

// cacheDir is the repository of a URL; id is that of a plan that is fetched
// anew, or "".
func (r *Resolver) cacheDir(id string, url config.SourceURL) string {
	sum := sha256.Sum256([]byte(url.String()))
	name := hex.EncodeToString(sum[:]) + ".git"
	if id != "" {
		name = "fresh-" + id + "-" + name
	}
	return filepath.Join(r.o.Dir, name)
}

// keepRef marks a commit that was fetched whole: it is written after git has
// seen that everything the commit needs is there.
func keepRef(commit store.OID) string { return "refs/keep/" + string(commit) }

// belongs says whether dir is the whole repository of a URL.
func belongs(dir string, url config.SourceURL) bool {
	of, err := os.ReadFile(filepath.Join(dir, "url"))
	return err == nil && string(of) == url.String()+"\n"
}

// pinned says whether the repository has the commit whole.
func pinned(dir string, url config.SourceURL, commit store.OID) bool {
	_, err := os.Stat(filepath.Join(dir, keepRef(commit)))
	return err == nil && belongs(dir, url)
}

// pin marks a commit as whole. What it needs is made durable before, so that
// no loss of power leaves the mark without it.
func pin(dir string, commit store.OID) error {
	if err := syncDir(filepath.Join(dir, "objects", "pack")); err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, keepRef(commit)), []byte(string(commit)+"\n"), 0o600); err != nil {
		return err
	}
	return syncDir(filepath.Join(dir, "refs", "keep"))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// create makes the repository of a URL, whole or not at all.
func (r *Resolver) create(ctx context.Context, dir string, url config.SourceURL) error {
	if belongs(dir, url) {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(r.o.Dir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // swept at the next start
	err = git.Cmd{Args: []git.Opt{"init", "--quiet", "--bare", "--template="}, Data: []string{temp}}.Run(ctx)
	if err != nil {
		return err
	}
	for _, sub := range []string{"refs/keep", "objects/pack"} {
		if err := os.MkdirAll(filepath.Join(temp, sub), 0o700); err != nil {
			return err
		}
	}
	if err := renameio.WriteFile(filepath.Join(temp, "url"), []byte(url.String()+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, dir)
}

// lock serializes what changes one repository; unlock must follow if there is
// no error.
func (r *Resolver) lock(ctx context.Context, dir string) (unlock func(), err error) {
	r.mu.Lock()
	if r.locks[dir] == nil {
		r.locks[dir] = make(chan struct{}, 1)
	}
	l := r.locks[dir]
	r.mu.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *Resolver) hold(dir string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inUse[dir]++
}

func (r *Resolver) holders(dir string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inUse[dir]
}

// drop ends one hold. What was fetched for one plan alone goes with its last.
func (r *Resolver) drop(dir string) {
	fresh := freshName.MatchString(filepath.Base(dir))
	r.mu.Lock()
	r.inUse[dir]--
	last := r.inUse[dir] <= 0
	if last {
		delete(r.inUse, dir)
		if fresh {
			delete(r.locks, dir)
		}
	}
	r.mu.Unlock()
	if last && fresh {
		r.adopt(dir)
	}
}

// adopt makes what was fetched anew the cached copy, if there is none.
func (r *Resolver) adopt(dir string) {
	name := filepath.Base(dir)
	err := os.Rename(dir, filepath.Join(r.o.Dir, name[strings.LastIndexByte(name, '-')+1:]))
	if err != nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		r.o.Log.Warn().Err(err).Msg("cannot clean the submodule cache")
	}
}

// release ends a result's hold on the cache.
func (r *Resolver) release(repos []Located) {
	for _, l := range repos {
		r.drop(l.Dir)
	}
}

// used notes that a repository was of use, for eviction alone.
func (r *Resolver) used(dir string) {
	now := r.o.Now()
	_ = os.Chtimes(filepath.Join(dir, "url"), now, now)
}

// sweep removes what killed fetches left: it runs before any fetch.
func (r *Resolver) sweep() error {
	dirs, err := os.ReadDir(r.o.Dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		dir := filepath.Join(r.o.Dir, d.Name())
		if _, err := os.Stat(filepath.Join(dir, "url")); err != nil || !cacheName.MatchString(d.Name()) {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			continue
		}
		if err := sweepRepo(dir); err != nil {
			return err
		}
	}
	return nil
}

// sweepRepo removes locks, half-written packs and marks.
func sweepRepo(dir string) error {
	for _, pattern := range []string{
		"*.lock", "refs/keep/*.lock", "refs/keep/.*", "refs/source/*/*.lock", "objects/pack/tmp_*", "objects/pack/.tmp*",
		"objects/tmp_*", "objects/pack/*.keep", "objects/??/tmp_obj_*",
	} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}
