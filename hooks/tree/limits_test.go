package tree

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestBombs reads trees that are far larger than their objects.
func TestBombs(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	x := r.blob("x")
	ten := func(of func(string, Hash) item, h Hash) Hash {
		var items []item
		for i := range 10 {
			items = append(items, of(strconv.Itoa(i), h))
		}
		return r.tree(items...)
	}
	files, dirs := ten(file, x), ten(dir, r.tree())
	for range 9 {
		files, dirs = ten(dir, files), ten(dir, dirs)
	}
	wide := files
	for range 5 {
		wide = ten(dir, wide)
	}
	for name, tt := range map[string]struct {
		tree Hash
		want string
	}{
		"B51 files":         {files, "10,000,000,000 files; 500,000 are allowed"},
		"B51 directories":   {dirs, "directories; 500,000 are allowed"},
		"B51 beyond counts": {wide, "more than 1,099,511,627,776 files"},
	} {
		began := time.Now()
		err := readErr(t.Context(), Limits{}, r.part("", tt.tree))
		check(t, err, tt.want)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

// TestDeep has a chain of directories, and one that shortcuts hide from a
// search by levels.
func TestDeep(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	h := r.tree(file("f", r.blob("x")))
	chain := []Hash{h}
	for range 300 {
		h = r.tree(dir("d", h))
		chain = append(chain, h)
	}
	if err := readErr(t.Context(), Limits{}, r.part("", chain[256])); err != nil {
		t.Error(err)
	}
	check(t, readErr(t.Context(), Limits{}, r.part("", chain[257])), "256 directories deep")
	check(t, readErr(t.Context(), Limits{Depth: 3}, r.part("", chain[4])), "d/d/d/d", "3 directories deep")
	check(t, readErr(t.Context(), Limits{}, r.part("", r.sorted(dir("a", chain[100]), dir("b", chain[200]), dir("c", chain[299])))),
		"256 directories deep")
	check(t, readErr(t.Context(), Limits{Depth: 50}, r.part("", r.sorted(dir("a", chain[20]), dir("b", chain[40]), dir("c", chain[60])))),
		"50 directories deep")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	k := r.blob(strings.Repeat("k", 1024))
	two := r.part("", r.tree(file("a", k), file("b", k)))
	if err := readErr(t.Context(), Limits{Files: 2, Bytes: 2048, Blob: 1024}, two); err != nil {
		t.Error(err)
	}
	check(t, readErr(t.Context(), Limits{Files: 1}, two), "more than the 1 files")
	check(t, readErr(t.Context(), Limits{Bytes: 2047}, two), "2.0 KiB")
	check(t, readErr(t.Context(), Limits{Blob: 1023}, two), "a: a file of 1.0 KiB")
	long := strings.Repeat("n", 200)
	deep := r.tree(file("f", k))
	for range 5 {
		deep = r.tree(dir(long, deep))
	}
	check(t, readErr(t.Context(), Limits{PathBytes: 1004}, r.part("", deep)), "1006 bytes; 1004 are allowed")
	if err := readErr(t.Context(), Limits{PathBytes: 1006}, r.part("", deep)); err != nil {
		t.Error(err)
	}
	for range 16 {
		deep = r.tree(dir(long, deep))
	}
	check(t, readErr(t.Context(), Limits{}, r.part("", deep)), "4220 bytes; 4095 are allowed")
}

// TestFilesOfAllParts adds up what no part exceeds alone.
func TestFilesOfAllParts(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	x := r.blob("x")
	s := r.part("s", r.tree(file("a", x), file("b", x)))
	app := r.part("", r.tree(file("a", x), sub("s", mustHash(t, s.Commit))))
	if err := readErr(t.Context(), Limits{Files: 3}, app, s); err != nil {
		t.Error(err)
	}
	check(t, readErr(t.Context(), Limits{Files: 2}, app, s), "files")
}
