package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"slipway/config"
)

// Var is one variable of an APP/ENV as it stands for the next deploy. It is
// staged if the live release was not made with this value; all are where
// nothing is live. So it stays true whatever went live, a rollback too.
type Var struct {
	Name   string
	Value  config.Secret
	By     string
	Set    time.Time
	Staged bool
}

// Vars lists the vars of ae by name.
func (s *Store) Vars(ctx context.Context, ae config.AppEnv) ([]Var, error) {
	app, env := ae.App().String(), ae.Env().String()
	scan := func(scan scanner) (v Var, err error) {
		var sealed []byte
		var changed string
		if err := scan(&v.Name, &sealed, &v.By, &changed); err != nil {
			return v, err
		}
		plain, err := s.unseal(sealed)
		if err != nil {
			return v, err
		}
		v.Value = config.NewSecret(string(plain))
		v.Set, err = parseStamp(changed)
		return v, err
	}
	var all []Var
	var live map[string]config.Secret
	err := s.view(ctx, func(tx *sql.Tx) (err error) {
		all, err = list(ctx, tx, scan, "SELECT name, value, by, changed FROM vars WHERE app = ? AND env = ? ORDER BY name", app, env)
		if err != nil {
			return err
		}
		var sealed []byte
		err = tx.QueryRowContext(ctx, "SELECT vars FROM releases WHERE app = ? AND env = ? AND state = ?", app, env, Live).Scan(&sealed)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			live, err = s.unsealVars(sealed)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, v := range all {
		value, ok := live[v.Name]
		all[i].Staged = !ok || value != v.Value
	}
	return all, nil
}

// ChangeVars sets and unsets in one transaction; a name in both is unset. The
// app need not be there yet.
func (s *Store) ChangeVars(ctx context.Context, ae config.AppEnv, by string, set map[string]config.Secret, unset []string) error {
	app, env := ae.App().String(), ae.Env().String()
	sealed := make(map[string][]byte, len(set))
	for name, v := range set {
		b, err := s.seal([]byte(v.Reveal()))
		if err != nil {
			return err
		}
		sealed[name] = b
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		for name, b := range sealed {
			_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO vars VALUES (?, ?, ?, ?, ?, ?)",
				app, env, name, b, by, stamp(s.now()))
			if err != nil {
				return err
			}
		}
		for _, name := range unset {
			_, err := tx.ExecContext(ctx, "DELETE FROM vars WHERE app = ? AND env = ? AND name = ?", app, env, name)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
