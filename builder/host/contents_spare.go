package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"

	"slipway/builder"
	"slipway/builder/content"
)

// MakeContentsSpare lays the tree of the live release out once more, aside, so that the
// next release needs only what differs from it: making files is what takes the
// time. It is done when nobody waits, and where nothing but us can write there.
func (h *Host) MakeContentsSpare(ctx context.Context, r builder.Ref) (err error) {
	p := h.at(r.AppEnv)
	if !h.aside(ctx, r) {
		return nil
	}
	n := r.Number
	if to, err := os.Readlink(p.release(n)); err == nil { // another's build
		if build, ok := number(to); ok {
			n = build
		}
	}
	l, err := readList(p.list(n))
	if err != nil || l == nil {
		return err
	}
	if old, _, err := p.readSpare(); err == nil && old != nil && old.ID() == l.ID() {
		return nil
	}
	store, err := p.openContents()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := p.dropSpare(); err != nil {
		return err
	}
	if err := os.Mkdir(p.spare(), 0o700); err != nil {
		return err
	}
	if err := store.Lay(ctx, l, p.spare(), 1); err != nil {
		return errors.Join(fmt.Errorf("lay out a spare tree: %w", err), p.dropSpare())
	}
	// Now, as else the next deploy's sync would have to wait for all of it.
	if err := syncFS(p.spare()); err != nil {
		return errors.Join(err, p.dropSpare())
	}
	stamp, err := content.Stamp(p.spare())
	if err != nil {
		return errors.Join(err, p.dropSpare())
	}
	// The list comes last: a spare without one is no whole one.
	text := binary.BigEndian.AppendUint64(nil, uint64(stamp.UnixNano()))
	return renameio.WriteFile(p.spareList(), append(text, l.Encode()...), 0o600)
}

const stampSize = 8

// readSpare gives what the spare tree is, and since when nobody may have
// touched it; nil if there is none.
func (p place) readSpare() (*content.List, time.Time, error) {
	text, err := os.ReadFile(p.spareList())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(text) < stampSize {
		return nil, time.Time{}, fmt.Errorf("%s is damaged", p.spareList())
	}
	l, err := content.Decode(text[stampSize:])
	return l, time.Unix(0, int64(binary.BigEndian.Uint64(text))), err
}

// aside says whether code that was pushed cannot write beside its release.
func (h *Host) aside(ctx context.Context, r builder.Ref) bool {
	if os.Geteuid() == 0 {
		o, err := h.account(ctx, r.AppEnv)
		return err == nil && o.UID > 0
	}
	layers := Probe()
	return layers.Landlock > 0 || layers.Mounts && layers.ReadOnly
}

// takeSpare makes dir, an empty directory, the tree l out of the spare one, if
// there is one that nobody has touched.
func (h *Host) takeSpare(ctx context.Context, p place, store *content.Store, l *content.List, dir string) (taken bool, err error) {
	from, stamp, err := p.readSpare()
	if err != nil || from == nil {
		return false, p.dropSpare() // one that is damaged is as good as none
	}
	// From here on it is no spare any more, whatever becomes of it.
	if err := os.Remove(p.spareList()); err != nil {
		return false, err
	}
	if err := store.Update(ctx, from, l, p.spare(), stamp, layWorkers); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return false, errors.Join(cause, p.dropSpare())
		}
		return false, p.dropSpare()
	}
	if err := os.Remove(dir); err != nil {
		return false, err
	}
	return true, os.Rename(p.spare(), dir)
}

// dropSpare removes the spare tree, or what there is of one.
func (p place) dropSpare() error {
	err := os.Remove(p.spareList())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, removeAll(p.spare()))
}
