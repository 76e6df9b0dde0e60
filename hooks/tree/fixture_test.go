package tree

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"slipway/store"
	"slipway/store/git"
)

// TestMain gives the process a server's umask, so that every test proves that
// it does not reach the files.
func TestMain(m *testing.M) {
	syscall.Umask(0o077)
	os.Exit(m.Run())
}

// repo is a bare repository whose objects a test writes one by one, the bad
// ones too.
type repo struct {
	t   testing.TB
	dir string
}

func newRepo(t testing.TB) *repo {
	t.Helper()
	r := &repo{t: t, dir: filepath.Join(t.TempDir(), "r.git")}
	runGit(t, "", nil, "init", "--quiet", "--bare", r.dir)
	return r
}

// runGit runs git as a user has it: umask 022, fixed dates, no configuration.
func runGit(t testing.TB, dir string, stdin []byte, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{
		"-c", `umask 022; exec git "$@"`, "git",
		"-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main",
	}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_AUTHOR_DATE=1700000000 +0000", "LC_ALL=C",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_COMMITTER_DATE=1700000000 +0000",
	}
	cmd.Stdin = bytes.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, said.String())
	}
	return strings.TrimSpace(out.String())
}

func (r *repo) object(kind string, content []byte) Hash {
	r.t.Helper()
	h, err := git.ParseHash(runGit(r.t, r.dir, content, "hash-object", "-t", kind, "--literally", "-w", "--stdin"))
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *repo) blob(content string) Hash { r.t.Helper(); return r.object("blob", []byte(content)) }

// item is one entry of a tree that a test makes, in any spelling.
type item struct {
	mode, name string
	hash       Hash
}

func rawTree(items ...item) string {
	var b strings.Builder
	for _, e := range items {
		b.WriteString(e.mode + " " + e.name + "\x00" + string(e.hash[:]))
	}
	return b.String()
}

// tree writes the items in the order given.
func (r *repo) tree(items ...item) Hash {
	r.t.Helper()
	return r.object("tree", []byte(rawTree(items...)))
}

// sorted writes the items in git's order.
func (r *repo) sorted(items ...item) Hash {
	r.t.Helper()
	key := func(e item) string {
		if e.mode == "40000" {
			return e.name + "/"
		}
		return e.name
	}
	sort.Slice(items, func(i, j int) bool { return key(items[i]) < key(items[j]) })
	return r.tree(items...)
}

func (r *repo) commit(tree Hash) store.OID {
	r.t.Helper()
	const who = "a <a@example.com> 1700000000 +0000\n"
	return store.OID(r.object("commit", []byte("tree "+tree.String()+"\nauthor "+who+"committer "+who+"\nx\n")).String())
}

func (r *repo) part(path string, tree Hash) Part {
	r.t.Helper()
	return Part{Path: path, Dir: r.dir, Commit: r.commit(tree)}
}

func file(name string, h Hash) item { return item{"100644", name, h} }
func link(name string, h Hash) item { return item{"120000", name, h} }
func dir(name string, h Hash) item  { return item{"40000", name, h} }
func sub(name string, h Hash) item  { return item{"160000", name, h} }

func mustHash(t testing.TB, oid store.OID) (h Hash) {
	t.Helper()
	if _, err := hex.Decode(h[:], []byte(oid)); err != nil {
		t.Fatal(err)
	}
	return h
}

// writeOut reads and writes parts into a new directory.
func writeOut(t testing.TB, parts []Part, skip ...string) (string, *Manifest) {
	t.Helper()
	m, err := Read(t.Context(), parts, skip, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(t.Context(), m, parts, to, Options{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	return to, m
}

func readErr(ctx context.Context, lim Limits, parts ...Part) error {
	_, err := Read(ctx, parts, nil, lim)
	return err
}
