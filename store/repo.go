package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"slipway/config"
	"slipway/store/disk"
	"slipway/store/git"
)

// RepoPath is the bare repository of an app: its environments are namespaces
// in it.
func (s *Store) RepoPath(app config.App) string {
	return filepath.Join(s.dir, "repos", app.String()+".git")
}

// RepoExists says whether the app has a repository.
func (s *Store) RepoExists(app config.App) (bool, error) {
	_, err := os.Stat(s.RepoPath(app))
	if missing(err) {
		return false, nil
	}
	return err == nil, err
}

// EnsureRepo makes the app's repository, whole and on disk or not at all, and
// returns its path.
func (s *Store) EnsureRepo(ctx context.Context, app config.App) (string, error) {
	s.repos.Lock()
	defer s.repos.Unlock()
	path := s.RepoPath(app)
	if ok, err := s.RepoExists(app); err != nil || ok {
		return path, err
	}
	if err := s.makeRepo(ctx, path); err != nil {
		return "", &config.Error{Op: "make the repository of", On: app.String(), Err: disk.Explain(err, s.dir)}
	}
	return path, nil
}

func (s *Store) makeRepo(ctx context.Context, path string) (err error) {
	temp, err := s.tempDir("repo-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	// The template is left out, and with it sample hooks and info/exclude.
	init := git.Cmd{Dir: temp, Args: []git.Opt{
		"init", "--bare", "--quiet", "--template=", "--object-format=sha1", "--initial-branch=main",
	}}
	if err := init.Run(ctx); err != nil {
		return err
	}
	if err := syncTree(temp); err != nil {
		return err
	}
	if err := makeDirs(s.dir, filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// RemoveRepo removes the app's repository, if it has one: at once, as others
// see it.
func (s *Store) RemoveRepo(app config.App) error {
	s.repos.Lock()
	defer s.repos.Unlock()
	path := s.RepoPath(app)
	if ok, err := s.RepoExists(app); err != nil || !ok {
		return err
	}
	away, err := s.tempDir("gone-")
	if err != nil {
		return err
	}
	err = os.Rename(path, filepath.Join(away, "repo"))
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err = errors.Join(err, os.RemoveAll(away)); err != nil {
		return fmt.Errorf("remove the repository of %s: %w", app, err)
	}
	return nil
}

// tempDir makes a directory in DIR/tmp, which is emptied at every start.
func (s *Store) tempDir(prefix string) (string, error) {
	tmp := filepath.Join(s.dir, "tmp")
	if err := makeDirs(s.dir, tmp); err != nil {
		return "", err
	}
	return os.MkdirTemp(tmp, prefix)
}

// syncTree makes a small tree durable, file by file.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncFile(path)
	})
}
