package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"slipway/builder"
	"slipway/config"
	"slipway/store/fault"
)

// Spare trees lie in a directory of their own that no account of builds can
// enter, and that no sandbox shows: what a build could reach is never used
// again.
const spares = ".spare"

// spareAge is how long a spare tree is kept that nobody uses.
const spareAge = 14 * 24 * time.Hour

// spare is where the spare tree of one app is. It counts as soon as it has a
// note.
type spare struct{ dir string }

func (h *Host) spare(ae config.AppEnv) spare { return h.spareOf(ae.App().String()) }

func (h *Host) spareOf(app string) spare {
	return spare{filepath.Join(h.o.Root, spares, app)}
}

func (s spare) tree() string { return filepath.Join(s.dir, "tree") }
func (s spare) note() string { return filepath.Join(s.dir, "note") }

// Account is what builds of ae run as.
func (h *Host) Account(ctx context.Context, ae config.AppEnv) (uid, gid int, err error) {
	o, err := h.account(ctx, ae)
	return o.UID, o.GID, err
}

// PlaceSpare makes the spare tree of an app the place of a release.
func (h *Host) PlaceSpare(_ context.Context, r builder.Ref) (dir string, note []byte, err error) {
	s := h.spare(r.AppEnv)
	note, err = os.ReadFile(s.note())
	if err == nil {
		dir, err = h.place(s, r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("make a release of the spare tree: %w", err)
	}
	if err := fault.Hit("host.spare"); err != nil {
		return "", nil, err
	}
	if err := removeAll(s.dir); err != nil { // with what a crash has left of one
		return "", nil, err
	}
	if dir == "" {
		note = nil
	}
	return dir, note, nil
}

func (h *Host) place(s spare, r builder.Ref) (string, error) {
	p := h.at(r.AppEnv)
	if err := h.clear(p, r.Number); err != nil {
		return "", err
	}
	if err := os.Rename(s.tree(), p.release(r.Number)); err != nil {
		return "", err
	}
	return p.release(r.Number), nil
}

// MakeSpare makes an empty directory for the spare tree of an app.
func (h *Host) MakeSpare(_ context.Context, ae config.AppEnv) (string, error) {
	if l := Probe(); os.Geteuid() != 0 && !l.Mounts && l.Landlock == 0 {
		return "", nil // nothing would keep a build out of it
	}
	s := h.spare(ae)
	if _, err := os.Lstat(s.note()); err == nil {
		return "", nil
	}
	if err := removeAll(s.dir); err != nil {
		return "", err
	}
	if err := makeDir(h.o.Root, 0o755); err != nil {
		return "", err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", fmt.Errorf("make room for a spare tree: %w", err)
	}
	if err := os.Mkdir(s.tree(), 0o700); err != nil {
		return "", fmt.Errorf("make room for a spare tree: %w", err)
	}
	return s.tree(), nil
}

// KeepSpare makes what was laid there the spare tree of the app.
func (h *Host) KeepSpare(_ context.Context, ae config.AppEnv, keep func() ([]byte, error)) error {
	s := h.spare(ae)
	if err := syncFS(s.tree()); err != nil {
		return h.explainSpace(err)
	}
	note, err := keep()
	if err != nil {
		return err
	}
	if err := errors.Join(renameio.WriteFile(s.note(), note, 0o600), syncDir(s.dir)); err != nil {
		return h.explainSpace(err)
	}
	_, err = h.dropSpares(func(_ spare, info fs.FileInfo) bool {
		return info != nil && time.Since(info.ModTime()) > spareAge
	})
	return err
}

// DropSpare removes the spare tree of an app.
func (h *Host) DropSpare(_ context.Context, ae config.AppEnv) error {
	return removeAll(h.spare(ae).dir)
}

// DropSpares removes all that are finished.
func (h *Host) DropSpares(context.Context) (bool, error) {
	return h.dropSpares(func(_ spare, info fs.FileInfo) bool { return info != nil })
}

// dropSpares removes the spare trees that which wants gone; info is of the
// note, nil if there is none.
func (h *Host) dropSpares(which func(s spare, info fs.FileInfo) bool) (some bool, err error) {
	entries, err := os.ReadDir(filepath.Join(h.o.Root, spares))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, e := range entries {
		s := h.spareOf(e.Name())
		info, failed := os.Lstat(s.note())
		if failed != nil {
			info = nil
		}
		if which(s, info) {
			some = true
			// Without its note it is none, should the removal be cut off.
			if gone := os.Remove(s.note()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
			err = errors.Join(err, removeAll(s.dir))
		}
	}
	return some, err
}

// sweepSpares removes what a crash left unfinished, what is old, and what
// belongs to no app.
func (h *Host) sweepSpares(env config.Env, known []config.AppEnv) error {
	_, err := h.dropSpares(func(s spare, info fs.FileInfo) bool {
		app, err := config.ParseApp(filepath.Base(s.dir))
		if err != nil || !slices.Contains(known, app.In(env)) || info == nil || time.Since(info.ModTime()) > spareAge {
			return true
		}
		_, err = os.Lstat(s.tree())
		return errors.Is(err, fs.ErrNotExist)
	})
	return err
}
