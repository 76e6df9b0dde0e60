package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"slipway/config"
)

// ServiceSecret returns the password of a service of ae, made at first use: 26
// letters and digits, which need no quoting in a URL.
func (s *Store) ServiceSecret(ctx context.Context, ae config.AppEnv, service string) (config.Secret, error) {
	sealed, err := s.servicePassword(ctx, ae, service)
	if err != nil {
		return config.Secret{}, err
	}
	plain, err := s.unseal(sealed)
	return config.NewSecret(string(plain)), err
}

func (s *Store) servicePassword(ctx context.Context, ae config.AppEnv, service string) (sealed []byte, err error) {
	app, env := ae.App().String(), ae.Env().String()
	const query = "SELECT password FROM services WHERE app = ? AND env = ? AND name = ?"
	err = s.ro.QueryRowContext(ctx, query, app, env, service).Scan(&sealed)
	if !errors.Is(err, sql.ErrNoRows) {
		return sealed, s.explain(ctx, err)
	}
	fresh, err := s.seal([]byte(rand.Text()))
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO services VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", app, env, service, fresh)
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, query, app, env, service).Scan(&sealed)
	})
	return sealed, err
}

// nextMark is between a service's name, which cannot have it, and the number of
// the release with which the row's password becomes the service's own.
const nextMark = "+"

// RotateServiceSecret makes the password that a service of ae is to have once
// release n is live. Until SettleServiceSecrets has seen that, ServiceSecret
// gives the one before.
func (s *Store) RotateServiceSecret(ctx context.Context, ae config.AppEnv, service string, n int) (config.Secret, error) {
	fresh := config.NewSecret(rand.Text())
	sealed, err := s.seal([]byte(fresh.Reveal()))
	if err != nil {
		return config.Secret{}, err
	}
	_, err = s.exec(ctx, "INSERT OR REPLACE INTO services VALUES (?, ?, ?, ?)",
		ae.App().String(), ae.Env().String(), service+nextMark+strconv.Itoa(n), sealed)
	return fresh, err
}

// SettleServiceSecrets decides about every password that a rotation has made:
// it is the service's own if its release is or was live, and is forgotten if
// not. It returns the services that keep the one before. It must not run while
// a rotation of ae does.
func (s *Store) SettleServiceSecrets(ctx context.Context, ae config.AppEnv) (kept []string, err error) {
	app, env := ae.App().String(), ae.Env().String()
	scan := func(scan scanner) (name string, err error) { return name, scan(&name) }
	const query = "SELECT name FROM services WHERE app = ? AND env = ? AND instr(name, ?)"
	if all, err := read(ctx, s, scan, query, app, env, nextMark); err != nil || len(all) == 0 {
		return nil, err
	}
	err = s.write(ctx, func(tx *sql.Tx) error {
		kept = nil
		rows, err := list(ctx, tx, scan, query, app, env, nextMark)
		if err != nil {
			return err
		}
		for _, row := range rows {
			service, number, _ := strings.Cut(row, nextMark)
			n, err := strconv.Atoi(number)
			if err != nil {
				return fmt.Errorf("read the service password %q of %s: no number of a release", row, ae)
			}
			var good bool
			err = tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM releases WHERE app = ? AND env = ? AND number = ? AND state IN (?, ?))",
				app, env, n, Live, Retired).Scan(&good)
			if err != nil {
				return err
			}
			if good {
				_, err = tx.ExecContext(ctx, `UPDATE services SET password = (SELECT password FROM services WHERE app = ?1 AND env = ?2 AND name = ?3)
					WHERE app = ?1 AND env = ?2 AND name = ?4`, app, env, row, service)
			} else {
				kept = append(kept, service)
			}
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "DELETE FROM services WHERE app = ? AND env = ? AND name = ?", app, env, row); err != nil {
				return err
			}
		}
		return nil
	})
	return kept, err
}

// ServiceRow is a service that has a password.
type ServiceRow struct {
	AppEnv config.AppEnv
	Name   string
}

// Services lists the services of an app that have a password, whether or not a
// live release still asks for them.
func (s *Store) Services(ctx context.Context, app config.App) ([]ServiceRow, error) {
	scan := func(scan scanner) (r ServiceRow, err error) {
		var env string
		if err := scan(&env, &r.Name); err != nil {
			return r, err
		}
		e, err := config.ParseEnv(env)
		r.AppEnv = app.In(e)
		return r, err
	}
	return read(ctx, s, scan, "SELECT env, name FROM services WHERE app = ? AND NOT instr(name, ?) ORDER BY env, name", app.String(), nextMark)
}
