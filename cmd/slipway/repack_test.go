package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// manyPacks is how many packs of a repository are let be; an object of smallPack
// bytes is large enough for git to give it one.
const (
	manyPacks = 20
	smallPack = 64 << 10
)

// repoDir is the repository that is pushed to.
func (f *faulty) repoDir() string { return filepath.Join(f.dir, "repos", f.app+".git") }

// packs gives the repository so many packs more, each with one object of so many
// bytes that no ref leads to. They are made elsewhere: the server sweeps what is
// not finished.
func (f *faulty) packs(n, size int) {
	f.Helper()
	scratch, err := os.MkdirTemp(f.root, "packs")
	f.must(err)
	defer os.RemoveAll(scratch) //nolint:errcheck // it goes with the test
	f.git("init", "-q", "--bare", scratch)
	file := filepath.Join(scratch, "blob")
	for range n {
		blob := make([]byte, size)
		_, _ = rand.Read(blob) // never fails
		f.must(os.WriteFile(file, blob, 0o600))
		// What is large for git, and does not come out of a pipe, gets a pack of its own.
		f.git("-c", "core.bigFileThreshold=1", "-c", "core.compression=0", "--git-dir", scratch, "hash-object", "-w", "--no-filters", file)
	}
	made := 0
	for _, ext := range []string{".pack", ".idx"} { // with its index a pack is there
		all, err := filepath.Glob(filepath.Join(scratch, "objects", "pack", "*"+ext))
		f.must(err)
		made += len(all)
		for _, path := range all {
			text, err := os.ReadFile(path)
			f.must(err)
			to := filepath.Join(f.repoDir(), "objects", "pack", filepath.Base(path))
			f.must(errors.Join(os.WriteFile(to+".part", text, 0o444), os.Rename(to+".part", to))) // some git may be looking
		}
	}
	if made != 2*n {
		f.Fatalf("git made %d files of %d packs", made, n)
	}
}

func (f *faulty) countPacks() int {
	f.Helper()
	all, err := filepath.Glob(filepath.Join(f.repoDir(), "objects", "pack", "*.pack"))
	f.must(err)
	return len(all)
}

// sound asserts that git finds nothing wrong with the repository, nor anything
// in it that is not a repository's.
func (f *faulty) sound() {
	f.Helper()
	if out := f.git("--git-dir", f.repoDir(), "fsck", "--full"); strings.Contains(out, "missing") {
		f.Errorf("git fsck: %s", out)
	}
	if out := f.git("--git-dir", f.repoDir(), "count-objects", "-v"); !strings.Contains(out, "garbage: 0") {
		f.Errorf("git count-objects: %s", out)
	}
}

// TestRepack lets two people push small commits to two environments of one app,
// each of which brings a pack, until there are many: they become few while the
// pushes go on, and nothing is lost, not even what a forced push has left
// behind.
func TestRepack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server and pushes to it")
	}
	t.Parallel()
	f := newFaulty(t, faultBinary(t))
	f.again()
	before := f.commit("Overwritten")
	f.again()
	f.git("reset", "-q", "--hard", "HEAD~1")
	f.commit("Instead")
	if ok, out := f.push("--force"); !ok {
		t.Fatalf("a forced push:\n%s", out)
	}
	other := f.of("shop", "staging")
	other.repo = filepath.Join(f.root, "other")
	f.git("clone", "-q", f.repo, other.repo)
	for i := range manyPacks {
		f.commit(fmt.Sprintf("To dev %d", i))
		other.commit(fmt.Sprintf("To staging %d", i))
		toDev, dev := f.startPush()
		toStaging, staging := other.startPush()
		if errDev, errStaging := toDev.Wait(), toStaging.Wait(); errDev != nil || errStaging != nil {
			t.Fatalf("push %d: %v, %v\n%s\n%s", i, errDev, errStaging, dev, staging)
		}
	}
	f.await(func() bool { return f.countPacks() <= manyPacks })
	log, err := os.ReadFile(f.log.Name())
	f.must(err)
	if n := strings.Count(string(log), "a repository is repacked"); n == 0 || n > 3 {
		t.Errorf("%d pushes led to %d repacks", 2*manyPacks, n)
	}
	f.check(f.git("rev-parse", "HEAD"))
	other.agree(other.git("rev-parse", "HEAD"), other.releases())
	f.sound()
	f.git("--git-dir", f.repoDir(), "cat-file", "-e", before)
	f.git("clone", "-q", "ssh://deploy@127.0.0.1:"+f.port+"/shop/dev", filepath.Join(f.root, "clone"))
}

// TestRepackKilled kills the server in the middle of a repack: the git that it
// has started ends with it, and after the next start nothing is left of the
// attempt. A backup and the end of the app do not wait for one either.
func TestRepackKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server and pushes to it")
	}
	t.Parallel()
	f := newFaulty(t, faultBinary(t))
	f.again()
	f.packs(manyPacks+4, 3<<20)
	begun := func() {
		t.Helper()
		f.commit("On top")
		f.again()
		f.await(func() bool { return len(f.processes(f.dir, "git pack-objects")) > 0 })
	}
	begun()
	f.kill()
	f.await(func() bool { return len(f.processes(f.dir, "")) == 0 })
	f.start()
	f.check(f.git("rev-parse", "HEAD"))
	f.sound()

	begun()
	f.must(f.server.Process.Signal(syscall.SIGTERM))
	f.gone()
	f.checkLeft()
	f.start()

	begun()
	backup, other := filepath.Join(f.root, "backup"), filepath.Join(f.root, "other")
	f.say("backup", backup)
	f.check(f.git("rev-parse", "HEAD"))
	f.sound()
	f.say("restore", backup, "--home", other)
	restored := f.of("shop", "dev")
	restored.dir = other
	restored.sound()
	if ref := restored.ref(); ref != f.ref() {
		t.Errorf("the backup has %.7s, and %.7s is deployed", ref, f.ref())
	}

	begun()
	f.say("app", "destroy", "shop", "--yes")
	f.check("")
	f.again()
	f.sound()
	if n := f.countPacks(); n != 1 {
		t.Errorf("an app of the same name begins with %d packs", n)
	}
	if log, err := os.ReadFile(f.log.Name()); err != nil || strings.Contains(string(log), "repacked") {
		t.Errorf("a repack was not cut off: %v\n%s", err, log)
	}
}

// TestTornPacks has a git die between the files of a pack: as it put one in its
// place, and as it took one away.
func TestTornPacks(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server and pushes to it")
	}
	t.Parallel()
	f := newFaulty(t, faultBinary(t))
	f.again()
	f.packs(1, smallPack)
	f.kill()
	pack := filepath.Join(f.repoDir(), "objects", "pack")
	all, err := filepath.Glob(filepath.Join(pack, "*.idx"))
	f.must(err)
	for _, index := range all {
		f.must(os.Remove(index))
	}
	f.must(os.WriteFile(filepath.Join(pack, "pack-"+strings.Repeat("1", 40)+".idx"), nil, 0o400))
	f.must(os.WriteFile(filepath.Join(pack, ".tmp-1-pack-"+strings.Repeat("2", 40)+".pack"), nil, 0o400))
	f.start()
	f.check(f.git("rev-parse", "HEAD"))
	f.sound()
	if n := f.countPacks(); n != len(all) {
		t.Errorf("%d packs are left of %d", n, len(all))
	}
	f.commit("On top")
	f.again()
}
