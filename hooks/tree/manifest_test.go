package tree

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// list makes a manifest from "PATH CONTENT" pairs.
func list(t testing.TB, files ...string) *Manifest {
	t.Helper()
	m := &Manifest{Mounts: []Mount{{Path: "m/a", Commit: Hash{7}}, {Path: "m/b", Skipped: true}}, Dirs: 3}
	for i := 0; i < len(files); i += 2 {
		e := Entry{Path: files[i], Mode: Regular, Size: int64(len(files[i+1])), Part: i % 3}
		copy(e.Hash[:], files[i+1])
		m.Entries = append(m.Entries, e)
	}
	if err := m.finish(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEncode(t *testing.T) {
	t.Parallel()
	for _, m := range []*Manifest{{}, list(t), list(t, "a", "1", "a/b", "2", "a/c\xff", "3", "b", "")} {
		if err := m.finish(); err != nil {
			t.Fatal(err)
		}
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Error(diff)
		}
		for i := range b {
			broken := bytes.Clone(b)
			broken[i] ^= 0x40
			if got, err := Decode(broken); err == nil && got.ID != m.ID {
				t.Errorf("a flipped bit at %d went unseen", i)
			}
			if _, err := Decode(b[:i]); err == nil {
				t.Errorf("%d of %d bytes were taken for whole", i, len(b))
			}
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	a := list(t, "a", "1", "b", "2", "c", "3", "e", "5")
	b := list(t, "a", "1", "b", "9", "d", "4", "e", "5", "f", "6")
	for _, tt := range []struct {
		old, new *Manifest
		want     string
	}{
		{a, b, "+2 -1 ~1"}, {b, a, "+1 -2 ~1"}, {a, a, "+0 -0 ~0"}, {nil, a, "+4 -0 ~0"}, {a, nil, "+0 -4 ~0"}, {nil, nil, "+0 -0 ~0"},
	} {
		added, removed, changed := Diff(tt.old, tt.new)
		if got := fmt.Sprintf("+%d -%d ~%d", added, removed, changed); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	base := list(t, "a", "1", "b", "2")
	if base.ID != list(t, "b", "2", "a", "1").ID {
		t.Error("the order of reading changes the id")
	}
	mode, content, mount, commit := list(t, "a", "1", "b", "2"), list(t, "a", "1", "b", "3"), list(t, "a", "1", "b", "2"), list(t, "a", "1", "b", "2")
	mode.Entries[0].Mode = Executable
	mount.Mounts[0].Skipped = true
	commit.Mounts[0].Commit = Hash{8}
	for what, m := range map[string]*Manifest{"mode": mode, "content": content, "mount": mount} {
		if m.id() == base.ID {
			t.Errorf("another %s gives the same id", what)
		}
	}
	if commit.id() != base.ID {
		t.Error("another commit with the same files gives another id")
	}
}

func FuzzDecode(f *testing.F) {
	b, err := list(f, "a", "1", "a/b", "2").Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(again); err != nil || got.ID != m.ID {
			t.Errorf("decoded, encoded, decoded: %v", err)
		}
	})
}

// FuzzEntries holds the parser of tree objects to what it promises of each
// entry that it lets pass.
func FuzzEntries(f *testing.F) {
	f.Add(rawTree(file("a", Hash{1}), dir("b", Hash{2}), link("c", Hash{3}), sub("d", Hash{4})))
	f.Add(rawTree(file(".git", Hash{}), file("GITMOD~1", Hash{})))
	f.Add(rawTree(file("a", Hash{}), file("a-b", Hash{}), dir("a", Hash{})))
	f.Add(rawTree(link("\u00e9", Hash{}), file("e\u0301", Hash{})))
	f.Add("100644 a\x00short")
	f.Fuzz(func(t *testing.T, raw string) {
		seen := map[string]bool{}
		var again []item
		err := entries(raw, func(e rawEntry) error {
			if seen[e.name] || e.name == "" || len(e.name) > maxName || bytes.ContainsAny([]byte(e.name), "/\x00\\\n\r\x1b") {
				t.Errorf("let %q pass", e.name)
			}
			seen[e.name] = true
			again = append(again, item{e.mode.String(), e.name, e.hash})
			return nil
		})
		if err == nil && rawTree(again...) != raw {
			t.Errorf("%q was read as %q", raw, rawTree(again...))
		}
	})
}
