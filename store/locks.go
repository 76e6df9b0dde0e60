package store

import (
	"context"
	"time"

	"slipway/config"
)

// Lock is an admin's or developer's "do not deploy now".
type Lock struct {
	By, Reason string
	Since      time.Time
}

// SetLock locks ae, or changes the lock that is there. A zero Since is now.
func (s *Store) SetLock(ctx context.Context, ae config.AppEnv, l Lock) error {
	if l.Since.IsZero() {
		l.Since = s.now()
	}
	_, err := s.exec(ctx, "INSERT OR REPLACE INTO locks VALUES (?, ?, ?, ?, ?)",
		ae.App().String(), ae.Env().String(), l.By, l.Reason, stamp(l.Since))
	return err
}

// Unlock says whether there was a lock.
func (s *Store) Unlock(ctx context.Context, ae config.AppEnv) (bool, error) {
	n, err := s.exec(ctx, "DELETE FROM locks WHERE app = ? AND env = ?", ae.App().String(), ae.Env().String())
	return n > 0, err
}

// LockOf returns nil, nil if ae is not locked.
func (s *Store) LockOf(ctx context.Context, ae config.AppEnv) (*Lock, error) {
	scan := func(scan scanner) (l Lock, err error) {
		var since string
		if err := scan(&l.By, &l.Reason, &since); err != nil {
			return l, err
		}
		l.Since, err = parseStamp(since)
		return l, err
	}
	return one(read(ctx, s, scan, "SELECT by, reason, since FROM locks WHERE app = ? AND env = ?",
		ae.App().String(), ae.Env().String()))
}
