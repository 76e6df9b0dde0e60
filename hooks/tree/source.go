package tree

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"slipway/builder/content"

	"slipway/store/git"
)

// Source is a tree that was read, and the repositories to take its files from.
type Source struct {
	Manifest *Manifest
	Parts    []Part
	Before   *Manifest // of the tree that is live, nil if it is not known
	Options  Options
	Temp     string // a directory for files that are on their way
}

// Lay writes the whole tree into dir.
func (s *Source) Lay(ctx context.Context, dir string) error {
	return Write(ctx, s.Manifest, s.Parts, dir, s.Options)
}

// List is the tree as targets that are sent its contents see it.
func (s *Source) List() (*content.List, error) { return s.Manifest.contents() }

// Base is that of the tree that is live.
func (s *Source) Base() (*content.List, error) {
	if s.Before == nil {
		return nil, nil
	}
	return s.Before.contents()
}

// contents makes the list of what is to be in each file. Where a repository
// has attributes they may change what git writes, so there it is the attributes
// and the path, beside the blob, that decide.
func (m *Manifest) contents() (*content.List, error) {
	rules := m.attributes()
	files := make([]content.File, 0, len(m.Entries)+len(m.Mounts))
	for _, e := range m.Entries {
		f := content.File{Path: e.Path, ID: content.ID(e.Hash), Size: e.Size, Exact: true}
		switch e.Mode {
		case Executable:
			f.Mode = content.Executable
		case Link:
			f.Mode = content.Link
		default:
			f.Mode = content.Regular
		}
		if key, ok := rules[e.Part]; ok && e.Mode != Link {
			h := sha256.New()
			h.Write(key[:])
			h.Write(e.Hash[:])
			io.WriteString(h, e.Path)
			f.ID, f.Size, f.Exact = content.ID(h.Sum(nil)[:len(f.ID)]), -1, false
		}
		files = append(files, f)
	}
	for _, mo := range m.Mounts {
		files = append(files, content.File{Path: mo.Path, Mode: content.Directory})
	}
	return content.NewList(files)
}

// attributes names the attributes of each part that has any.
func (m *Manifest) attributes() map[int][sha256.Size]byte {
	texts := map[int][]byte{}
	for _, e := range m.Entries {
		if isAttributes(e.Path) {
			texts[e.Part] = fmt.Appendf(texts[e.Part], "%s %s\x00", e.Hash, e.Path)
		}
	}
	rules := make(map[int][sha256.Size]byte, len(texts))
	for part, text := range texts {
		rules[part] = sha256.Sum256(text)
	}
	return rules
}

// Contents reads files out of the repositories. Those that attributes may
// change are written by git below Temp first.
func (s *Source) Contents(ctx context.Context, which []int, got func(i int, size int64, r io.Reader) error) error {
	l, err := s.List()
	if err != nil {
		return err
	}
	files := l.Files()
	places := make(map[string]int, len(which))
	for _, i := range which {
		if i < 0 || i >= len(files) {
			return fmt.Errorf("the tree has no file %d", i)
		}
		places[files[i].Path] = i
	}
	blobs, written := make([][]int, len(s.Parts)), make([][]int, len(s.Parts))
	for k, e := range s.Manifest.Entries {
		i, wanted := places[e.Path]
		switch {
		case !wanted:
		case e.Part < 0 || e.Part >= len(s.Parts):
			return fmt.Errorf("%s is of part %d of %d", show(e.Path), e.Part, len(s.Parts))
		case files[i].Exact:
			blobs[e.Part] = append(blobs[e.Part], k)
		default:
			written[e.Part] = append(written[e.Part], k)
		}
	}
	for n, part := range s.Parts {
		at := func(k int) int { return places[s.Manifest.Entries[k].Path] }
		if err := s.blobs(ctx, part, blobs[n], at, got); err != nil {
			return fmt.Errorf("read %s: %w", describe(part), err)
		}
		if err := s.written(ctx, part, written[n], at, got); err != nil {
			return fmt.Errorf("read %s: %w", describe(part), err)
		}
	}
	return nil
}

// blobs reads objects as they are.
func (s *Source) blobs(ctx context.Context, part Part, entries []int, at func(int) int, got func(int, int64, io.Reader) error) error {
	if len(entries) == 0 {
		return nil
	}
	o := git.OpenObjects(ctx, part.Dir, part.Env)
	defer o.Close()
	hashes := make([]Hash, len(entries))
	for n, k := range entries {
		hashes[n] = s.Manifest.Entries[k].Hash
	}
	return o.Stream(hashes, func(n int, ob git.Object, r io.Reader) error {
		if ob.Type != "blob" {
			return &git.ObjectError{Hash: hashes[n], Text: "is a " + ob.Type + ", not a blob"}
		}
		return got(at(entries[n]), ob.Size, r)
	})
}

// written has git write files, attributes and all, and reads them.
func (s *Source) written(ctx context.Context, part Part, entries []int, at func(int) int, got func(int, int64, io.Reader) error) (err error) {
	if len(entries) == 0 {
		return nil
	}
	temp, err := os.MkdirTemp(s.Temp, "contents-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	files := filepath.Join(temp, "files")
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	below := ""
	if part.Path != "" {
		below = part.Path + "/"
	}
	names := make([]string, len(entries))
	for n, k := range entries {
		names[n] = strings.TrimPrefix(s.Manifest.Entries[k].Path, below)
	}
	err = checkoutPart(ctx, part, files, filepath.Join(temp, "index"), names, Options{Workers: s.Options.Workers})
	if err != nil {
		return explainWrite(s.Manifest, temp, err)
	}
	root, err := os.OpenRoot(files)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, k := range entries {
		f, err := root.Open(strings.TrimPrefix(s.Manifest.Entries[k].Path, below))
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			err = got(at(k), info.Size(), f)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
