package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// shapes are trees that differ in all ways that matter to Update.
func shapes(t *testing.T) [][]Part {
	t.Helper()
	r := newRepo(t)
	x, y, text := r.blob("x"), r.blob("y"), r.blob("one\ntwo\n")
	crlf, plain := r.blob("*.txt eol=crlf\n"), r.blob("*.txt text\n")
	run := func(name string, h Hash) item { return item{"100755", name, h} }
	lib := r.tree(file("f", x), file("n.txt", text))
	libMore := r.tree(file("f", y), file("g", x), file("n.txt", text))
	libAttrs := r.sorted(file(".gitattributes", crlf), file("f", x), file("n.txt", text))
	pin := func(tree Hash) (item, Part) {
		p := r.part("lib", tree)
		return sub("lib", mustHash(t, p.Commit)), p
	}
	one := func(items ...item) []Part { return []Part{r.part("", r.sorted(items...))} }
	with := func(tree Hash, items ...item) []Part {
		link, part := pin(tree)
		return append(one(append(items, link)...), part)
	}
	return [][]Part{
		one(file("a", x), dir("d", r.tree(file("a", x), dir("e", r.tree(file("a.txt", text)))))),
		one(file("a", y), dir("d", r.tree(file("a", x), dir("e", r.tree(file("a.txt", text)))))),
		one(run("a", x), file("d", x), link("l", r.blob("d"))),
		one(dir("a", r.tree(file("d", x))), link("d", r.blob("a")), file("l", x)),
		one(file(".gitattributes", crlf), dir("d", r.tree(file("a", x), dir("e", r.tree(file("a.txt", text)))))),
		one(file(".gitattributes", plain), dir("d", r.tree(file("a", x), dir("e", r.tree(file("a.txt", text)))))),
		one(dir("d", r.sorted(file(".gitattributes", crlf), file("a", x), dir("e", r.tree(file("a.txt", text)))))),
		with(lib, file("a", x)),
		with(libMore, file("a", x)),
		with(libAttrs, file("a", x)),
		with(lib, file("a", x), file(".gitattributes", crlf)),
		one(file("a", x), file(".gitattributes", crlf), dir("lib", lib)), // the same files, the app's own
		with(r.tree(), file("a", x)),
		one(),
	}
}

