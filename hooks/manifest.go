package hooks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"slipway/hooks/tree"
	"slipway/store/disk"
)

var treeID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// manifestPath is where the list of a tree's files is kept, by the tree's id,
// for the differences that people are shown.
func (s *Server) manifestPath(id string) string {
	return filepath.Join(s.dir, "manifests", id[:2], id+".zst")
}

func (s *Server) keepManifest(m *tree.Manifest) error {
	path := s.manifestPath(m.ID)
	return disk.Explain(writeManifest(path, m), path)
}

func writeManifest(path string, m *tree.Manifest) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, b, 0o600)
}

// sweepManifests removes the lists of trees that no release is made of any
// more. A tree that comes back meanwhile loses no more than a comparison.
func (s *Server) sweepManifests(ctx context.Context) error {
	paths, err := filepath.Glob(filepath.Join(s.dir, "manifests", "*", "*")) // as it was before the question
	if err != nil || len(paths) == 0 {
		return err
	}
	kept, err := s.o.Store.KeptTrees(ctx)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if !kept[strings.TrimSuffix(filepath.Base(path), ".zst")] && !s.beingMade(filepath.Base(path)) {
			if gone := os.Remove(path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
			_ = os.Remove(filepath.Dir(path)) // if it was the last there
		}
	}
	return err
}

// beingMade says whether a running deploy has written the list, whose release
// may not name its tree yet. The file's name may be a temporary one.
func (s *Server) beingMade(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.making {
		if strings.Contains(name, id) {
			return true
		}
	}
	return false
}

// holdTree notes that a deploy is about to write a tree's list.
func (s *Server) holdTree(id string) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.making[id]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.making[id]--; s.making[id] == 0 {
			delete(s.making, id)
		}
	})
}

// manifest returns a tree's list, nil if it is not kept.
func (s *Server) manifest(id string) (*tree.Manifest, error) {
	if !treeID.MatchString(id) {
		return nil, nil
	}
	b, err := os.ReadFile(s.manifestPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return tree.Decode(b)
}
