package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"slipway/config"
)

// forward is the order of phases of a deploy that goes well; the others branch
// off from it.
var forward = [...]Phase{Queued, Planned, Staging, Staged, Prepared, Switching, Committed, Done}

// follows says whether a deploy may go from one phase to another: never back
// along the road, never back onto it from a revert, and not past its commit to
// an end that says that nothing is left of it. A deploy whose target diverged
// may turn out either way.
func (from Phase) follows(to Phase) bool {
	at, next := slices.Index(forward[:], from), slices.Index(forward[:], to)
	branch := to == Reverting || to == Diverged || to == Ended
	switch {
	case next < 0 && !branch, from == Done, from == Ended:
		return false
	case at < 0 && from != Reverting && from != Diverged:
		return false
	case from == Diverged:
		return branch || to == Committed || to == Done
	case from == Reverting:
		return branch
	case from == Committed && to == Ended:
		return false
	}
	return branch || next >= at
}

func (e Entry) String() string {
	return fmt.Sprintf("the deploy of release %d of %s, %s", e.Release, e.AppEnv, e.Phase)
}

const entryColumns = `SELECT app, env, release, phase, ref, old, new, from_release, to_release, generation, changed
	FROM journal WHERE phase NOT IN ('done', 'ended') `

func scanEntry(scan scanner) (e Entry, err error) {
	var app, env, changed string
	if err := scan(&app, &env, &e.Release, &e.Phase, &e.Ref, &e.Old, &e.New, &e.From, &e.To, &e.Generation, &changed); err != nil {
		return e, err
	}
	if e.AppEnv, err = config.ParseAppEnv(app + "/" + env); err != nil {
		return e, err
	}
	e.Changed, err = parseStamp(changed)
	return e, err
}

// openEntry is the open entry of ae, nil if it has none.
func openEntry(ctx context.Context, tx *sql.Tx, ae config.AppEnv) (*Entry, error) {
	return one(list(ctx, tx, scanEntry, entryColumns+"AND app = ? AND env = ?", ae.App().String(), ae.Env().String()))
}

// Begin writes the entry of a deploy that starts; one per APP/ENV is open. The
// time is the store's.
func (s *Store) Begin(ctx context.Context, e Entry) error {
	if e.Phase == Done || e.Phase == Ended || !e.Phase.follows(e.Phase) {
		return fmt.Errorf("begin %s: no phase to begin with", e)
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		open, err := openEntry(ctx, tx, e.AppEnv)
		if err != nil {
			return err
		}
		if open != nil {
			return config.Errorf(config.Failed, "an admin must look: slipway doctor", "%s, is not settled yet", open)
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM journal WHERE app = ? AND env = ? AND release <= ? AND phase IN (?, ?)",
			e.AppEnv.App().String(), e.AppEnv.Env().String(), e.Release-keepEntries, Done, Ended)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			e.AppEnv.App().String(), e.AppEnv.Env().String(), e.Release, e.Phase, e.Ref, e.Old, e.New,
			e.From, e.To, e.Generation, stamp(s.now()))
		return err
	})
}

// Advance moves the open entry of e's release on to e, durably before it
// returns. It is an error if that entry is not open, or was further already.
func (s *Store) Advance(ctx context.Context, e Entry) error {
	return s.write(ctx, func(tx *sql.Tx) error { return s.advance(ctx, tx, e) })
}

func (s *Store) advance(ctx context.Context, tx *sql.Tx, e Entry) error {
	open, err := openEntry(ctx, tx, e.AppEnv)
	switch {
	case err != nil:
		return err
	case open == nil:
		return fmt.Errorf("advance %s: the journal has no open entry: %w", e, sql.ErrNoRows)
	case open.Release != e.Release:
		return fmt.Errorf("advance %s: the journal has %s", e, open)
	case !open.Phase.follows(e.Phase):
		return fmt.Errorf("advance %s: it was %s", e, open.Phase)
	}
	n, err := changed(tx.ExecContext(ctx, `UPDATE journal
		SET phase = ?, ref = ?, old = ?, new = ?, from_release = ?, to_release = ?, generation = ?, changed = ?
		WHERE app = ? AND env = ? AND release = ?`,
		e.Phase, e.Ref, e.Old, e.New, e.From, e.To, e.Generation, stamp(s.now()),
		e.AppEnv.App().String(), e.AppEnv.Env().String(), e.Release))
	if err == nil && n != 1 {
		err = errors.New("the journal did not take the phase")
	}
	return err
}

// OpenEntries are those neither Done nor Ended, sorted by APP/ENV.
func (s *Store) OpenEntries(ctx context.Context) ([]Entry, error) {
	return read(ctx, s, scanEntry, entryColumns+"ORDER BY app, env")
}

// NextGeneration returns a number greater than any it gave for ae before. The
// one that follows it is given with it: it takes back what the first one does,
// so that going back needs no write here.
func (s *Store) NextGeneration(ctx context.Context, ae config.AppEnv) (g int64, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO numbers VALUES (?, ?, 0, 2)
			ON CONFLICT DO UPDATE SET generation = generation + 2 RETURNING generation - 1`,
			ae.App().String(), ae.Env().String()).Scan(&g)
	})
	return g, err
}
