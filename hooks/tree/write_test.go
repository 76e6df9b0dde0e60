package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/store"
)

// snapshot lists everything below root: type, mode and content, but for git's
// own files and the root's mode.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		if d.Name() == ".git" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += " " + target
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %q", b)
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all[rel] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// work is a repository with a work tree that a user commits in.
type work struct {
	t   *testing.T
	dir string
}

func newWork(t *testing.T) work {
	w := work{t, filepath.Join(t.TempDir(), "work")}
	runGit(t, "", nil, "init", "--quiet", w.dir)
	return w
}

func (w work) write(path, content string, mode fs.FileMode) {
	w.t.Helper()
	path = filepath.Join(w.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		w.t.Fatal(err)
	}
}

func (w work) symlink(target, path string) {
	w.t.Helper()
	if err := os.Symlink(target, filepath.Join(w.dir, path)); err != nil {
		w.t.Fatal(err)
	}
}

func (w work) commit() store.OID {
	w.t.Helper()
	runGit(w.t, w.dir, nil, "add", "--all")
	runGit(w.t, w.dir, nil, "commit", "--quiet", "--allow-empty", "-m", "x")
	return store.OID(runGit(w.t, w.dir, nil, "rev-parse", "HEAD"))
}

func (w work) part(path string) Part {
	w.t.Helper()
	return Part{Path: path, Dir: filepath.Join(w.dir, ".git"), Commit: store.OID(runGit(w.t, w.dir, nil, "rev-parse", "HEAD"))}
}

func (w work) submodule(of work, path string) {
	w.t.Helper()
	runGit(w.t, w.dir, nil, "submodule", "add", "--quiet", of.dir, path)
}

// fill gives a repository all that attributes and names can do. Each has other
// attributes, so that one which reached into another would show.
func (w work) fill(eol string) {
	w.write(".gitattributes", strings.Join([]string{
		"*.txt text eol=" + eol, "*.auto text=auto", "*.id ident", "*.u16 text working-tree-encoding=UTF-16",
		"*.le text working-tree-encoding=UTF-16LE eol=crlf", "*.f filter=x", "no export-ignore", "*.bin binary",
	}, "\n")+"\n", 0o644)
	w.write("below/.gitattributes", "*.txt -text\nc.txt text eol=crlf\n", 0o644)
	for _, dir := range []string{"", "below/", "above/deep/"} {
		w.write(dir+"a.txt", "one\ntwo\n", 0o644)
		w.write(dir+"c.txt", "one\ntwo\n", 0o644)
		w.write(dir+"a.auto", "one\ntwo\n", 0o644)
		w.write(dir+"a.id", "$Id$\n", 0o644)
		w.write(dir+"a.u16", "\xfe\xff\x00h\x00\xe9\x00\n", 0o644)
		w.write(dir+"a.le", "h\x00\xe9\x00\r\x00\n\x00", 0o644)
		w.write(dir+"a.f", "plain\n", 0o644)
		w.write(dir+"no", "exported\n", 0o644)
		w.write(dir+"a.bin", "\x00\r\n\xff", 0o644)
		w.write(dir+"run", "#!/bin/sh\n", 0o755)
		w.write(dir+"group", "x", 0o664)
		w.write(dir+"empty", "", 0o644)
	}
	for _, name := range []string{"-rf", "--help", "*", "a b", "\u00e9", "e\u0301", "A", "a", "x\xff", "a:b", "NUL", "a.", "a ", "'q'", `"q"`, "$HOME", "#"} {
		w.write("odd/"+name, name, 0o644)
	}
	w.symlink("a.txt", "link")
	w.symlink("/etc/passwd", "absolute")
	w.symlink("../../out", "above/out")
	w.symlink("nowhere", "dangling")
	w.symlink("below", "to-dir")
	w.symlink(".", "dot")
	w.write("bare/HEAD", "ref: refs/heads/main\n", 0o644)
	w.write("bare/config", "[core]\n\tfsmonitor = touch /nonexistent/x\n", 0o644)
	w.write("bare/objects/x", "x", 0o644)
	w.write("bare/refs/x", "x", 0o644)
}

// TestEqualsClone compares what Write lays out with a recursive clone, through
// three levels of submodules, byte by byte.
func TestEqualsClone(t *testing.T) {
	t.Parallel()
	deep, mid, left, app := newWork(t), newWork(t), newWork(t), newWork(t)
	deep.fill("crlf")
	deep.commit()
	mid.fill("lf")
	mid.submodule(deep, "vendor/deep")
	mid.commit()
	left.write(".gitattributes", "* text eol=crlf\n", 0o644)
	left.write("f", "one\ntwo\n", 0o644)
	left.commit()
	app.fill("lf")
	app.submodule(mid, "vendor/mid")
	app.submodule(left, "with space/\u00e9")
	app.submodule(left, "vendor.d")
	app.commit()

	clone := filepath.Join(t.TempDir(), "clone")
	runGit(t, "", nil, "clone", "--quiet", "--recurse-submodules", app.dir, clone)
	parts := []Part{app.part(""), mid.part("vendor/mid"), left.part("with space/\u00e9"), left.part("vendor.d"), deep.part("vendor/mid/vendor/deep")}
	got, m := writeOut(t, parts)
	want := snapshot(t, clone)
	if diff := cmp.Diff(want, snapshot(t, got)); diff != "" {
		t.Errorf("clone and tree differ (-clone +tree):\n%s", diff)
	}
	files := 0
	for _, what := range want {
		if what[0] != 'd' {
			files++
		}
	}
	if m.Files != files || len(m.Mounts) != 4 {
		t.Errorf("%d files and %d mounts, want %d and 4", m.Files, len(m.Mounts), files)
	}
	again, err := Read(t.Context(), parts, nil, Limits{})
	if err != nil || again.ID != m.ID {
		t.Errorf("read again: id %s, %v, want %s", again.ID, err, m.ID)
	}
}

