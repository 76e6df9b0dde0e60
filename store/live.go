package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"slipway/config"
)

// EndRelease gives a building release its final state: failed, cancelled or
// interrupted, with why. A release that has ended so already keeps its first
// end; one that is or was live cannot end so.
func (s *Store) EndRelease(ctx context.Context, ae config.AppEnv, n int, st State, why string) error {
	if st != FailedState && st != Cancelled && st != Interrupted {
		return fmt.Errorf("end release %d of %s: %q is no end", n, ae, st)
	}
	app, env := ae.App().String(), ae.Env().String()
	return s.write(ctx, func(tx *sql.Tx) error {
		was, err := stateOf(ctx, tx, ae, n)
		if err != nil {
			return err
		}
		switch was {
		case Live, Retired:
			return fmt.Errorf("end release %d of %s as %s: it is %s", n, ae, st, was)
		case FailedState, Cancelled, Interrupted:
			return nil
		}
		_, err = tx.ExecContext(ctx, "UPDATE releases SET state = ?, error = ?, ended = ? WHERE app = ? AND env = ? AND number = ?",
			st, why, stamp(s.now()), app, env, n)
		return err
	})
}

// SetLive makes release n of ae live and the one that was retired, in one
// transaction, with the journal's entry of n moved to Committed. It may be
// repeated. Whatever state n had, it goes live: the ref is what decides, and a
// release that was written off may turn out to be recorded there.
func (s *Store) SetLive(ctx context.Context, ae config.AppEnv, n int) error {
	app, env := ae.App().String(), ae.Env().String()
	return s.write(ctx, func(tx *sql.Tx) error {
		if _, err := stateOf(ctx, tx, ae, n); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE releases SET state = ? WHERE app = ? AND env = ? AND state = ? AND number <> ?",
			Retired, app, env, Live, n)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE releases SET state = ?, error = '', ended = coalesce(nullif(ended, ''), ?)
			WHERE app = ? AND env = ? AND number = ?`, Live, stamp(s.now()), app, env, n)
		if err != nil {
			return err
		}
		open, err := openEntry(ctx, tx, ae)
		switch {
		case err != nil:
			return err
		case open == nil || open.Release != n:
			return fmt.Errorf("make release %d of %s live: the journal has no open entry of it", n, ae)
		}
		_, err = tx.ExecContext(ctx, "UPDATE journal SET phase = ?, changed = ? WHERE app = ? AND env = ? AND release = ?",
			Committed, stamp(s.now()), app, env, n)
		return err
	})
}

// stateOf is the state of a release; NotFound if there is none.
func stateOf(ctx context.Context, tx *sql.Tx, ae config.AppEnv, n int) (st State, err error) {
	err = tx.QueryRowContext(ctx, "SELECT state FROM releases WHERE app = ? AND env = ? AND number = ?",
		ae.App().String(), ae.Env().String(), n).Scan(&st)
	if errors.Is(err, sql.ErrNoRows) {
		err = noRelease(ae, n)
	}
	return st, err
}
