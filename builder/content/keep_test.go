package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func keep(t *testing.T, s *Store, young time.Duration, lists ...*List) {
	t.Helper()
	if err := s.Keep(context.Background(), lists, young); err != nil {
		t.Fatal(err)
	}
}

func diskUse(t *testing.T, s *Store) (n int64) {
	t.Helper()
	for _, name := range storeNames(t, s) {
		st, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		n += st.Size()
	}
	return n
}

func TestKeep(t *testing.T) {
	first := makeFixture(t, map[string]string{"a": noise(1, 50_000), "b": noise(2, 50_000), "c": noise(3, 50_000)})
	second := makeFixture(t, map[string]string{"a": noise(1, 50_000), "d?": noise(4, 100_000)})
	other := makeFixture(t, map[string]string{"z": "z"})
	s := newStore(t)
	fill(t, s, first)
	fill(t, s, second)
	fill(t, s, other)
	all := diskUse(t, s)

	keep(t, s, time.Hour, second.list)
	if n := diskUse(t, s); n != all {
		t.Errorf("what is young went: %d bytes of %d", n, all)
	}
	keep(t, s, 0, first.list, second.list)
	if n := len(missing(t, s, other.list)); n != 1 || len(storeNames(t, s)) != 2 {
		t.Errorf("%d is missing, the store holds %v", n, storeNames(t, s))
	}
	lay(t, s, first)
	lay(t, s, second)

	// A third of the first pack is wanted: it is written anew.
	keep(t, s, 0, second.list)
	if n := diskUse(t, s); n > 155_000 {
		t.Errorf("%d bytes are kept for 150000", n)
	}
	if n := len(missing(t, s, first.list)); n != 2 {
		t.Errorf("%d of the first list are missing", n)
	}
	for _, s := range []*Store{s, openStore(t, s.dir)} {
		lay(t, s, second)
	}
	keep(t, s, 0)
	if names := storeNames(t, s); len(names) > 0 {
		t.Errorf("for nothing the store holds %v", names)
	}
}

// Many small packs become one.
func TestKeepFewPacks(t *testing.T) {
	s := newStore(t)
	tree := map[string]string{}
	for i := range smallPacks + 4 {
		tree[fmt.Sprint("file", i)] = fmt.Sprint("content ", i)
		fill(t, s, makeFixture(t, tree))
	}
	fx := makeFixture(t, tree)
	if n := len(storeNames(t, s)); n <= smallPacks {
		t.Fatalf("%d packs", n)
	}
	keep(t, s, 0, fx.list)
	if names := storeNames(t, s); len(names) != 1 {
		t.Errorf("the store holds %v", names)
	}
	for _, s := range []*Store{s, openStore(t, s.dir)} {
		lay(t, s, fx)
	}
}

// What a cut left is kept while it is young, then given up; what was whole in
// it is kept.
func TestKeepPart(t *testing.T) {
	fx := makeFixture(t, map[string]string{"a": "whole", "b": noise(1, 600<<10)})
	s := newStore(t)
	want := missing(t, s, fx.list)
	stream := fx.stream(t, want)
	if _, err := s.Receive(context.Background(), cutReader{bytes.NewReader(stream[:400<<10])}, fx.list, want, noLimit); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	keep(t, s, time.Hour, fx.list)
	if want := missing(t, s, fx.list); len(want) != 1 || want[0].Offset == 0 {
		t.Errorf("wanted while it is young: %v", want)
	}
	keep(t, s, 0, fx.list)
	if want := missing(t, s, fx.list); len(want) != 1 || want[0].Offset != 0 {
		t.Errorf("wanted afterwards: %v", want)
	}
	if names := storeNames(t, s); len(names) != 1 || !strings.HasSuffix(names[0], sealedExt) {
		t.Errorf("the store holds %v", names)
	}
}

