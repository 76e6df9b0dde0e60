package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"slipway/builder"
	"slipway/config"
	"slipway/store/fault"
)

// Discard ends what runs of a release that is not live, and removes it with
// what it was the first to put into shared. What else has nothing in it goes
// too: an app that never was live leaves no directory.
func (h *Host) Discard(ctx context.Context, r builder.Ref) error {
	live, err := h.discard(ctx, r)
	if err != nil {
		return err
	}
	return h.at(r.AppEnv).tidy(live)
}

// discard is Discard of the release alone.
func (h *Host) discard(ctx context.Context, r builder.Ref) (live int, err error) {
	p := h.at(r.AppEnv)
	if live, err = p.live(); err != nil {
		return live, err
	}
	if live == r.Number {
		return live, fmt.Errorf("release %d is live, and cannot be discarded", live)
	}
	if err := fault.Hit("host.discard"); err != nil {
		return live, err
	}
	if err := endProcesses(ctx, p.home(r.Number)); err != nil {
		return live, err
	}
	if err := errors.Join(p.unseed(r.Number), p.remove(r.Number)); err != nil {
		return live, err
	}
	return live, fault.Hit("host.discarded")
}

// remove removes one release, the tree last: as long as it is there, a removal
// that was interrupted is seen.
func (p place) remove(n int) error {
	for _, path := range []string{p.manifest(n), p.list(n), p.claim(n), p.seeds(n), p.home(n), p.temp(n), p.release(n)} {
		if err := removeAll(path); err != nil {
			return fmt.Errorf("remove release %d: %w", n, err)
		}
	}
	return nil
}

// tidy removes an app that has no release, and never had one that was live.
func (p place) tidy(live int) error {
	if live != 0 {
		return nil
	}
	if err := p.dropEmpty(); err != nil {
		return err
	}
	for _, dir := range []string{p.releases(), p.shared()} { // what is shared is data
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(entries) > 0 {
			return nil
		}
	}
	return removeAll(p.app)
}

// dropEmpty removes what a first release that was taken back has left below
// shared, if that is directories alone: a file may be data.
func (p place) dropEmpty() error {
	releases, err := os.ReadDir(p.releases())
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(releases) > 0 {
		return err
	}
	shared, err := os.OpenRoot(p.shared())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer shared.Close()
	var dirs []string
	data := false
	err = fs.WalkDir(shared.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrPermission): // the app has closed it
			data = true
		case err != nil:
			return err
		case !e.IsDir():
			data = true
		case path != ".":
			dirs = append(dirs, path)
		}
		if data {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil || data {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		// One that has something in it by now stays, and so do those above it.
		if err := shared.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// Prune removes the releases that keep does not list. The live one stays, and
// every build that one which stays runs.
func (h *Host) Prune(ctx context.Context, ae config.AppEnv, keep []int) (removed []int, err error) {
	p := h.at(ae)
	live, err := p.live()
	if err != nil {
		return nil, err
	}
	stays := slices.Clone(keep)
	stays = append(stays, live)
	for _, n := range stays {
		if to, err := os.Readlink(p.release(n)); err == nil {
			if build, ok := number(to); ok {
				stays = append(stays, build)
			}
		}
	}
	all, err := p.numbers()
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if err := ctx.Err(); err != nil {
			return removed, context.Cause(ctx)
		}
		if slices.Contains(stays, n) {
			continue
		}
		if err := errors.Join(p.unseed(n), p.remove(n)); err != nil {
			return removed, err
		}
		removed = append(removed, n)
		if err := fault.Hit("host.prune"); err != nil {
			return removed, err
		}
	}
	return removed, p.keepContents(ctx)
}

// numbers lists the releases that there is anything of, sorted.
func (p place) numbers() ([]int, error) {
	entries, err := os.ReadDir(p.releases())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []int
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), ".")
		if n, ok := number(name); ok && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// Destroy ends what runs of an app and removes all of it, what is shared
// included.
func (h *Host) Destroy(ctx context.Context, ae config.AppEnv) error {
	p := h.at(ae)
	all, err := p.numbers()
	if err != nil {
		return err
	}
	for _, n := range all {
		if err := endProcesses(ctx, p.home(n)); err != nil {
			return err
		}
	}
	return errors.Join(removeAll(h.spare(ae).dir), removeAll(p.app))
}

// Sweep removes the apps of env that known has not, and the unfinished links
// and spare trees of a crash, and ends what is left of commands. Releases are
// Prune's.
func (h *Host) Sweep(ctx context.Context, env config.Env, known []config.AppEnv) error {
	errs := []error{sweepGroups(findGroups(), groupName(h.o.Root)), h.sweepSpares(env, known)}
	entries, err := os.ReadDir(h.o.Root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		app, err := config.ParseApp(e.Name())
		if err != nil || !e.IsDir() {
			continue // not ours
		}
		p := h.at(app.In(env))
		live, err := p.live()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, removeAll(p.current()+".new"))
		if live == 0 && !slices.Contains(known, app.In(env)) {
			_, err := h.Prune(ctx, app.In(env), nil)
			errs = append(errs, err, p.tidy(0))
		}
	}
	return errors.Join(errs...)
}
