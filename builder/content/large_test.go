package content

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// A content larger than memory should hold goes through both sides. Its size
// in MiB is $SLIPWAY_TEST_LARGE.
func TestLarge(t *testing.T) {
	size := int64(64 << 20)
	if v := os.Getenv("SLIPWAY_TEST_LARGE"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		size = n << 20
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", size)
	if _, err := io.Copy(h, &sparse{left: size}); err != nil {
		t.Fatal(err)
	}
	l, err := NewList([]File{{Path: "large", Exact: true, ID: ID(h.Sum(nil)), Size: size}})
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	want := missing(t, s, l)

	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	most := uint64(0)
	in, out := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		sent <- func() error {
			snd, err := NewSender(out)
			if err != nil {
				return err
			}
			r := &sparse{left: size, each: 4 << 20, look: func() {
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapInuse)
			}}
			return errors.Join(snd.Send(l.Files()[0], 0, size, r), snd.Close(), out.Close())
		}()
	}()
	start := time.Now()
	_, err = s.Receive(context.Background(), in, l, want, size)
	if err := errors.Join(err, in.Close(), <-sent); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB sent and received in %v; the heap grew by %d MiB", size>>20, time.Since(start).Round(time.Millisecond), (most-before.HeapInuse)>>20)
	if grown := int64(most) - int64(before.HeapInuse); grown > 48<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	dir := t.TempDir()
	start = time.Now()
	if err := s.Lay(context.Background(), l, dir, 1); err != nil {
		t.Fatal(err)
	}
	t.Logf("laid in %v", time.Since(start).Round(time.Millisecond))
	f, err := os.Open(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h = sha1.New()
	fmt.Fprintf(h, "blob %d\x00", size)
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	if ID(h.Sum(nil)) != l.Files()[0].ID {
		t.Error("another content was laid")
	}
}

// sparse is zeros with a number here and there.
type sparse struct {
	left, at, each int64
	look           func()
}

func (s *sparse) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), s.left)]
	clear(b)
	for at := (s.at + 4095) &^ 4095; at < s.at+int64(len(b)); at += 4096 {
		b[at-s.at] = byte(at>>12) | 1
		if s.look != nil && at%s.each == 0 {
			s.look()
		}
	}
	s.at += int64(len(b))
	s.left -= int64(len(b))
	return len(b), nil
}

// kill -9 in the middle of a content: what had come is not sent again.
func TestKilled(t *testing.T) {
	fx := makeFixture(t, map[string]string{"a": "first", "b": noise(1, 4<<20), "c": "last"})
	if dir := os.Getenv("SLIPWAY_TEST_RECEIVE"); dir != "" {
		s := openStore(t, dir)
		_, err := s.Receive(context.Background(), os.Stdin, fx.list, missing(t, s, fx.list), noLimit)
		t.Fatal("it is still here: ", err)
	}
	s := newStore(t)
	stream := fx.stream(t, missing(t, s, fx.list))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_RECEIVE="+s.dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = in.Write(stream[:2<<20])
	for deadline := time.Now().Add(30 * time.Second); err == nil && partSize(t, s) < 1<<20; runtime.Gosched() {
		if time.Now().After(deadline) {
			err = errors.New("it receives nothing")
		}
	}
	if err := errors.Join(err, cmd.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it was not killed")
	}
	want := missing(t, s, fx.list)
	if want[0].Offset < 1<<19 || fx.list.files[want[0].Index].Path != "b" {
		t.Errorf("wanted after that: %v", want)
	}
	fill(t, s, fx)
	lay(t, s, fx)
}

func partSize(t *testing.T, s *Store) int64 {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(s.dir, "*"+partExt))
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) == 0 {
		return 0
	}
	st, err := os.Stat(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}
