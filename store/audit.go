package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"slipway/config"
)

// Event is one line of the audit log. Each carries the hash of the one before.
type Event struct {
	Seq         int64
	Time        time.Time
	By          string // key name, or "local"
	Fingerprint string // as Caller.Key gives it
	Addr        string
	AppEnv      string // "" if it concerns none
	Action      string // push, key add, vars set, ...
	Detail      string // no secrets: names of vars, never values
	Result      string // ok, or the error's one line
	Hash        string
}

// chained is the hash of an event: of its fields as JSON, which leaves no doubt
// where one ends, behind the hash of the event before.
func (e *Event) chained(before string) (string, error) {
	text, err := toJSON([]any{before, e.Seq, stamp(e.Time), e.By, e.Fingerprint, e.Addr, e.AppEnv, e.Action, e.Detail, e.Result})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:]), nil
}

// valid replaces what is no UTF-8: in JSON all of that looks the same, so two
// texts could have one hash.
func (e *Event) valid() {
	for _, field := range []*string{&e.By, &e.Fingerprint, &e.Addr, &e.AppEnv, &e.Action, &e.Detail, &e.Result} {
		*field = strings.ToValidUTF8(*field, "\uFFFD")
	}
}

// Audit appends an event; its number, time and hash are the store's. The hash
// is kept a second time, beside the log, so that an end that was cut off shows.
func (s *Store) Audit(ctx context.Context, e Event) error {
	e.valid()
	return s.write(ctx, func(tx *sql.Tx) error {
		var before string
		err := tx.QueryRowContext(ctx, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").Scan(&e.Seq, &before)
		if errors.Is(err, sql.ErrNoRows) {
			e.Seq, err = 0, nil
		}
		if err != nil {
			return err
		}
		e.Seq++
		e.Time = s.now()
		if e.Hash, err = e.chained(before); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", e.Seq, stamp(e.Time),
			e.By, e.Fingerprint, e.Addr, e.AppEnv, e.Action, e.Detail, e.Result, e.Hash)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES ('audit', ?)", e.Hash)
		return err
	})
}

const eventColumns = "SELECT seq, time, by, fingerprint, addr, appenv, action, detail, result, hash FROM audit "

func scanEvent(scan scanner) (e Event, err error) {
	var at string
	if err := scan(&e.Seq, &at, &e.By, &e.Fingerprint, &e.Addr, &e.AppEnv, &e.Action, &e.Detail, &e.Result, &e.Hash); err != nil {
		return e, err
	}
	e.Time, err = parseStamp(at)
	return e, err
}

// Events returns the newest limit events first, all if limit is not positive;
// ae "" is all.
func (s *Store) Events(ctx context.Context, ae string, limit int) ([]Event, error) {
	if limit <= 0 {
		limit = -1
	}
	if ae == "" {
		return read(ctx, s, scanEvent, eventColumns+"ORDER BY seq DESC LIMIT ?", limit)
	}
	return read(ctx, s, scanEvent, eventColumns+"WHERE appenv = ? ORDER BY seq DESC LIMIT ?", ae, limit)
}

// VerifyAudit walks the chain and returns how many events it holds; the error
// names the first event that breaks it.
func (s *Store) VerifyAudit(ctx context.Context) (n int64, err error) {
	err = s.view(ctx, func(tx *sql.Tx) error {
		last := ""
		if n, last, err = walkChain(ctx, tx); err != nil {
			return err
		}
		var newest string
		err := tx.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'audit'").Scan(&newest)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if newest != last {
			return broken(n + 1)
		}
		return nil
	})
	return n, err
}

// walkChain returns the number and hash of the last event.
func walkChain(ctx context.Context, tx *sql.Tx) (n int64, last string, err error) {
	rows, err := tx.QueryContext(ctx, eventColumns+"ORDER BY seq")
	if err != nil {
		return 0, "", err
	}
	defer rows.Close()
	for rows.Next() {
		var hash string
		e, err := scanEvent(rows.Scan)
		if err == nil {
			hash, err = e.chained(last)
		}
		if err != nil {
			return n, "", err
		}
		if e.Seq != n+1 || e.Hash != hash {
			return n, "", broken(n + 1)
		}
		n, last = e.Seq, e.Hash
	}
	return n, last, rows.Err()
}

func broken(event int64) error {
	return config.Errorf(config.Failed, "compare it with a backup from before",
		"the audit log was changed at event %d", event)
}
