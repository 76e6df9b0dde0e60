package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"slipway/builder"
	"slipway/builder/content"
)

// layWorkers is how many files are laid out side by side.
const layWorkers = 4

// youngContents is how long contents stay that no release has: those of a
// deploy that failed are there when it is tried again.
const youngContents = time.Hour

// Fetch has the contents that a store lacks brought into it.
type Fetch func(ctx context.Context, store *content.Store, want []content.Want) error

// PlaceContents has a tree laid out whose contents come from elsewhere: what
// the releases that are kept have in common with it is here already. A fetch
// that fails has lost nothing of what has arrived.
func (h *Host) PlaceContents(ctx context.Context, r builder.Ref, l *content.List, fetch Fetch) (err error) {
	p := h.at(r.AppEnv)
	if err := h.prepare(p); err != nil {
		return h.explainSpace(fmt.Errorf("make room for the release: %w", err))
	}
	store, err := p.openContents()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	want, err := store.Missing(l)
	if err != nil {
		return err
	}
	if len(want) > 0 {
		if err := fetch(ctx, store, want); err != nil {
			return h.explainSpace(err)
		}
	}
	if err := h.lay(ctx, p, r, store, l); err != nil {
		return h.explainSpace(fmt.Errorf("lay out release %d: %w", r.Number, err))
	}
	// Nothing is synced here: Stage does so, once for all.
	return h.explainSpace(renameio.WriteFile(p.list(r.Number), l.Encode(), 0o600))
}

func (h *Host) lay(ctx context.Context, p place, r builder.Ref, store *content.Store, l *content.List) error {
	dir, err := h.Make(r)
	if err != nil {
		return err
	}
	if taken, err := h.takeSpare(ctx, p, store, l, dir); err != nil || taken {
		return err
	}
	return store.Lay(ctx, l, dir, layWorkers)
}

// openContents opens the app's store of contents, which only we may enter; the
// caller closes it.
func (p place) openContents() (*content.Store, error) {
	if err := makeDir(p.contents(), 0o700); err != nil {
		return nil, err
	}
	return content.Open(p.contents())
}

// ContentList is what was in a tree that is kept here, by its id; nil if none
// of the releases has it.
func (h *Host) ContentList(r builder.Ref, id [32]byte) (*content.List, error) {
	p := h.at(r.AppEnv)
	all, err := p.numbers()
	if err != nil {
		return nil, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		l, err := readList(p.list(all[i]))
		if err == nil && l != nil && l.ID() == id {
			return l, nil
		}
	}
	return nil, nil
}

// readList returns nil if there is none.
func readList(path string) (*content.List, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := content.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return l, nil
}

// keepContents gives up the contents that no release has any more.
func (p place) keepContents(ctx context.Context) (err error) {
	if _, err := os.Stat(p.contents()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	all, err := p.numbers()
	if err != nil {
		return err
	}
	var lists []*content.List
	for _, n := range all {
		l, err := readList(p.list(n))
		if err != nil {
			return err
		}
		if l != nil {
			lists = append(lists, l)
		}
	}
	store, err := p.openContents()
	if err != nil {
		return err
	}
	return errors.Join(store.Keep(ctx, lists, youngContents), store.Close())
}

// Claim makes the release one that its caller may take back by Abandon, until
// somebody else claims it.
func (h *Host) Claim(r builder.Ref) (claim string, err error) {
	p := h.at(r.AppEnv)
	if err := h.prepare(p); err != nil {
		return "", err
	}
	if err := makeDir(p.contents(), 0o700); err != nil {
		return "", err
	}
	claim = rand.Text()
	return claim, renameio.WriteFile(p.claim(r.Number), []byte(claim+"\n"), 0o600)
}

// Abandon discards a release, if the claim still holds. Its contents stay, even
// of an app that has nothing else: they are not sent again if the server is
// only away for a moment. Where it is not, its next start sweeps them.
func (h *Host) Abandon(ctx context.Context, r builder.Ref, claim string) error {
	text, err := os.ReadFile(h.at(r.AppEnv).claim(r.Number))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || strings.TrimSpace(string(text)) != claim {
		return err
	}
	_, err = h.discard(ctx, r)
	return err
}
