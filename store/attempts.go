package store

import (
	"context"
	"database/sql"
	"time"
)

// Attempt is one refused login. Attempts keeps the newest 200, one row a
// fingerprint and user.
type Attempt struct {
	Fingerprint, User, Addr string
	AuthorizedKey           string // type and base64, ready for key add; of a certificate with what is known of it behind
	Count                   int
	Last                    time.Time
}

const keptAttempts = 200

// AddAttempt counts a refused login; count and time are the store's.
func (s *Store) AddAttempt(ctx context.Context, a Attempt) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO attempts
			VALUES (?, ?, ?, ?, 1, ?, (SELECT coalesce(max(seq), 0) + 1 FROM attempts))
			ON CONFLICT (fingerprint, user) DO UPDATE
			SET addr = excluded.addr, authorized_key = excluded.authorized_key, count = count + 1, last = excluded.last, seq = excluded.seq`,
			a.Fingerprint, a.User, a.Addr, a.AuthorizedKey, stamp(s.now()))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx,
			"DELETE FROM attempts WHERE seq <= (SELECT seq FROM attempts ORDER BY seq DESC LIMIT 1 OFFSET ?)", keptAttempts)
		return err
	})
}

// Attempts lists refused logins, newest first.
func (s *Store) Attempts(ctx context.Context) ([]Attempt, error) {
	scan := func(scan scanner) (a Attempt, err error) {
		var last string
		if err := scan(&a.Fingerprint, &a.User, &a.Addr, &a.AuthorizedKey, &a.Count, &last); err != nil {
			return a, err
		}
		a.Last, err = parseStamp(last)
		return a, err
	}
	return read(ctx, s, scan, "SELECT fingerprint, user, addr, authorized_key, count, last FROM attempts ORDER BY seq DESC")
}
