package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"

	"slipway/config"
	"slipway/store"
)

// A backup is a tar, compressed with zstd, of what DIR cannot make again: the
// database, the keys, the configuration, the app repositories, the logs. The
// releases themselves are not in it: redeploy builds them from the repositories.

func backupCommand() command {
	return command{
		name: "backup", args: "FILE", min: 1, max: 1, short: "Write a backup of DIR, while serving", who: admin, local: true, changes: true, files: true,
		long:  "Write a backup of DIR, while serving: database, keys, configuration, repositories, logs. It holds every secret.",
		names: func([]string) ([]config.AppEnv, error) { return nil, nil },
		run: func(ctx context.Context, c *call) error {
			path := c.args[0]
			c.detail = path
			if !filepath.IsAbs(path) {
				return config.Errorf(config.Usage, "backup /var/backups/slipway.tar.zst", "FILE must be an absolute path")
			}
			n, err := c.app.backup(ctx, path)
			if err != nil {
				return fmt.Errorf("back up to %s: %w", path, err)
			}
			_, err = fmt.Fprintf(c.io.Out, "%s: %d files\nto restore: slipway restore %s --home DIR, into an empty DIR; then serve, and redeploy each APP/ENV\n", path, n, path)
			return err
		},
	}
}

// backup writes the file whole or not at all, readable for us alone.
func (a *app) backup(ctx context.Context, path string) (n int, err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600), renameio.WithExistingPermissions())
	if err != nil {
		return 0, err
	}
	defer f.Cleanup() //nolint:errcheck // nothing to clean up once it is in place
	if err := f.Chmod(0o600); err != nil {
		return 0, err
	}
	z, err := zstd.NewWriter(f)
	if err != nil {
		return 0, err
	}
	b := &archive{tar: tar.NewWriter(z), dir: a.dir, skip: path}
	temp := filepath.Join(a.dir, "tmp", "backup.db")
	defer os.Remove(temp) //nolint:errcheck // tmp is emptied at the next start
	// Nothing switches while the database and the refs are read, so that they
	// agree; the objects that the refs need are there already, and stay.
	err = a.hooks.Still(func() error {
		if err := a.store.Snapshot(ctx, temp); err != nil {
			return err
		}
		return b.tree("repos", func(rel string) bool { return !strings.Contains(rel+"/", ".git/objects/") })
	})
	if err == nil {
		err = b.file(temp, store.File)
	}
	for _, name := range []string{config.ServerFile, "host_ed25519", "keys", "manifests", "logs"} {
		if err == nil {
			err = b.tree(name, func(string) bool { return true })
		}
	}
	cfg := a.config()
	for _, path := range configured(cfg) {
		if rel, e := filepath.Rel(a.dir, path); e == nil && !strings.HasPrefix(rel, "..") && !strings.HasPrefix(rel, "keys/") && err == nil {
			err = b.tree(rel, func(string) bool { return true })
		}
	}
	if err == nil {
		err = a.hooks.WithoutRepack(ctx, func() error {
			return b.tree("repos", func(rel string) bool {
				return strings.Contains(rel+"/", ".git/objects/") && !strings.Contains(rel, "/tmp_")
			})
		})
	}
	if err = errors.Join(err, b.tar.Close(), z.Close()); err != nil {
		return b.files, err
	}
	return b.files, f.CloseAtomicallyReplace()
}

// configured lists the files that server.toml names.
func configured(cfg *config.Server) []string {
	var all []string
	for _, s := range cfg.Sources {
		all = append(all, s.Identity, s.KnownHosts, s.CA)
	}
	for _, e := range cfg.Environments {
		all = append(all, e.Identity, e.KnownHosts)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
}

// archive writes parts of DIR into a tar.
type archive struct {
	tar   *tar.Writer
	dir   string
	skip  string // the backup itself, should it lie in DIR
	files int
}

// tree adds what is below a path of DIR and wanted; what vanishes meanwhile was
// temporary.
func (b *archive) tree(name string, want func(rel string) bool) error {
	return filepath.WalkDir(filepath.Join(b.dir, name), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(b.dir, path)
		if err != nil {
			return err
		}
		if e.Type().IsRegular() && path != b.skip && want(rel) && !strings.HasSuffix(rel, ".lock") {
			return b.file(path, rel)
		}
		return nil
	})
}

// file adds one file as it was when it was opened.
func (b *archive) file(path, name string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	head := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime(), Format: tar.FormatPAX}
	if err := b.tar.WriteHeader(head); err != nil {
		return err
	}
	b.files++
	_, err = io.Copy(b.tar, io.LimitReader(f, info.Size()))
	return err
}

// restoreCommand lays a backup into an empty DIR.
func restoreCommand(dir string, args []string, out io.Writer) error {
	if len(args) != 1 {
		return config.Errorf(config.Usage, "slipway restore FILE --home DIR", "restore takes one FILE")
	}
	if empty, err := isEmpty(dir); err != nil {
		return err
	} else if !empty {
		return config.Errorf(config.Usage, "give another --home, or move it away", "%s is not empty; a restore overwrites nothing", dir)
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	n, err := unpack(root, tar.NewReader(z))
	if err != nil {
		return &config.Error{Err: fmt.Errorf("restore %s: %w", args[0], err), Hint: "the file is damaged, or no backup of Slipway; empty " + dir + " before the next try"}
	}
	fmt.Fprintf(out, "%s: %d files\nnext: slipway --home %s serve, then redeploy each APP/ENV whose releases are gone\n", dir, n, dir)
	return nil
}

// unpack writes every file below root; a name that leads out is refused by it.
func unpack(root *os.Root, in *tar.Reader) (n int, err error) {
	found := false
	for {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, err
		}
		if head.Typeflag != tar.TypeReg {
			return n, fmt.Errorf("%q is no file", head.Name)
		}
		found = found || head.Name == store.File
		if err := root.MkdirAll(filepath.Dir(head.Name), 0o700); err != nil {
			return n, err
		}
		f, err := root.OpenFile(head.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(head.Mode).Perm())
		if err != nil {
			return n, err
		}
		_, err = io.Copy(f, in)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return n, err
		}
		n++
	}
	if !found {
		return n, errors.New("it has no database in it")
	}
	return n, nil
}