// TestSkipped leaves the directory of a skipped submodule empty, as a clone
// leaves one that is not initialised.
func TestSkipped(t *testing.T) {
	t.Parallel()
	lib, app := newWork(t), newWork(t)
	lib.write("f", "x", 0o644)
	lib.commit()
	app.submodule(lib, "vendor/lib")
	app.submodule(lib, "lib")
	app.commit()
	clone := filepath.Join(t.TempDir(), "clone")
	runGit(t, "", nil, "clone", "--quiet", app.dir, clone)
	runGit(t, clone, nil, "submodule", "--quiet", "update", "--init", "lib")
	got, m := writeOut(t, []Part{app.part(""), lib.part("lib")}, "vendor/lib", "not/there")
	if diff := cmp.Diff(snapshot(t, clone), snapshot(t, got)); diff != "" {
		t.Errorf("clone and tree differ (-clone +tree):\n%s", diff)
	}
	whole, err := Read(t.Context(), []Part{app.part(""), lib.part("lib"), lib.part("vendor/lib")}, nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if whole.ID == m.ID {
		t.Error("a tree with and without a submodule have one id")
	}
}

// TestMounts refuses parts that are not where, or what, the gitlinks are.
func TestMounts(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	x := r.blob("x")
	lib := r.part("lib", r.tree(file("f", x)))
	other := r.part("lib", r.tree(file("g", x)))
	at := func(path string) Part { p := lib; p.Path = path; return p }
	pin := mustHash(t, lib.Commit)
	app := r.part("", r.sorted(sub("lib", pin), link("l", r.blob("d")), dir("d", r.tree(file("f", x)))))
	if err := readErr(t.Context(), Limits{}, app, lib); err != nil {
		t.Fatal(err)
	}
	check(t, readErr(t.Context(), Limits{}, app), "lib: a submodule that is not in the plan")
	check(t, readErr(t.Context(), Limits{}, app, other), "pinned to "+string(lib.Commit))
	for _, path := range []string{"d", "l", "l/x", "d/f", "lib/x", "none", "../lib", "lib/", "./lib"} {
		check(t, readErr(t.Context(), Limits{}, app, lib, at(path)), "no submodule there")
	}
	if err := readErr(t.Context(), Limits{}, app, lib, lib); err == nil {
		t.Error("the same part twice was taken")
	}
	if err := readErr(t.Context(), Limits{}, at("lib")); err == nil {
		t.Error("a tree without an app was taken")
	}
	bad := r.part("lib", r.tree(file(".git", x)))
	app = r.part("", r.tree(sub("lib", mustHash(t, bad.Commit))))
	check(t, readErr(t.Context(), Limits{}, app, bad), ".git (in submodule lib)")
}

// TestEmptySubmodule fills a directory with nothing.
func TestEmptySubmodule(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	empty := r.part("a/b", r.tree())
	app := r.part("", r.tree(dir("a", r.tree(sub("b", mustHash(t, empty.Commit))))))
	got, _ := writeOut(t, []Part{app, empty})
	want := map[string]string{"a": "drwxr-xr-x", "a/b": "drwxr-xr-x"}
	if diff := cmp.Diff(want, snapshot(t, got)); diff != "" {
		t.Error(diff)
	}
}

// TestUmask wants the process to keep its umask.
func TestUmask(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	to, _ := writeOut(t, []Part{r.part("", r.tree(file("f", r.blob("x"))))})
	mine := filepath.Join(to, "mine")
	if err := os.WriteFile(mine, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(mine)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("a file of this process has mode %v", info.Mode())
	}
}

// TestQuarantine reads and writes objects that are in a push's quarantine.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	main, pushed := newRepo(t), newRepo(t)
	part := pushed.part("", pushed.tree(file("f", pushed.blob("x"))))
	part.Dir = main.dir
	if err := readErr(t.Context(), Limits{}, part); err == nil {
		t.Fatal("read without the quarantine")
	}
	part.Env = map[string]string{
		"GIT_OBJECT_DIRECTORY":             filepath.Join(pushed.dir, "objects"),
		"GIT_ALTERNATE_OBJECT_DIRECTORIES": filepath.Join(main.dir, "objects"),
	}
	got, _ := writeOut(t, []Part{part})
	if diff := cmp.Diff(map[string]string{"f": `-rw-r--r-- "x"`}, snapshot(t, got)); diff != "" {
		t.Error(diff)
	}
}

// TestReplace reads what was pushed, not what a replacement shows.
func TestReplace(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	a, b := r.blob("pushed"), r.blob("another")
	runGit(t, r.dir, nil, "update-ref", "refs/replace/"+a.String(), b.String())
	got, _ := writeOut(t, []Part{r.part("", r.tree(file("f", a)))})
	if diff := cmp.Diff(map[string]string{"f": `-rw-r--r-- "pushed"`}, snapshot(t, got)); diff != "" {
		t.Error(diff)
	}
}

// TestWriteFails removes an object between reading and writing.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	x := r.blob("x")
	parts := []Part{r.part("", r.tree(file("a", r.blob("y")), file("f", x)))}
	m, err := Read(t.Context(), parts, nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.dir, "objects", x.String()[:2], x.String()[2:])); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := Write(t.Context(), m, parts, to, Options{}); err == nil {
		t.Error("wrote a file whose object is gone")
	}
	if _, err := os.Lstat(filepath.Join(to, reserved)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the indexes are still there: %v", err)
	}
}
