package tree

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"slipway/store"
	"slipway/store/git"
)

// largeRepo has 20,000 files of some hundred bytes to some ten thousand, in
// 400 directories, packed.
func largeRepo(b *testing.B) Part {
	b.Helper()
	r := newRepo(b)
	rnd := rand.New(rand.NewPCG(1, 2))
	var in bytes.Buffer
	in.WriteString("commit refs/heads/main\ncommitter a <a@example.com> 1700000000 +0000\ndata 0\n")
	for i := range 20_000 {
		text := make([]byte, 200+rnd.IntN(1<<(8+rnd.IntN(6))))
		for j := range text {
			text[j] = "etaoin shrdlu\n"[rnd.IntN(14)]
		}
		fmt.Fprintf(&in, "M 644 inline d%d/e%d/f%d\ndata %d\n%s\n", i/1000, i/50, i, len(text), text)
	}
	runGit(b, r.dir, in.Bytes(), "fast-import", "--quiet")
	h, err := git.ParseHash(runGit(b, r.dir, nil, "rev-parse", "main"))
	if err != nil {
		b.Fatal(err)
	}
	return Part{Dir: r.dir, Commit: store.OID(h.String())}
}

func BenchmarkRead(b *testing.B) {
	parts := []Part{largeRepo(b)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(b.Context(), parts, nil, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	parts := []Part{largeRepo(b)}
	m, err := Read(b.Context(), parts, nil, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			for b.Loop() {
				dir, err := os.MkdirTemp(b.TempDir(), "")
				if err != nil {
					b.Fatal(err)
				}
				if err := Write(b.Context(), m, parts, dir, Options{Workers: workers}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	m, err := Read(b.Context(), []Part{largeRepo(b)}, nil, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		packed, err := m.Encode()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(packed)), "packed-B")
		if _, err := Decode(packed); err != nil {
			b.Fatal(err)
		}
	}
}
