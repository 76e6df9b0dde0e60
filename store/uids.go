package store

import (
	"context"
	"database/sql"
	"errors"

	"slipway/config"
)

// ownUID is ae's newest uid in a range.
const ownUID = "SELECT uid FROM uids WHERE app = ? AND env = ? AND uid BETWEEN ? AND ? ORDER BY seq DESC LIMIT 1"

// UID returns the uid of ae's builds in the range first..last: always the same
// for one APP/ENV, never shared by two. Where the range was moved away from
// ae's uid it gets another; the old one stays its own, for files that bear it,
// and is used again if the range comes back.
func (s *Store) UID(ctx context.Context, ae config.AppEnv, first, last int) (uid int, err error) {
	app, env := ae.App().String(), ae.Env().String()
	if first < 1 || last < first { // 0 is root
		return 0, config.Errorf(config.Usage, "set [limits] uids in server.toml, such as \"70000-99999\"",
			"%d to %d is no range of uids", first, last)
	}
	err = s.ro.QueryRowContext(ctx, ownUID, app, env, first, last).Scan(&uid)
	if !errors.Is(err, sql.ErrNoRows) {
		return uid, s.explain(ctx, err)
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, ownUID, app, env, first, last).Scan(&uid)
		if !errors.Is(err, sql.ErrNoRows) { // another call was first
			return err
		}
		var free sql.NullInt64
		err = tx.QueryRowContext(ctx, `SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM uids WHERE uid = ?1) THEN ?1
			ELSE (SELECT min(uid) + 1 FROM uids AS a WHERE uid BETWEEN ?1 AND ?2 - 1
				AND NOT EXISTS (SELECT 1 FROM uids WHERE uid = a.uid + 1)) END`, first, last).Scan(&free)
		if err != nil {
			return err
		}
		if !free.Valid {
			return config.Errorf(config.Failed, "widen [limits] uids in server.toml",
				"every uid from %d to %d has an APP/ENV; none is left for %s", first, last, ae)
		}
		uid = int(free.Int64)
		_, err = tx.ExecContext(ctx, "INSERT INTO uids VALUES (?, ?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM uids))", uid, app, env)
		return err
	})
	return uid, err
}