// Another process removes and adds packs; what was taken for a tree before
// stays readable.
func TestTwoProcesses(t *testing.T) {
	fx := small(t)
	one := newStore(t)
	fill(t, one, fx)
	two := openStore(t, one.dir)
	from, err := one.take([]*File{&fx.list.files[0]})
	if err != nil {
		t.Fatal(err)
	}
	keep(t, two, 0)
	if n := len(storeNames(t, one)); n != 0 {
		t.Fatalf("%d packs are left", n)
	}
	lay(t, one, fx) // it does not know yet
	if n := len(missing(t, one, fx.list)); n != len(fx.bytes) {
		t.Errorf("%d contents are missing", n)
	}
	f := &fx.list.files[0]
	if b, err := from.read(f, from.places[f.key()], nil); err != nil || !bytes.Equal(b, fx.bytes[f.key()]) {
		t.Errorf("%q, %v", b, err)
	}
	if err := from.release(); err != nil {
		t.Fatal(err)
	}
	fill(t, two, fx)
	if n := len(missing(t, one, fx.list)); n != 0 {
		t.Errorf("%d contents are missing that the other one has", n)
	}
	lay(t, one, fx)
}

// While one process receives, another one uses what has come, resumes nothing,
// and removes nothing of it.
func TestPartOfAnother(t *testing.T) {
	fx := makeFixture(t, map[string]string{"a": "whole", "b": noise(1, 600<<10)})
	one := newStore(t)
	want := missing(t, one, fx.list)
	stream := fx.stream(t, want)
	two := openStore(t, one.dir)
	asked := false
	in := cutReader{&spy{r: bytes.NewReader(stream[:400<<10]), at: 300 << 10, do: func() {
		asked = true
		keep(t, two, 0)
		for _, w := range missing(t, two, fx.list) {
			if w.Offset > 0 {
				t.Error("it would resume what is being received")
			}
		}
		fill(t, two, fx)
		lay(t, two, fx)
	}}}
	if _, err := one.Receive(context.Background(), in, fx.list, want, noLimit); !errors.Is(err, errCut) || !asked {
		t.Fatal(err, asked)
	}
	if left := missing(t, one, fx.list); len(left) > 0 {
		t.Errorf("%v is missing, which the other one has got", left)
	}
	lay(t, one, fx)
}

// spy calls do once, when at bytes were read.
type spy struct {
	r  *bytes.Reader
	at int64
	do func()
}

func (s *spy) Read(b []byte) (int, error) {
	if s.do != nil && s.r.Size()-int64(s.r.Len()) >= s.at {
		do := s.do
		s.do = nil
		do()
	}
	return s.r.Read(b)
}

// Whatever a power cut leaves of a part, the store opens, gives no content that
// is not what it says, and takes the rest again.
func TestTornPart(t *testing.T) {
	fx := makeFixture(t, map[string]string{"a": noise(1, 60), "b?": noise(2, 70), "c": noise(3, 80)})
	dir := memoryDir(t)
	s := openStore(t, filepath.Join(dir, "whole"))
	fill(t, s, fx)
	name := storeNames(t, s)[0]
	pack, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, i int, torn []byte, ext string) {
		at := filepath.Join(dir, "store")
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, strings.TrimSuffix(name, sealedExt)+ext), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(at)
		if err != nil {
			t.Fatalf("%s at %d: %v", what, i, err)
		}
		want := missing(t, s, fx.list)
		if len(want) == 0 && ext == partExt {
			t.Fatalf("%s at %d: nothing is missing", what, i)
		}
		_, err = s.Receive(context.Background(), bytes.NewReader(fx.stream(t, want)), fx.list, want, noLimit)
		if err != nil { // a damaged beginning, which is given up
			fill(t, s, fx)
		}
		if err := s.Lay(context.Background(), fx.list, t.TempDir(), 1); err != nil {
			fill(t, s, fx) // a damaged content in a sealed pack is missing from now on
		}
		lay(t, s, fx)
		keep(t, s, 0, fx.list)
		lay(t, s, fx)
		if err := errors.Join(s.Close(), os.RemoveAll(at)); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(pack); i += 7 {
		bad := bytes.Clone(pack)
		bad[i] ^= 0x11
		zero := bytes.Clone(pack)
		clear(zero[i:])
		try("cut", i, pack[:i], partExt)
		try("changed", i, bad, partExt)
		try("zeros from", i, zero, partExt)
		try("a pack changed", i, bad, sealedExt)
	}
}
