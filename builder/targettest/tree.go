// Package targettest is what every target has to do alike, as tests, and a tree
// to do it with.
package targettest

import (
	"context"
	"crypto/sha1"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway/builder/content"
)

// Tree is a tree in memory: texts by path, as executable files.
type Tree struct {
	Files  map[string]string
	Before *Tree // that is live, nil if that is not known

	// Each is called with every content that is asked for; nil is not.
	Each func(path string)
}

// Lay writes the tree.
func (t *Tree) Lay(_ context.Context, dir string) error {
	for _, name := range slices.Sorted(maps.Keys(t.Files)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(t.Files[name]), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && path != dir {
			err = os.Chmod(path, 0o755)
		}
		return err
	})
}

// List is what is in the tree.
func (t *Tree) List() (*content.List, error) {
	var files []content.File
	for name, text := range t.Files {
		id := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text))
		files = append(files, content.File{
			Path: name, Mode: content.Executable, Exact: true, ID: content.ID(id), Size: int64(len(text)),
		})
	}
	return content.NewList(files)
}

// Base is what is in the tree that is live.
func (t *Tree) Base() (*content.List, error) {
	if t.Before == nil {
		return nil, nil
	}
	return t.Before.List()
}

// Contents gives files, in the order of which.
func (t *Tree) Contents(_ context.Context, which []int, got func(i int, size int64, r io.Reader) error) error {
	l, err := t.List()
	if err != nil {
		return err
	}
	for _, i := range which {
		path := l.Files()[i].Path
		if t.Each != nil {
			t.Each(path)
		}
		text := t.Files[path]
		if err := got(i, int64(len(text)), strings.NewReader(text)); err != nil {
			return err
		}
	}
	return nil
}
