package submodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slipway/config"
	"slipway/store/git"
)

// CacheEntry is one repository of the cache.
type CacheEntry struct {
	URL     string
	Bytes   int64
	Commits int
	Used    time.Time
	dir     string
}

// Cache lists what is cached, least recently used first.
func (r *Resolver) Cache() ([]CacheEntry, error) {
	dirs, err := os.ReadDir(r.o.Dir)
	if err != nil {
		return nil, err
	}
	var all []CacheEntry
	for _, d := range dirs {
		if !cacheName.MatchString(d.Name()) {
			continue
		}
		e, err := cacheEntry(filepath.Join(r.o.Dir, d.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was evicted meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b CacheEntry) int { return a.Used.Compare(b.Used) })
	return all, nil
}

func cacheEntry(dir string) (e CacheEntry, err error) {
	e.dir = dir
	info, err := os.Stat(filepath.Join(dir, "url"))
	if err != nil {
		return e, err
	}
	e.Used = info.ModTime()
	url, err := os.ReadFile(filepath.Join(dir, "url"))
	if err != nil {
		return e, err
	}
	e.URL = strings.TrimSpace(string(url))
	keep, err := os.ReadDir(filepath.Join(dir, "refs", "keep"))
	if err != nil {
		return e, err
	}
	e.Commits = len(keep)
	e.Bytes, err = diskUse(dir)
	return e, err
}

// evict removes the least recently used repositories until at most limit bytes
// are left, but none that a running deploy reads or a kept release is made of.
func (r *Resolver) evict(limit int64) error {
	all, err := r.Cache()
	if err != nil {
		return err
	}
	var total int64
	for _, e := range all {
		total += e.Bytes
	}
	if total <= limit {
		return nil
	}
	kept := map[string]bool{}
	if r.o.Keep != nil {
		modules, err := r.o.Keep()
		if err != nil {
			return fmt.Errorf("list what kept releases are made of: %w", err)
		}
		for _, m := range modules {
			kept[r.cacheDir("", m.URL)] = true
		}
	}
	for _, e := range all {
		if total <= limit {
			break
		}
		if kept[e.dir] {
			continue
		}
		if err := r.forget(e); errors.Is(err, errInUse) {
			continue
		} else if err != nil {
			return err
		}
		total -= e.Bytes
	}
	return nil
}

var errInUse = errors.New("a running deploy reads it")

// forget removes one repository of the cache: out of sight first, so that no
// half of it is ever found. A fetch into it holds it, as a deploy does.
func (r *Resolver) forget(e CacheEntry) error {
	temp, err := os.MkdirTemp(r.o.Dir, "old-")
	if err != nil {
		return err
	}
	err = r.unlist(e.dir, filepath.Join(temp, "old"))
	return errors.Join(err, os.RemoveAll(temp))
}

func (r *Resolver) unlist(dir, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inUse[dir] > 0 {
		return errInUse
	}
	if err := os.Rename(dir, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Prune evicts down to limit bytes and says what went.
func (r *Resolver) Prune(limit int64) (removed []CacheEntry, err error) {
	before, err := r.Cache()
	if err != nil {
		return nil, err
	}
	if err := r.evict(limit); err != nil {
		return nil, err
	}
	for _, e := range before {
		if _, err := os.Stat(e.dir); errors.Is(err, fs.ErrNotExist) {
			removed = append(removed, e)
		}
	}
	return removed, nil
}

// Verify has git check every object of every cached repository, and that every
// commit in it is whole; what fails is removed, to be fetched again when it is
// needed.
func (r *Resolver) Verify(ctx context.Context) (good int, bad []CacheEntry, err error) {
	all, err := r.Cache()
	if err != nil {
		return 0, nil, err
	}
	for _, e := range all {
		err := r.sound(ctx, e)
		switch {
		case err == nil:
			good++
		case ctx.Err() != nil:
			return good, bad, context.Cause(ctx)
		default:
			if err := r.forget(e); err != nil {
				return good, bad, fmt.Errorf("remove the damaged copy of %s: %w", e.URL, err)
			}
			bad = append(bad, e)
		}
	}
	return good, bad, nil
}

func (r *Resolver) sound(ctx context.Context, e CacheEntry) error {
	url, err := config.ParseSourceURL(e.URL)
	if err != nil {
		return err
	}
	if r.cacheDir("", url) != e.dir {
		return errors.New("it is not the repository of its URL")
	}
	return git.Cmd{Dir: e.dir, Args: []git.Opt{"fsck", "--full", "--no-dangling", "--no-progress"}}.Run(ctx)
}

func diskUse(root string) (n int64, err error) {
	err = filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n, err
}
