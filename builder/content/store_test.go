package content

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestReceiveAndLay(t *testing.T) {
	fx := small(t)
	s := newStore(t)
	want := missing(t, s, fx.list)
	if len(want) != fx.list.Len()-2 { // one is a directory, one the same as another
		t.Errorf("%d contents are wanted of %d files", len(want), fx.list.Len())
	}
	got := fill(t, s, fx)
	bytes := int64(0)
	for _, b := range fx.bytes {
		bytes += int64(len(b))
	}
	if got != (Received{Contents: len(want), Bytes: bytes}) {
		t.Errorf("%+v for %d contents of %d bytes", got, len(want), bytes)
	}
	lay(t, s, fx)
	if left := missing(t, s, fx.list); len(left) > 0 {
		t.Errorf("%v is missing yet", left)
	}
	again := openStore(t, s.dir)
	if left := missing(t, again, fx.list); len(left) > 0 {
		t.Errorf("%v is missing after opening anew", left)
	}
	lay(t, again, fx)
	if names := storeNames(t, s); len(names) != 1 || !strings.HasSuffix(names[0], sealedExt) {
		t.Errorf("the store holds %v", names)
	}
}

func storeNames(t *testing.T, s *Store) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != lockName {
			names = append(names, e.Name())
		}
	}
	return names
}

// A second release costs what changed, and the two share the rest.
func TestSecond(t *testing.T) {
	s := newStore(t)
	fill(t, s, makeFixture(t, map[string]string{"a": "one", "b": "two", "c": noise(1, 1<<20)}))
	fx := makeFixture(t, map[string]string{"a": "one", "b": "three", "d": noise(1, 1<<20)})
	if got := fill(t, s, fx); got != (Received{Contents: 1, Bytes: 5}) {
		t.Errorf("%+v", got)
	}
	lay(t, s, fx)
}

