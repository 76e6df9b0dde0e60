package content

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// many is 20,000 files of a few KB in 2,000 directories.
func many(b *testing.B) fixture {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	tree := map[string]string{}
	for i := range 20_000 {
		path := fmt.Sprintf("pkg%02d/mod%03d/file%05d.js", i%20, i%2000, i)
		tree[path] = noise(uint64(i), 200+r.IntN(8000))
	}
	return makeFixture(b, tree)
}

func filled(b *testing.B) (*Store, fixture) {
	b.Helper()
	fx := many(b)
	s := newStore(b)
	fill(b, s, fx)
	return s, fx
}

func BenchmarkLay(b *testing.B) {
	s, fx := filled(b)
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			each(b, func(dir string) error {
				return s.Lay(context.Background(), fx.list, dir, workers)
			})
		})
	}
	from := b.TempDir()
	if err := s.Lay(context.Background(), fx.list, from, 2); err != nil {
		b.Fatal(err)
	}
	b.Run("cp-a", func(b *testing.B) {
		each(b, func(dir string) error { return exec.Command("cp", "-a", from+"/.", dir).Run() })
	})
	if _, err := exec.LookPath("rsync"); err == nil {
		b.Run("rsync-a", func(b *testing.B) {
			each(b, func(dir string) error { return exec.Command("rsync", "-a", from+"/", dir).Run() })
		})
	}
}

// each times do alone, with an empty directory each time: on the clock, and by
// what the processors had to do, which says more on a machine that is not idle.
func each(b *testing.B, do func(dir string) error) {
	above := b.TempDir()
	cpu := int64(0)
	for i := range b.N {
		dir := filepath.Join(above, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		before := cpuTime(b)
		b.StartTimer()
		err := do(dir)
		b.StopTimer()
		cpu += cpuTime(b) - before
		if err != nil {
			b.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/op")
	b.ReportMetric(float64(cpu)/1e6/float64(b.N), "cpu-ms/op")
}

// cpuTime is that of this process and the children that have ended.
func cpuTime(b *testing.B) (n int64) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		n += u.Utime.Nano() + u.Stime.Nano()
	}
	return n
}

func BenchmarkUpdate(b *testing.B) {
	s, fx := filled(b)
	files := slices.Clone(fx.list.Files())
	changed := []byte("changed")
	files[777].ID, files[777].Size = gitID(changed), int64(len(changed))
	l, err := NewList(files)
	if err != nil {
		b.Fatal(err)
	}
	other := fixture{list: l, bytes: map[key][]byte{files[777].key(): changed}}
	fill(b, s, other)
	dir := b.TempDir()
	if err := s.Lay(context.Background(), fx.list, dir, 2); err != nil {
		b.Fatal(err)
	}
	from, to := fx.list, l
	for b.Loop() {
		stamp, err := Stamp(dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Update(context.Background(), from, to, dir, stamp, 2); err != nil {
			b.Fatal(err)
		}
		from, to = to, from
	}
}

func BenchmarkReceive(b *testing.B) {
	fx := many(b)
	s := newStore(b)
	want := missing(b, s, fx.list)
	stream := fx.stream(b, want)
	b.SetBytes(int64(len(stream)))
	i := 0
	for b.Loop() {
		i++
		s := newStore(b)
		if _, err := s.Receive(context.Background(), bytes.NewReader(stream), fx.list, want, noLimit); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	fx := many(b)
	s := newStore(b)
	want := missing(b, s, fx.list)
	b.SetBytes(fx.list.Size())
	for b.Loop() {
		fx.stream(b, want)
	}
}

func BenchmarkOpen(b *testing.B) {
	s, _ := filled(b)
	for b.Loop() {
		again, err := Open(s.dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMissing(b *testing.B) {
	s, fx := filled(b)
	for b.Loop() {
		missing(b, s, fx.list)
	}
}

func BenchmarkList(b *testing.B) {
	l, err := NewList(large(b, 30_000))
	if err != nil {
		b.Fatal(err)
	}
	files := slices.Clone(l.Files())
	files[15_000].ID[3]++
	new, err := NewList(files)
	if err != nil {
		b.Fatal(err)
	}
	diff, err := Diff(l, new)
	if err != nil {
		b.Fatal(err)
	}
	whole, err := Diff(nil, l)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("30,000 files: %d bytes encoded, %d compressed; a changed one: %d bytes", len(l.Encode()), len(whole), len(diff))
	b.Run("Encode", func(b *testing.B) {
		for b.Loop() {
			l.Encode()
		}
	})
	b.Run("Decode", func(b *testing.B) {
		enc := l.Encode()
		for b.Loop() {
			if _, err := Decode(enc); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Diff", func(b *testing.B) {
		for b.Loop() {
			if _, err := Diff(l, new); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Apply", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Apply(diff); err != nil {
				b.Fatal(err)
			}
		}
	})
}
