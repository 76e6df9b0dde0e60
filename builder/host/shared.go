package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"slipway/builder"
	"slipway/builder/service"
	"slipway/config"
)

// share has the services' files and what [deploy] shared names ready below
// shared, and links to the latter into the tree. What a release makes there is
// noted, so that it goes again with a release that never was live.
func (h *Host) share(p place, s builder.Stage, o owner) error {
	shared, err := os.OpenRoot(p.shared())
	if err != nil {
		return err
	}
	defer shared.Close()
	made := &seeds{root: shared, owner: o}
	err = made.services(s.Services)
	if err == nil && s.Build == s.Number {
		err = made.links(p, s)
	}
	if err == nil && s.App.DotCloud != nil {
		err = made.parents(filepath.Join(dataDir, "x"))
	}
	// Noted also where it failed: that too must go.
	return errors.Join(err, made.note(p.seeds(s.Number)))
}

// seeds are the things below shared that one release is the first to make.
type seeds struct {
	root  *os.Root
	owner owner
	paths []string
}

func (m *seeds) services(all []config.ServiceSpec) error {
	for _, spec := range all {
		if spec.Type != service.SQLite {
			continue
		}
		made, err := service.MakeSQLite(m.root, spec.Name, m.owner.UID, m.owner.GID)
		if err != nil {
			return fmt.Errorf("service %s: %w", spec.Name, err)
		}
		if made {
			m.paths = append(m.paths, service.SQLiteFile(spec.Name))
		}
	}
	return nil
}

func (m *seeds) links(p place, s builder.Stage) error {
	tree, err := os.OpenRoot(p.release(s.Number))
	if err != nil {
		return err
	}
	defer tree.Close()
	for _, path := range s.App.Deploy.Shared {
		if err := m.link(tree, path); err != nil {
			return &config.Error{Op: "share", On: path, Err: err, Hint: "correct [deploy] shared in slipway.toml"}
		}
	}
	return nil
}

// link puts a link to the shared place where the release has its own file or
// directory; the first one's own is the beginning of the shared one. A path
// that neither has is a directory, unless its name has a dot in it: then it is
// a file that the app makes through the link.
func (m *seeds) link(tree *os.Root, path string) error {
	depth := 0
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		depth++
		info, err := tree.Lstat(dir)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%s is no directory in the tree", dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	own, err := tree.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = m.root.Lstat(path)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case own != nil:
		if err := m.parents(path); err != nil {
			return err
		}
		if err := m.seed(tree, path); err != nil {
			return err
		}
	case strings.Contains(filepath.Base(path), "."):
		if err := m.parents(path); err != nil {
			return err
		}
	default:
		if err := m.parents(filepath.Join(path, "x")); err != nil {
			return err
		}
	}
	if err := tree.RemoveAll(path); err != nil {
		return err
	}
	if err := tree.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// From releases/N/PATH up to the app, and down again.
	if err := tree.Symlink(filepath.Join(strings.Repeat("../", depth+2), "shared", path), path); err != nil {
		return err
	}
	return m.give(tree, path)
}

// give gives a path of the tree to the account, with the directories above it:
// they may be new.
func (m *seeds) give(tree *os.Root, path string) error {
	if !m.owner.set() {
		return nil
	}
	for ; path != "."; path = filepath.Dir(path) {
		if err := tree.Lchown(path, m.owner.UID, m.owner.GID); err != nil {
			return err
		}
	}
	return nil
}

// parents makes the directories above a path below shared.
func (m *seeds) parents(path string) error {
	var missing []string
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		if _, err := m.root.Stat(dir); err == nil {
			break
		}
		missing = append(missing, dir)
	}
	slices.Reverse(missing)
	for _, dir := range missing {
		if err := m.root.Mkdir(dir, 0o755); err != nil {
			return err
		}
		m.paths = append(m.paths, dir)
		if m.owner.set() {
			if err := m.root.Lchown(dir, m.owner.UID, m.owner.GID); err != nil {
				return err
			}
		}
	}
	return nil
}

// seed moves what the tree has to its shared place. Both are on one file
// system; the descriptors of the two parents keep links out of it.
func (m *seeds) seed(tree *os.Root, path string) error {
	from, err := tree.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := m.root.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer to.Close()
	name := filepath.Base(path)
	if err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), name, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: path, New: "shared/" + path, Err: err}
	}
	m.paths = append(m.paths, path)
	if !m.owner.set() {
		return nil
	}
	if err := m.root.Lchown(path, m.owner.UID, m.owner.GID); err != nil {
		return err
	}
	sub, err := m.root.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil // no directory: it has nothing below it
	}
	defer sub.Close()
	return chownBelow(sub, m.owner)
}

// note writes down what was made.
func (m *seeds) note(path string) error {
	if len(m.paths) == 0 {
		return nil
	}
	text, err := json.Marshal(m.paths)
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, text, 0o600)
}

// unseed removes what a release that was never live has made below shared.
func (p place) unseed(n int) error {
	text, err := os.ReadFile(p.seeds(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var paths []string
	if err := json.Unmarshal(text, &paths); err != nil {
		return fmt.Errorf("read %s: %w", p.seeds(n), err)
	}
	shared, err := os.OpenRoot(p.shared())
	if errors.Is(err, fs.ErrNotExist) {
		return os.Remove(p.seeds(n))
	}
	if err != nil {
		return err
	}
	defer shared.Close()
	for _, path := range paths {
		if err := shared.RemoveAll(path); err != nil {
			return err
		}
		for _, tail := range service.SQLiteTails {
			if err := shared.RemoveAll(path + tail); err != nil {
				return err
			}
		}
	}
	return os.Remove(p.seeds(n))
}
