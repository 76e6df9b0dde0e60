package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"slipway/config"
	"slipway/store/disk"
)

func (s *Store) logPath(ae config.AppEnv, n int) string {
	return filepath.Join(s.dir, "logs", ae.App().String(), ae.Env().String(), strconv.Itoa(n)+".log")
}

// CreateLog opens the log of release n for writing; the caller closes it, which
// makes it durable.
func (s *Store) CreateLog(ae config.AppEnv, n int) (io.WriteCloser, error) {
	path := s.logPath(ae, n)
	if err := makeDirs(s.dir, filepath.Dir(path)); err != nil {
		return nil, disk.Explain(fmt.Errorf("make the build log: %w", err), s.dir)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, disk.Explain(fmt.Errorf("make the build log: %w", err), s.dir)
	}
	return &durable{f}, nil
}

// OpenLog opens the log of release n for reading; NotFound if there is none.
func (s *Store) OpenLog(ae config.AppEnv, n int) (io.ReadCloser, error) {
	f, err := os.Open(s.logPath(ae, n))
	if missing(err) {
		return nil, config.Errorf(config.NotFound, "releases "+ae.String(), "%s has no log of release %d", ae, n)
	}
	if err != nil {
		return nil, fmt.Errorf("open the build log: %w", err)
	}
	return f, nil
}

// RemoveLogs removes every build log of an app.
func (s *Store) RemoveLogs(app config.App) error {
	logs := filepath.Join(s.dir, "logs")
	if err := os.RemoveAll(filepath.Join(logs, app.String())); err != nil {
		return fmt.Errorf("remove the build logs: %w", err)
	}
	if err := syncDir(logs); err != nil && !missing(err) {
		return err
	}
	return nil
}

// durable syncs a file and its entry in the directory before it closes it.
type durable struct{ f *os.File }

func (d *durable) Write(b []byte) (int, error) {
	n, err := d.f.Write(b)
	return n, disk.Explain(err, d.f.Name())
}

func (d *durable) Close() error {
	return disk.Explain(errors.Join(d.f.Sync(), d.f.Close(), syncDir(filepath.Dir(d.f.Name()))), d.f.Name())
}

// makeDirs makes the directories from root down to path that are missing, for
// this account alone, and makes their entries durable.
func makeDirs(root, path string) error {
	err := os.Mkdir(path, 0o700)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil
	case missing(err) && path != root:
		if err := makeDirs(root, filepath.Dir(path)); err != nil {
			return err
		}
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	case err != nil:
		return err
	}
	return syncDir(filepath.Dir(path))
}
