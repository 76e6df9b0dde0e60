package store

import (
	"context"
	"database/sql"
	"time"

	"slipway/config"
)

// AppRow is one app.
type AppRow struct {
	App      config.App
	Upstream string // "" if none was given by push option
	Created  time.Time
}

func scanApp(scan scanner) (a AppRow, err error) {
	var name, created string
	if err := scan(&name, &a.Upstream, &created); err != nil {
		return a, err
	}
	if a.App, err = config.ParseApp(name); err != nil {
		return a, err
	}
	a.Created, err = parseStamp(created)
	return a, err
}

// CreateApp makes an app; one that is there stays as it is.
func (s *Store) CreateApp(ctx context.Context, app config.App) error {
	_, err := s.exec(ctx, "INSERT INTO apps VALUES (?, '', ?) ON CONFLICT DO NOTHING", app.String(), stamp(s.now()))
	return err
}

// App returns nil, nil if there is no such app.
func (s *Store) App(ctx context.Context, app config.App) (*AppRow, error) {
	return one(read(ctx, s, scanApp, "SELECT app, upstream, created FROM apps WHERE app = ?", app.String()))
}

// Apps lists every app by name.
func (s *Store) Apps(ctx context.Context) ([]AppRow, error) {
	return read(ctx, s, scanApp, "SELECT app, upstream, created FROM apps ORDER BY app")
}

// SetUpstream keeps the base of an app's relative submodule URLs; NotFound if
// there is no such app.
func (s *Store) SetUpstream(ctx context.Context, app config.App, url string) error {
	n, err := s.exec(ctx, "UPDATE apps SET upstream = ? WHERE app = ?", url, app.String())
	if err == nil && n == 0 {
		err = config.Errorf(config.NotFound, "app list", "there is no app %s", app)
	}
	return err
}

// DestroyApp removes every row of an app but those of the audit log, its uids,
// which files of it may still bear, and its numbers: a target that could not be
// reached may still hold its releases and its greatest generation.
func (s *Store) DestroyApp(ctx context.Context, app config.App) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, table := range []string{"apps", "vars", "releases", "journal", "locks", "services"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE app = ?", app.String()); err != nil {
				return err
			}
		}
		return nil
	})
}
