package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"slipway/config"
)

const releaseColumns = `SELECT app, env, number, build, commit_oid, ref, title, state, reason, by, created, ended,
	plan, tree, file, steps, error, pruned FROM releases `

func scanRelease(scan scanner) (r Release, err error) {
	var app, env, created, ended, plan, tree, file, steps string
	if err := scan(&app, &env, &r.Number, &r.Build, &r.Commit, &r.Ref, &r.Title, &r.State, &r.Reason, &r.By,
		&created, &ended, &plan, &tree, &file, &steps, &r.Error, &r.Pruned); err != nil {
		return r, err
	}
	if r.AppEnv, err = config.ParseAppEnv(app + "/" + env); err != nil {
		return r, err
	}
	if r.Created, err = parseStamp(created); err != nil {
		return r, err
	}
	if r.Ended, err = parseStamp(ended); err != nil {
		return r, err
	}
	if file != "" {
		r.App = []byte(file)
	}
	err = errors.Join(json.Unmarshal([]byte(plan), &r.Plan), json.Unmarshal([]byte(tree), &r.Tree), json.Unmarshal([]byte(steps), &r.Steps))
	if err != nil {
		err = fmt.Errorf("read release %d of %s: %w", r.Number, r.AppEnv, err)
	}
	return r, err
}

// columns gives what of a release is JSON.
func (r *Release) columns() (plan, tree, steps string, err error) {
	if plan, err = toJSON(r.Plan); err != nil {
		return "", "", "", err
	}
	if tree, err = toJSON(r.Tree); err != nil {
		return "", "", "", err
	}
	seconds := r.Steps
	if seconds == nil {
		seconds = map[string]float64{}
	}
	steps, err = toJSON(seconds)
	return plan, tree, steps, err
}

// NewRelease numbers r from 1 in its APP/ENV and stores it, as building, with
// the vars it is to run with (encrypted). It never reuses a number, not even
// of a release that is gone. Build 0 is the release's own, a zero Created is
// now.
func (s *Store) NewRelease(ctx context.Context, r Release, vars map[string]config.Secret) (Release, error) {
	sealed, err := s.sealVars(vars)
	if err != nil {
		return r, err
	}
	plan, tree, steps, err := r.columns()
	if err != nil {
		return r, err
	}
	r.State = Building
	if r.Created.IsZero() {
		r.Created = s.now()
	}
	own := r.Build == 0
	app, env := r.AppEnv.App().String(), r.AppEnv.Env().String()
	err = s.write(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `INSERT INTO numbers VALUES (?, ?, 1, 0)
			ON CONFLICT DO UPDATE SET release = release + 1 RETURNING release`, app, env).Scan(&r.Number)
		if err != nil {
			return err
		}
		if own {
			r.Build = r.Number
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			app, env, r.Number, r.Build, r.Commit, r.Ref, r.Title, r.State, r.Reason, r.By, stamp(r.Created), stamp(r.Ended),
			plan, tree, string(r.App), steps, r.Error, r.Pruned, sealed)
		return err
	})
	return r, err
}

// UpdateRelease stores everything of r but its number, vars and state. What
// the store writes by itself, Ended, Error and Pruned, is not cleared by a
// zero value, nor is Created.
func (s *Store) UpdateRelease(ctx context.Context, r Release) error {
	plan, tree, steps, err := r.columns()
	if err != nil {
		return err
	}
	n, err := s.exec(ctx, `UPDATE releases
		SET build = ?, commit_oid = ?, ref = ?, title = ?, reason = ?, by = ?, plan = ?, tree = ?, file = ?, steps = ?,
			created = coalesce(nullif(?, ''), created), ended = coalesce(nullif(?, ''), ended),
			error = coalesce(nullif(?, ''), error), pruned = max(pruned, ?)
		WHERE app = ? AND env = ? AND number = ?`,
		r.Build, r.Commit, r.Ref, r.Title, r.Reason, r.By, plan, tree, string(r.App), steps,
		stamp(r.Created), stamp(r.Ended), r.Error, r.Pruned,
		r.AppEnv.App().String(), r.AppEnv.Env().String(), r.Number)
	if err == nil && n == 0 {
		err = noRelease(r.AppEnv, r.Number)
	}
	return err
}

func noRelease(ae config.AppEnv, n int) error {
	return config.Errorf(config.NotFound, "releases "+ae.String(), "%s has no release %d", ae, n)
}

// Release returns nil, nil if there is no such release.
func (s *Store) Release(ctx context.Context, ae config.AppEnv, n int) (*Release, error) {
	return one(read(ctx, s, scanRelease, releaseColumns+"WHERE app = ? AND env = ? AND number = ?",
		ae.App().String(), ae.Env().String(), n))
}

// LiveRelease returns nil, nil if nothing is live.
func (s *Store) LiveRelease(ctx context.Context, ae config.AppEnv) (*Release, error) {
	return one(read(ctx, s, scanRelease, releaseColumns+"WHERE app = ? AND env = ? AND state = ?",
		ae.App().String(), ae.Env().String(), Live))
}

// Releases lists those of ae, newest first.
func (s *Store) Releases(ctx context.Context, ae config.AppEnv) ([]Release, error) {
	return read(ctx, s, scanRelease, releaseColumns+"WHERE app = ? AND env = ? ORDER BY number DESC",
		ae.App().String(), ae.Env().String())
}

// ReleaseVars returns the vars that release n was made with; NotFound if there
// is no such release.
func (s *Store) ReleaseVars(ctx context.Context, ae config.AppEnv, n int) (map[string]config.Secret, error) {
	var sealed []byte
	err := s.ro.QueryRowContext(ctx, "SELECT vars FROM releases WHERE app = ? AND env = ? AND number = ?",
		ae.App().String(), ae.Env().String(), n).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noRelease(ae, n)
	}
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return s.unsealVars(sealed)
}

// MarkPruned notes that these releases are no longer on their target.
func (s *Store) MarkPruned(ctx context.Context, ae config.AppEnv, numbers []int) error {
	if len(numbers) == 0 {
		return nil
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, n := range numbers {
			_, err := tx.ExecContext(ctx, "UPDATE releases SET pruned = 1 WHERE app = ? AND env = ? AND number = ?",
				ae.App().String(), ae.Env().String(), n)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// AppEnvs lists every APP/ENV that has a release, sorted.
func (s *Store) AppEnvs(ctx context.Context) ([]config.AppEnv, error) {
	scan := func(scan scanner) (config.AppEnv, error) {
		var app, env string
		if err := scan(&app, &env); err != nil {
			return config.AppEnv{}, err
		}
		return config.ParseAppEnv(app + "/" + env)
	}
	return read(ctx, s, scan, "SELECT DISTINCT app, env FROM releases ORDER BY app, env")
}
