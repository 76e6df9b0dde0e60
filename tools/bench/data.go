package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
)

// module is a submodule that a repository's last commit adds.
type module struct{ path, url, commit string }

// history writes a git fast-import stream: a repository of so many files and
// commits. The first commit makes the files, each later one changes one of them,
// and the last adds the submodules. The same words give the same bytes.
func history(w io.Writer, files, commits int, seed uint64, modules []module) error {
	out := bufio.NewWriterSize(w, 1<<20)
	rng := rand.New(rand.NewPCG(seed, 1))
	change := func() {
		i := rng.IntN(files)
		inline(out, filePath(i), sourceCode(rng))
	}

	beginCommit(out, 0, "Start")
	for i := range files {
		inline(out, filePath(i), sourceCode(rng))
	}
	for n := 1; n < commits; n++ {
		beginCommit(out, n, fmt.Sprintf("Change %d", n))
		change()
	}
	if len(modules) > 0 {
		beginCommit(out, commits, "Add submodules")
		var text []byte
		for _, m := range modules {
			text = fmt.Appendf(text, "[submodule %q]\n\tpath = %s\n\turl = %s\n", m.path, m.path, m.url)
		}
		inline(out, ".gitmodules", text)
		for _, m := range modules {
			fmt.Fprintf(out, "M 160000 %s %s\n", m.commit, m.path)
		}
	}
	fmt.Fprintln(out, "done")
	return out.Flush()
}

// noise writes a stream whose pack is about size bytes: data that no compression
// makes smaller, in files of 1 MiB, and a second commit that leaves one small
// file. So the pack is large and the tree is not.
func noise(w io.Writer, size int64, seed uint64) error {
	out := bufio.NewWriterSize(w, 1<<20)
	rng := rand.New(rand.NewPCG(seed, 2))
	block := make([]byte, 1<<20)

	beginCommit(out, 0, "Much data")
	for i := range size / int64(len(block)) {
		for at := 0; at < len(block); at += 8 {
			bits := rng.Uint64()
			for k := range 8 {
				block[at+k] = byte(bits >> (8 * k))
			}
		}
		inline(out, fmt.Sprintf("data/%05d.bin", i), block)
	}
	beginCommit(out, 1, "Little data")
	fmt.Fprintln(out, "deleteall")
	inline(out, "README", []byte("small\n"))
	fmt.Fprintln(out, "done")
	return out.Flush()
}

func filePath(i int) string {
	return fmt.Sprintf("d%02d/e%02d/f%05d.txt", i%40, i/40%40, i)
}

// sourceCode is about 4 KiB of words, which compress about as source code does.
func sourceCode(rng *rand.Rand) []byte {
	var text []byte
	for range 20 + rng.IntN(880) {
		text = fmt.Appendf(text, "%x ", rng.Uint32()>>8)
	}
	return append(text, '\n')
}

func beginCommit(w io.Writer, n int, message string) {
	fmt.Fprintf(w, "commit refs/heads/main\ncommitter Bench <bench@example.com> %d +0000\ndata %d\n%s\n", 1_700_000_000+n, len(message), message)
}

func inline(w io.Writer, path string, text []byte) {
	fmt.Fprintf(w, "M 100644 inline %s\ndata %d\n", path, len(text))
	_, _ = w.Write(text) // a bufio.Writer keeps its error for Flush
	fmt.Fprintln(w)
}
