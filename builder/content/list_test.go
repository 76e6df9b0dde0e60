package content

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func file(path string) File { return File{Path: path, Exact: true, Size: 1, ID: ID{1}} }

func TestNewList(t *testing.T) {
	long := strings.Repeat("n", 255)
	for _, c := range []struct {
		name  string
		files []File
		wrong string
	}{
		{"nothing", nil, ""},
		{"in any order", []File{file("b"), file("a/b"), file("a-")}, ""},
		{"a directory with files", []File{{Path: "a", Mode: Directory}, file("a/b")}, ""},
		{"a size that is not known", []File{{Path: "a", Size: -1}}, ""},
		{"the longest name", []File{file(long)}, ""},
		{"twice", []File{file("a"), file("a")}, "twice"},
		{"no path", []File{file("")}, "not plain"},
		{"absolute", []File{file("/a")}, "not plain"},
		{"a slash at the end", []File{file("a/")}, "not plain"},
		{"two slashes", []File{file("a//b")}, "not plain"},
		{"a dot", []File{file("a/./b")}, "not plain"},
		{"up", []File{file("a/../b")}, "not plain"},
		{"only up", []File{file("..")}, "not plain"},
		{"NUL", []File{file("a\x00b")}, "NUL"},
		{"a long name", []File{file("a/" + long + "n")}, "name that is too long"},
		{"a long path", []File{file(strings.Repeat("a/", 2048) + "b")}, "too long"},
		{"a file and a directory", []File{file("a"), file("a-"), file("a/b/c")}, "directory of others"},
		{"a file and a named directory", []File{file("a"), {Path: "a/b", Mode: Directory}}, "directory of others"},
		{"an unknown mode", []File{{Path: "a", Mode: 4}}, "mode"},
		{"a size below none", []File{{Path: "a", Size: -2}}, "size"},
		{"a huge size", []File{{Path: "a", Size: maxSize + 1}}, "size"},
		{"huge sizes", []File{{Path: "a", Size: maxSize}, {Path: "b", Size: 1}}, "too many bytes"},
		{"a directory with a content", []File{{Path: "a", Mode: Directory, Size: 1}}, "directory with"},
		{"a directory with an ID", []File{{Path: "a", Mode: Directory, ID: ID{1}}}, "directory with"},
		{"a link of nothing", []File{{Path: "a", Mode: Link}}, "link"},
		{"a link of too much", []File{{Path: "a", Mode: Link, Size: 4096}}, "link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := NewList(c.files)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("%v; it should say %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := Decode(l.Encode())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(l.Files(), again.Files(), cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDirs(t *testing.T) {
	want := []string{"a.d", "bin", "deep", "deep/er", "deep/er/and", "deep/er/and/er", "skipped", "skipped/module"}
	if d := cmp.Diff(want, small(t).list.dirs); d != "" {
		t.Error(d)
	}
}

// Every encoding that is another by one byte is no list, or another one.
func TestDecodeDamaged(t *testing.T) {
	l := small(t).list
	good := l.Encode()
	for i := range good {
		if _, err := Decode(good[:i]); err == nil {
			t.Fatalf("the first %d bytes are a list", i)
		}
		bad := slices.Clone(good)
		bad[i] ^= 0x15
		if got, err := Decode(bad); err == nil && got.ID() == l.ID() {
			t.Fatalf("byte %d does not matter", i)
		}
	}
	if _, err := Decode(append(slices.Clone(good), 0)); err == nil {
		t.Error("something may follow")
	}
}

// large is as many files as a large app has.
func large(t testing.TB, n int) []File {
	t.Helper()
	files := make([]File, n)
	for i := range files {
		path := fmt.Sprintf("services/part%02d/module%03d/file%05d.py", i%7, i%613, i)
		files[i] = File{Path: path, Exact: true, Size: int64(i), ID: gitID([]byte(path))}
	}
	return files
}

func TestDiff(t *testing.T) {
	files := large(t, 6000)
	old, err := NewList(slices.Clone(files))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func([]File) []File
		most   int
	}{
		{"nothing", func(f []File) []File { return f }, 60},
		{"a line", func(f []File) []File { f[3000].ID[3]++; return f }, 100},
		{"a mode", func(f []File) []File { f[3000].Mode = Executable; return f }, 100},
		{"a file more", func(f []File) []File { return append(f, file("services/part01/new.py")) }, 120},
		{"a file less", func(f []File) []File { return f[:len(f)-1] }, 60},
		{"a first file", func(f []File) []File { return append(f, file("a")) }, 100},
		{"all gone", func([]File) []File { return nil }, 150},
		{"a hundred lines", func(f []File) []File {
			for i := 0; i < len(f); i += 60 {
				f[i].ID[0]++
			}
			return f
		}, 100 * 32},
	} {
		t.Run(c.name, func(t *testing.T) {
			new, err := NewList(c.change(slices.Clone(files)))
			if err != nil {
				t.Fatal(err)
			}
			diff, err := Diff(old, new)
			if err != nil {
				t.Fatal(err)
			}
			if len(diff) > c.most {
				t.Errorf("%d bytes; at most %d", len(diff), c.most)
			}
			got, err := old.Apply(diff)
			if err != nil {
				t.Fatal(err)
			}
			if got.ID() != new.ID() {
				t.Error("the difference leads elsewhere")
			}
			if _, err := (*List)(nil).Apply(diff); err == nil {
				t.Error("it applies to another list")
			}
		})
	}
}

func TestDiffOfNothing(t *testing.T) {
	l := small(t).list
	diff, err := Diff(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	got, err := (*List)(nil).Apply(diff)
	if err != nil || got.ID() != l.ID() {
		t.Fatal(got, err)
	}
	for i := range diff {
		if _, err := (*List)(nil).Apply(diff[:i]); err == nil {
			t.Fatalf("the first %d bytes are a difference", i)
		}
		bad := bytes.Clone(diff)
		bad[i] ^= 0x15
		if got, err := (*List)(nil).Apply(bad); err == nil && got.ID() != l.ID() {
			t.Fatalf("byte %d leads to another list", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	l := small(f).list
	f.Add(l.Encode())
	f.Add([]byte(listMagic + "\x01\x00\x01a\x03"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(l.Encode(), b) {
			t.Error("two forms of one list")
		}
		if _, err := NewList(slices.Clone(l.Files())); err != nil {
			t.Error(err)
		}
	})
}

func FuzzApply(f *testing.F) {
	old := small(f).list
	new, err := NewList(append(slices.Clone(old.files[2:]), file("zz")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(steps(old.files, new.files))
	f.Add(steps(nil, new.files))
	f.Add(steps(new.files, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, ok := apply(old.files, &reader{b: b})
		if !ok {
			return
		}
		l := &List{files: files}
		if l.check() != nil {
			return
		}
		diff, err := Diff(old, l)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := old.Apply(diff); err != nil || got.ID() != l.ID() {
			t.Error(got, err)
		}
	})
}
