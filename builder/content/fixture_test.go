package content

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixture is a tree in memory: a list, and what is in it.
type fixture struct {
	list  *List
	bytes map[key][]byte
}

func gitID(b []byte) ID {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", len(b))
	h.Write(b)
	return ID(h.Sum(nil))
}

// makeFixture makes a tree of "path": content. A path that ends with * is
// executable, with @ a link, with / a directory, with ? of a chosen name and an
// unknown size.
func makeFixture(t testing.TB, tree map[string]string) fixture {
	t.Helper()
	fx := fixture{bytes: map[key][]byte{}}
	var files []File
	for path, content := range tree {
		f := File{Path: strings.TrimRight(path, "*@?/"), Exact: true, Size: int64(len(content)), ID: gitID([]byte(content))}
		switch path[len(f.Path):] {
		case "*":
			f.Mode = Executable
		case "@":
			f.Mode = Link
		case "/":
			f = File{Path: f.Path, Mode: Directory}
		case "?":
			sum := sha256.Sum256([]byte("chosen " + content))
			f.Exact, f.Size, f.ID = false, -1, ID(sum[:20])
		}
		if f.Mode != Directory {
			fx.bytes[f.key()] = []byte(content)
		}
		files = append(files, f)
	}
	l, err := NewList(files)
	if err != nil {
		t.Fatal(err)
	}
	fx.list = l
	return fx
}

// noise is the same for the same seed, and does not compress.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = r.Read(b) // it has no error
	return string(b)
}

func small(t testing.TB) fixture {
	return makeFixture(t, map[string]string{
		"README":             "read me\n",
		"empty":              "",
		"bin/run*":           "#!/bin/sh\n",
		"bin/same":           "#!/bin/sh\n",
		"bin/up@":            "../README",
		"deep/er/and/er/one": noise(1, 700),
		"deep/er/two?":       "with attributes\r\n",
		"skipped/module/":    "",
		"a":                  "x",
		"a-b":                "y",
		"a.d/b":              "z",
		"weird \x01\xff\n'":  "name",
	})
}

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func newStore(t testing.TB) *Store { return openStore(t, filepath.Join(t.TempDir(), "store")) }

// memoryDir is a directory where a sync costs nothing, if there is one: for
// tests that make hundreds of stores.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "slipway-content-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// stream is what a sender says to want.
func (fx fixture) stream(t testing.TB, want []Want) []byte {
	t.Helper()
	var b bytes.Buffer
	s, err := NewSender(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		f := fx.list.Files()[w.Index]
		content := fx.bytes[f.key()]
		if err := s.Send(f, w.Offset, int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const noLimit = 1 << 40

// fill has the store receive what it lacks of the fixture.
func fill(t testing.TB, s *Store, fx fixture) Received {
	t.Helper()
	want := missing(t, s, fx.list)
	got, err := s.Receive(context.Background(), bytes.NewReader(fx.stream(t, want)), fx.list, want, noLimit)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func missing(t testing.TB, s *Store, l *List) []Want {
	t.Helper()
	want, err := s.Missing(l)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// lay lays the fixture out and compares it.
func lay(t testing.TB, s *Store, fx fixture) string {
	t.Helper()
	dir := t.TempDir()
	if err := s.Lay(context.Background(), fx.list, dir, 2); err != nil {
		t.Fatal(err)
	}
	fx.compare(t, dir)
	return dir
}

// compare fails unless the fixture is all that there is below dir.
func (fx fixture) compare(t testing.TB, dir string) {
	t.Helper()
	want := map[string]string{}
	for _, d := range fx.list.dirs {
		want[d] = "drwxr-xr-x"
	}
	for _, f := range fx.list.Files() {
		content := fx.bytes[f.key()]
		switch f.Mode {
		case Regular:
			want[f.Path] = "-rw-r--r-- " + string(content)
		case Executable:
			want[f.Path] = "-rwxr-xr-x " + string(content)
		case Link:
			want[f.Path] = "Lrwxrwxrwx " + string(content)
		}
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		got := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			got += " " + string(b)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			got += " " + to
		}
		rel := path[len(dir)+1:]
		if want[rel] != got {
			t.Errorf("%q is %.80q, not %.80q", rel, got, want[rel])
		}
		delete(want, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range want {
		t.Errorf("%q is not there", path)
	}
}

// cutReader fails where the wire is cut.
type cutReader struct {
	r io.Reader
}

var errCut = errors.New("the wire was cut")

func (c cutReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err == io.EOF {
		err = errCut
	}
	return n, err
}
