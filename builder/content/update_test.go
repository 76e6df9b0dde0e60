package content

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func laid(t *testing.T, s *Store, fx fixture) (dir string, stamp time.Time) {
	t.Helper()
	dir = lay(t, s, fx)
	stamp, err := Stamp(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, stamp
}

func TestUpdate(t *testing.T) {
	base := map[string]string{
		"a": "1", "b/c": "2", "b/d": "3", "e/f/g/h": "4", "i*": "5", "j": "6", "k@": "a", "l/": "", "m?": "7", "n/o": "8",
	}
	with := func(more map[string]string, less ...string) map[string]string {
		tree := maps.Clone(base)
		maps.Copy(tree, more)
		for _, path := range less {
			delete(tree, path)
		}
		return tree
	}
	for _, c := range []struct {
		name string
		to   map[string]string
	}{
		{"nothing", base},
		{"a content", with(map[string]string{"b/c": "other"})},
		{"modes", with(map[string]string{"i": "5", "j*": "6"}, "i*", "j")},
		{"a mode and a content", with(map[string]string{"i": "other"}, "i*")},
		{"a file less", with(nil, "b/c")},
		{"directories less", with(nil, "e/f/g/h", "l/")},
		{"directories more", with(map[string]string{"p/q/r": "9", "s/t/": ""})},
		{"a file becomes a directory", with(map[string]string{"a/x/y": "9", "j/": ""}, "a", "j")},
		{"a directory becomes a file", with(map[string]string{"e": "9", "l": "10"}, "e/f/g/h", "l/")},
		{"a directory becomes a link", with(map[string]string{"n@": "b"}, "n/o")},
		{"a link becomes a directory", with(map[string]string{"k/z": "9"}, "k@")},
		{"a link elsewhere", with(map[string]string{"k@": "b"})},
		{"a named directory stays", with(map[string]string{"b/": ""}, "b/c", "b/d")},
		{"all anew", map[string]string{"z/z": "z"}},
		{"nothing left", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t, filepath.Join(memoryDir(t), "store"))
			from, to := makeFixture(t, base), makeFixture(t, c.to)
			fill(t, s, from)
			if len(c.to) > 0 {
				fill(t, s, to)
			}
			dir, stamp := laid(t, s, from)
			if err := s.Update(context.Background(), from.list, to.list, dir, stamp, 2); err != nil {
				t.Fatal(err)
			}
			to.compare(t, dir)
			stamp, err := Stamp(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Update(context.Background(), to.list, from.list, dir, stamp, 2); err != nil {
				t.Fatal(err)
			}
			from.compare(t, dir)
		})
	}
}

// Whatever was done to the tree since it was laid shows, before anything is
// changed.
func TestUpdateSurprises(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name  string
		do    func(dir string) error
		wrong string
	}{
		// It is the directory's time that tells, or its list: whichever is looked at first.
		{"a file more", func(dir string) error { return os.WriteFile(dir+"/deep/new", nil, 0o644) }, "somebody else"},
		{"a file less", func(dir string) error { return os.Remove(dir + "/deep/er/two") }, "time"},
		{"a file more in the root", func(dir string) error { return os.WriteFile(dir+"/new", nil, 0o644) }, "was changed"},
		{"written to", func(dir string) error { return os.WriteFile(dir+"/bin/run", []byte("#!/bin/ed\n"), 0o755) }, "time"},
		{"written to, with its old time", func(dir string) error {
			if err := os.WriteFile(dir+"/bin/run", []byte("#!/bin/ed\n"), 0o755); err != nil {
				return err
			}
			return os.Chtimes(dir+"/bin/run", old, old)
		}, "time"},
		{"longer", func(dir string) error { return os.WriteFile(dir+"/README", []byte("longer than that"), 0o644) }, ""},
		{"a mode", func(dir string) error { return os.Chmod(dir+"/README", 0o600) }, "mode"},
		{"set-user-ID", func(dir string) error { return os.Chmod(dir+"/bin/run", 0o755|os.ModeSetuid) }, "mode"},
		{"a directory's mode", func(dir string) error { return os.Chmod(dir+"/deep", 0o777) }, "mode"},
		{"a second name", func(dir string) error { return os.Link(dir+"/a", filepath.Dir(dir)+"/second") }, "time"},
		{"a link for a file", func(dir string) error {
			if err := os.Remove(dir + "/a"); err != nil {
				return err
			}
			return os.Symlink("README", dir+"/a")
		}, ""},
		{"a link for a directory", func(dir string) error {
			if err := os.Rename(dir+"/deep", filepath.Dir(dir)+"/elsewhere"); err != nil {
				return err
			}
			return os.Symlink(filepath.Dir(dir)+"/elsewhere", dir+"/deep")
		}, ""},
		{"a FIFO for a file", func(dir string) error {
			if err := os.Remove(dir + "/a"); err != nil {
				return err
			}
			return unix.Mkfifo(dir+"/a", 0o644)
		}, ""},
	} {
		for _, late := range []bool{false, true} {
			name := c.name
			if late {
				name += ", found without times"
			}
			t.Run(name, func(t *testing.T) {
				parent := memoryDir(t)
				s := openStore(t, filepath.Join(parent, "store"))
				fx := small(t)
				fill(t, s, fx)
				dir := filepath.Join(parent, "tree")
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := s.Lay(context.Background(), fx.list, dir, 2); err != nil {
					t.Fatal(err)
				}
				stamp, err := Stamp(dir)
				if err != nil {
					t.Fatal(err)
				}
				// The kernel's time moves in steps: what is done within the
				// step of the stamp looks as if it were older.
				waitForTick(t, parent, stamp)
				if err := c.do(dir); err != nil {
					t.Fatal(err)
				}
				wrong := c.wrong
				if late {
					if strings.HasPrefix(c.name, "written to") {
						return // nothing but times tells
					}
					stamp, wrong = time.Now().Add(time.Hour), ""
				}
				empty := makeFixture(t, nil)
				err = s.Update(context.Background(), fx.list, empty.list, dir, stamp, 2)
				if err == nil || !strings.Contains(err.Error(), wrong) {
					t.Fatalf("%v; it should say %q", err, wrong)
				}
				if _, err := os.Lstat(dir + "/a-b"); err != nil {
					t.Errorf("it was changed all the same: %v", err)
				}
			})
		}
	}
}

// waitForTick waits until what is made in dir is newer than stamp.
func waitForTick(t *testing.T, dir string, stamp time.Time) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		path := filepath.Join(dir, "tick")
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if st.ModTime().After(stamp) {
			return
		}
	}
	t.Fatal("the clock of the file system stands still")
}