// Wherever the wire is cut, what is kept is whole, nothing that arrived is sent
// again, and the next stream goes on; in this process and in another one.
func TestCutAnywhere(t *testing.T) {
	fx := makeFixture(t, map[string]string{
		"a": noise(1, 40), "b?": noise(2, 50), "c*": noise(3, 9), "d": "", "e@": "a",
	})
	all := int64(0)
	for _, b := range fx.bytes {
		all += int64(len(b))
	}
	dir := memoryDir(t)
	s, err := Open(filepath.Join(dir, "whole"))
	if err != nil {
		t.Fatal(err)
	}
	stream := unpack(t, fx.stream(t, missing(t, s, fx.list)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	resumed := 0
	for n := range stream {
		var sent bytes.Buffer // all that the compression would still hold back
		z, err := zstd.NewWriter(&sent, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(stream[:n]); err != nil {
			t.Fatal(err)
		}
		if err := z.Flush(); err != nil {
			t.Fatal(err)
		}
		s, err := Open(filepath.Join(dir, "store"))
		if err != nil {
			t.Fatal(err)
		}
		want := missing(t, s, fx.list)
		got, err := s.Receive(context.Background(), cutReader{&sent}, fx.list, want, noLimit)
		if err == nil {
			t.Fatalf("%d bytes of %d are enough", n, len(stream))
		}
		if n%2 == 1 { // as another process does it
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(s.dir); err != nil {
				t.Fatal(err)
			}
		}
		want = missing(t, s, fx.list)
		if len(want) != len(fx.bytes)-got.Contents {
			t.Fatalf("cut at %d: %d contents came, %d of %d are missing", n, got.Contents, len(want), len(fx.bytes))
		}
		if len(want) > 0 && want[0].Offset > 0 {
			resumed++
		}
		more, err := s.Receive(context.Background(), bytes.NewReader(fx.stream(t, want)), fx.list, want, noLimit)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if got.Bytes+more.Bytes != all {
			t.Fatalf("cut at %d: %d and %d bytes came of %d", n, got.Bytes, more.Bytes, all)
		}
		if left := missing(t, s, fx.list); len(left) > 0 {
			t.Fatalf("cut at %d: %v is missing", n, left)
		}
		if n%97 == 0 {
			lay(t, s, fx)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
	}
	if resumed == 0 {
		t.Error("no cut was in a content")
	}
}

// unpack gives a stream as it is before compression.
func unpack(t *testing.T, stream []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A large content goes on where it was cut, again and again.
func TestCutOften(t *testing.T) {
	fx := makeFixture(t, map[string]string{"large": noise(7, 3<<20), "other?": noise(8, 2<<20)})
	s := newStore(t)
	total, cuts := int64(0), 0
	for {
		want := missing(t, s, fx.list)
		if len(want) == 0 {
			break
		}
		stream := fx.stream(t, want)
		var in io.Reader = bytes.NewReader(stream)
		if len(stream) > 1<<20 {
			in = cutReader{bytes.NewReader(stream[:1<<20])}
			cuts++
		}
		got, err := s.Receive(context.Background(), in, fx.list, want, noLimit)
		if (err == nil) != (len(stream) <= 1<<20) {
			t.Fatal(err)
		}
		total += got.Bytes
	}
	if total != 5<<20 || cuts < 4 {
		t.Errorf("%d bytes came, cut %d times", total, cuts)
	}
	lay(t, s, fx)
}

// The beginning that a cut left was damaged meanwhile: it is not believed, and
// not kept.
func TestResumeDamaged(t *testing.T) {
	for _, path := range []string{"a", "a?"} {
		fx := makeFixture(t, map[string]string{path: noise(9, 600<<10)})
		s := newStore(t)
		want := missing(t, s, fx.list)
		stream := fx.stream(t, want)
		if _, err := s.Receive(context.Background(), cutReader{bytes.NewReader(stream[:400<<10])}, fx.list, want, noLimit); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		part := filepath.Join(s.dir, storeNames(t, s)[0])
		flip(t, part, 100<<10)
		want = missing(t, s, fx.list)
		if want[0].Offset == 0 {
			t.Fatal("nothing is to be resumed")
		}
		if _, err := s.Receive(context.Background(), bytes.NewReader(fx.stream(t, want)), fx.list, want, noLimit); err == nil {
			t.Fatal("a damaged content was taken")
		}
		if want = missing(t, s, fx.list); len(want) != 1 || want[0].Offset != 0 {
			t.Fatalf("wanted after that: %v", want)
		}
		fill(t, s, fx)
		lay(t, s, fx)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// A stream in which any byte is another never gives another content.
func TestDamagedStream(t *testing.T) {
	fx := makeFixture(t, map[string]string{"a": noise(1, 90), "b?": strings.Repeat("text ", 50), "c": "", "d@": "a"})
	dir := memoryDir(t)
	s := openStore(t, filepath.Join(dir, "0"))
	want := missing(t, s, fx.list)
	stream := fx.stream(t, want)
	for i := range stream {
		s, err := Open(filepath.Join(dir, "store"))
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(stream)
		bad[i] ^= 0x24
		got, err := s.Receive(context.Background(), bytes.NewReader(bad), fx.list, want, noLimit)
		if err == nil {
			lay(t, s, fx)
		} else if left := missing(t, s, fx.list); len(left) != len(want)-got.Contents {
			t.Fatalf("byte %d: %d came, %d of %d are missing", i, got.Contents, len(left), len(want))
		}
		if i%32 == 0 {
			fill(t, s, fx)
			lay(t, s, fx)
		}
		if err := errors.Join(s.Close(), os.RemoveAll(s.dir)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusedStreams(t *testing.T) {
	fx := makeFixture(t, map[string]string{"a": "one", "b?": noise(1, 5000), "c": "three"})
	other := makeFixture(t, map[string]string{"z": "other"})
	stream := func(send func(s *Sender) error) []byte {
		var b bytes.Buffer
		s, err := NewSender(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(send(s), s.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	send := func(s *Sender, fx fixture, i int, content string) error {
		f := fx.list.Files()[i]
		f.Size = -1
		return s.Send(f, 0, int64(len(content)), strings.NewReader(content))
	}
	all := func(s *Sender) error {
		return errors.Join(send(s, fx, 0, "one"), send(s, fx, 1, noise(1, 5000)), send(s, fx, 2, "three"))
	}
	for _, c := range []struct {
		name  string
		in    []byte
		limit int64
		wrong string
		came  int
	}{
		{"what nobody wanted", stream(func(s *Sender) error { return errors.Join(send(s, fx, 0, "one"), send(s, other, 0, "other")) }), noLimit, "nobody wanted", 1},
		{"twice", stream(func(s *Sender) error { return errors.Join(send(s, fx, 0, "one"), send(s, fx, 0, "one")) }), noLimit, "nobody wanted", 1},
		{"another size", stream(func(s *Sender) error { return send(s, fx, 0, "ones") }), noLimit, "it has 3", 0},
		{"another content", stream(func(s *Sender) error { return send(s, fx, 0, "two") }), noLimit, "has the hash", 0},
		{"less than was wanted", stream(func(s *Sender) error { return send(s, fx, 2, "three") }), noLimit, "did not come", 1},
		{"nothing", stream(func(*Sender) error { return nil }), noLimit, "did not come", 0},
		{"more than may", stream(all), 5000, "more contents come than may", 1},
		{"from the middle", stream(func(s *Sender) error {
			return s.Send(fx.list.Files()[0], 1, 3, strings.NewReader("one"))
		}), noLimit, "the beginning is not here", 0},
		{"something behind", append(stream(all), "more"...), noLimit, "", 3},
		{"a second stream behind", append(stream(all), stream(all)...), noLimit, "something follows", 3},
		{"no stream", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), noLimit, "", 0},
		{"empty", nil, noLimit, "EOF", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			want := missing(t, s, fx.list)
			got, err := s.Receive(context.Background(), bytes.NewReader(c.in), fx.list, want, c.limit)
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%v; it should say %q", err, c.wrong)
			}
			if got.Contents != c.came {
				t.Errorf("%d came, not %d", got.Contents, c.came)
			}
			if left := missing(t, s, fx.list); len(left) != len(want)-c.came {
				t.Errorf("%d of %d are missing", len(left), len(want))
			}
			fill(t, s, fx)
			lay(t, s, fx)
		})
	}
}

func TestSendRefuses(t *testing.T) {
	f := file("a")
	f.Size = 3
	for _, c := range []struct {
		name         string
		offset, size int64
		content      string
	}{
		{"less", 0, 3, "on"},
		{"more", 0, 3, "ones"},
		{"another size", 0, 4, "ones"},
		{"beyond the end", 4, 3, "one"},
		{"before the beginning", -1, 3, "one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := NewSender(io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Send(f, c.offset, c.size, strings.NewReader(c.content)); err == nil {
				t.Error("it was sent")
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("cancelled by ana")
	cancel(why)
	fx := small(t)
	s := newStore(t)
	want := missing(t, s, fx.list)
	if _, err := s.Receive(ctx, bytes.NewReader(fx.stream(t, want)), fx.list, want, noLimit); !errors.Is(err, why) {
		t.Error(err)
	}
	fill(t, s, fx)
	if err := s.Lay(ctx, fx.list, t.TempDir(), 2); !errors.Is(err, why) {
		t.Error(err)
	}
}
