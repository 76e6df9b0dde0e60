package hooks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

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