// recorded writes parts and makes the record as it is read from disk later.
func recorded(t *testing.T, parts []Part) (string, *Record) {
	t.Helper()
	to, m := writeOut(t, parts)
	r, err := Survey(t.Context(), "test", m, parts, to, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if r, err = DecodeRecord(b); err != nil {
		t.Fatal(err)
	}
	return to, r
}

func update(t *testing.T, r *Record, parts []Part, to string) error {
	t.Helper()
	m, err := Read(t.Context(), parts, nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return Update(t.Context(), r, "test", m, parts, to, Options{})
}

// TestUpdate turns every tree into every other: nothing tells the result from
// a tree that was written anew.
func TestUpdate(t *testing.T) {
	t.Parallel()
	all := shapes(t)
	want := make([]map[string]string, len(all))
	for i, parts := range all {
		to, _ := writeOut(t, parts)
		want[i] = snapshot(t, to)
	}
	for i := range all {
		for j := range all {
			t.Run(fmt.Sprintf("%d-%d", i, j), func(t *testing.T) {
				t.Parallel()
				to, r := recorded(t, all[i])
				if err := update(t, r, all[j], to); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want[j], snapshot(t, to)); diff != "" {
					t.Errorf("anew and updated differ (-anew +updated):\n%s", diff)
				}
			})
		}
	}
}

// TestUpdateKeeps leaves a file alone that has not changed.
func TestUpdateKeeps(t *testing.T) {
	t.Parallel()
	all := shapes(t)
	to, r := recorded(t, all[0])
	inode := func() uint64 {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(to, "d/e/a.txt"), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	before := inode()
	if err := update(t, r, all[1], to); err != nil {
		t.Fatal(err)
	}
	if inode() != before {
		t.Error("a file that has not changed was written again")
	}
}

// TestUpdateProves refuses a tree in which anything has been touched, whatever
// was done to hide it.
func TestUpdateProves(t *testing.T) {
	t.Parallel()
	all := shapes(t)
	for name, touch := range map[string]func(dir string) error{
		"content, with size and time put back": func(dir string) error {
			path := filepath.Join(dir, "d/e/a.txt")
			info, err := os.Stat(path)
			return errors.Join(err, os.WriteFile(path, []byte("one\nTWO\n"), 0o644), os.Chtimes(path, info.ModTime(), info.ModTime()))
		},
		"mode, and back": func(dir string) error {
			path := filepath.Join(dir, "d/a")
			return errors.Join(os.Chmod(path, 0o600), os.Chmod(path, 0o644))
		},
		"a file more": func(dir string) error { return os.WriteFile(filepath.Join(dir, "d/e/b"), nil, 0o600) },
		"a file more at the top": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "b"), nil, 0o600)
		},
		"a file less": func(dir string) error { return os.Remove(filepath.Join(dir, "d/a")) },
		"a file made anew": func(dir string) error {
			path := filepath.Join(dir, "d/a")
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("x"), 0o644))
		},
		"a directory that is a link": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "d/e"), dir+".e"), os.Symlink(dir+".e", filepath.Join(dir, "d/e")))
		},
		"the whole of it": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.CopyFS(dir, os.DirFS(dir+".old")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to, r := recorded(t, all[0])
			settle(t, to)
			if err := touch(to); err != nil {
				t.Fatal(err)
			}
			if err := update(t, r, all[1], to); !errors.Is(err, ErrAltered) {
				t.Errorf("got %v", err)
			}
		})
	}
	to, r := recorded(t, all[0])
	m, err := Read(t.Context(), all[1], nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Update(t.Context(), r, "another", m, all[1], to, Options{}); !errors.Is(err, ErrAltered) {
		t.Errorf("by another version: %v", err)
	}
	if err := Update(t.Context(), r, "test", m, all[1], to, Options{Owner: &Owner{1, 1}}); !errors.Is(err, ErrAltered) {
		t.Errorf("for another account: %v", err)
	}
}

// settle waits until what is changed now gets another time than what was
// written before: file systems take the time of the last tick.
func settle(t *testing.T, dir string) {
	t.Helper()
	f, err := os.CreateTemp(filepath.Dir(dir), "clock")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var st unix.Stat_t
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for first := int64(0); ctx.Err() == nil; {
		if err := errors.Join(unix.Fchmod(int(f.Fd()), 0o600), unix.Fstat(int(f.Fd()), &st)); err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			first = st.Ctim.Nano()
		}
		if st.Ctim.Nano() != first {
			return
		}
	}
	t.Fatal("the clock of files stands still")
}

// TestUpdateOwner gives what is new to the account.
func TestUpdateOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	all := shapes(t)
	o := Options{Owner: &Owner{70_001, 70_001}}
	m, err := Read(t.Context(), all[0], nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := Write(t.Context(), m, all[0], to, o); err != nil {
		t.Fatal(err)
	}
	r, err := Survey(t.Context(), "test", m, all[0], to, o)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = Read(t.Context(), all[8], nil, Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := Update(t.Context(), r, "test", m, all[8], to, o); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(to, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err = errors.Join(err, unix.Lstat(path, &st)); err == nil && path != to && st.Uid != 70_001 {
			t.Errorf("%s belongs to %d", path, st.Uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	_, r := recorded(t, shapes(t)[8])
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		broken := append([]byte(nil), b...)
		broken[i] ^= 0x55
		if got, err := DecodeRecord(broken); err == nil && !cmp.Equal(got, r, cmp.AllowUnexported(Record{}, stamp{})) {
			t.Fatalf("byte %d changed, and it reads as another", i)
		}
	}
	if _, err := DecodeRecord([]byte(strings.TrimSuffix(recordMagic, "1\n"))); err == nil {
		t.Error("a record of no form was read")
	}
}
