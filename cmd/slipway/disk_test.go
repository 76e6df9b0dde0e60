package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway/store/fault"
)

const fullTOML = `[ssh]
listen = "127.0.0.1:0"
[limits]
drain = "1s"
[[sources]]
url = "ssh://%s@127.0.0.1:%d%s/"
identity = "keys/source"
known_hosts = "known_hosts"
[environments.dev]
target = "local"
root = %q
keep = 2
`

// fullDisks is a server whose DIR and whose root are small disks.
type fullDisks struct {
	*faulty
	home, roots smallDisk
}

// TestFullDisk lets disks run full at every step of a push. The error says
// which file system that is; nothing is left of the attempt, the old release is
// live, and when there is room again the same push succeeds.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers on small file systems")
	}
	disks := onSmallDisks(t, "size=64m,nr_inodes=1000", "size=96m,nr_inodes=700")
	if disks == nil {
		return // it ran in the other process
	}
	bin := faultBinary(t)
	root := t.TempDir()
	src := startSource(t)
	dir, apps, repos := filepath.Join(disks[0], "dir"), filepath.Join(disks[1], "apps"), filepath.Join(root, "source")
	toml := fmt.Sprintf(fullTOML, src.user, src.port, repos, apps)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "keys"), 0o700))
	must(os.Chmod(dir, 0o711))
	key, err := os.ReadFile(filepath.Join(src.dir, "client"))
	must(err)
	must(os.WriteFile(filepath.Join(dir, "keys", "source"), key, 0o600))
	must(os.WriteFile(filepath.Join(dir, "known_hosts"), fmt.Appendf(nil, "[127.0.0.1]:%d %s\n", src.port, src.hostKey), 0o600))
	f := fullDisks{newFaultyIn(t, bin, root, dir, toml), smallDisk{t, disks[0]}, smallDisk{t, disks[1]}}
	f.apps = apps
	for range 3 {
		f.commit("Before")
		f.again()
	}
	f.quiet()

	t.Log("the pack")
	f.add("assets", 6<<20)
	f.home.fill(3 << 20)
	f.refused(f.home, "the push needs at least ", " are free")
	f.home.fillFiles(2)
	f.refused(f.home)
	f.room()

	t.Log("a submodule")
	module := filepath.Join(repos, "lib.git")
	f.submodule(module, fmt.Sprintf("ssh://%s@127.0.0.1:%d%s", src.user, src.port, module), 5<<20)
	f.home.fill(2 << 20)
	f.refused(f.home, "lib.git needs at least ")
	f.room()

	t.Log("the tree")
	f.add("more", 4<<20)
	f.roots.fill(2 << 20)
	f.refused(f.roots, "the tree needs ", " are free")
	f.room()
	for i := range 40 {
		must(os.WriteFile(filepath.Join(f.repo, fmt.Sprintf("many-%d", i)), nil, 0o644))
	}
	f.git("add", ".")
	f.commit("Many")
	f.roots.fillFiles(20)
	f.refused(f.roots, "the tree needs ", "files, it can take ")
	f.room()

	t.Log("postinstall")
	f.build("dd if=/dev/zero of=fat bs=64k 2>&1")
	f.refused(f.roots, "postinstall exited 1: ", " is still live")
	f.build("while : > file-$((n += 1)); do :; done")
	f.refused(f.roots, "postinstall exited ", "it can take no more files")
	f.build("true")
	f.room()

	t.Log("the build log")
	f.build("seq 50000")
	f.at("host.build", func() { f.home.fill(64 << 10) })
	f.refused(f.home, "write the build log: ") // that it failed is written when there is room
	if r := f.releases()[0]; r.State != "failed" {
		t.Errorf("the release is %s", r.State)
	}
	f.build("true")
	f.room()

	t.Log("a repack, which is let be")
	f.packs(manyPacks+1, 256<<10)
	f.home.fill(3 << 20)
	f.commit("Many packs")
	f.again()
	f.await(func() bool {
		log, err := os.ReadFile(f.log.Name())
		f.must(err)
		return strings.Contains(string(log), "the file system "+f.home.dir+" is full: a repack needs ")
	})
	f.room()

	// Both disks at once, to the last byte or file, at places all along the way.
	places := []string{"release.number", "journal.begin", "tree.keep", "refs.prepare", "switch.begun", "switch.told", "record.live"}
	if os.Getenv("SLIPWAY_SOAK") != "" {
		places = nil
		for _, p := range fault.Points() {
			if p.Before == "" && !p.Start && !p.Packs && p.Name != "post.start" {
				places = append(places, p.Name)
			}
		}
	}
	for i, place := range places {
		f.full(place, i%2 == 0)
		if os.Getenv("SLIPWAY_SOAK") != "" {
			f.full(place, i%2 != 0)
		}
	}
}

// full fills everything when a push has come to a place, with files or with
// bytes.
func (f fullDisks) full(place string, files bool) {
	f.Helper()
	f.quiet()
	before := f.live()
	commit := f.commit("Full at " + place)
	filled := f.at(place, func() {
		for _, d := range []smallDisk{f.home, f.roots} {
			if files {
				d.fillFiles(0)
			} else {
				d.fill(0)
			}
		}
	})
	ok, out := f.push()
	<-filled // what comes after the commit may come after the answer
	f.hit()
	f.home.free()
	f.roots.free()
	if ok {
		f.again()
		f.check(commit)
		return
	}
	if !strings.Contains(flat(out), "the file system "+f.home.dir+" is full") && !strings.Contains(flat(out), "the file system "+f.roots.dir+" is full") {
		f.Errorf("%s: the error does not say which disk is full", place)
	}
	if !strings.Contains(out, "hint: ") {
		f.Errorf("%s: no hint", place)
	}
	if to, err := os.Readlink(filepath.Join(f.apps, f.app, "current")); err != nil || to != fmt.Sprintf("releases/%d", before.Number) {
		f.Errorf("%s: current leads to %q, %v; before release %d was live", place, to, err, before.Number)
	}
	f.again()
	f.settled()
	f.check(commit)
	if f.Failed() {
		f.Fatalf("full at %s:\n%s", place, out)
	}
}

// settled waits until the server has written down how everything ended, which
// it could not while there was no room.
func (f fullDisks) settled() {
	f.Helper()
	f.await(func() bool {
		return !slices.ContainsFunc(f.releases(), func(r row) bool { return r.State == "building" })
	})
}

// at does something when the next push has come to a place.
func (f fullDisks) at(place string, do func()) (done chan struct{}) {
	f.Helper()
	held := filepath.Join(f.root, "held")
	f.set(place + ":pause=" + held)
	done = make(chan struct{})
	f.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		f.await(func() bool { _, err := os.Stat(held); return err == nil })
		do()
		if err := os.Remove(held); err != nil {
			f.Error(err)
		}
	}()
	return done
}

// refused pushes, and asserts that it is for want of room on d, and that
// nothing is left of it.
func (f fullDisks) refused(d smallDisk, words ...string) {
	f.Helper()
	f.quiet()
	before := f.live()
	ok, out := f.push()
	f.hit()
	text := flat(out)
	if ok {
		f.Errorf("the push is accepted:\n%s", out)
	}
	for _, word := range append(words, "the file system "+d.dir+" is full: ", "error: ", "hint: an admin makes room there") {
		if !strings.Contains(text, word) {
			f.Errorf("the push does not say %q:\n%s", word, out)
		}
	}
	d.free()
	f.check(before.Commit)
	if left, _ := filepath.Glob(filepath.Join(f.dir, "repos", "*", "objects", "tmp_objdir-*")); len(left) > 0 {
		f.Errorf("quarantines are left: %v", left)
	}
	if f.Failed() {
		f.FailNow()
	}
}

// room is what comes after: the same push succeeds.
func (f fullDisks) room() {
	f.Helper()
	f.home.free()
	f.roots.free()
	f.again()
	f.check(f.git("rev-parse", "HEAD"))
}

// add commits a file that nothing compresses.
func (f fullDisks) add(name string, size int) {
	f.Helper()
	f.random(filepath.Join(f.repo, name), size)
	f.git("add", name)
	f.commit("Add " + name)
}

func (f fullDisks) random(path string, size int) {
	f.Helper()
	b := make([]byte, size)
	_, err := rand.Read(b)
	f.must(errors.Join(err, os.WriteFile(path, b, 0o644)))
}

// build commits another postinstall.
func (f fullDisks) build(line string) {
	f.Helper()
	f.must(os.WriteFile(filepath.Join(f.repo, "postinstall"), []byte("#!/bin/sh\n"+line+"\n"), 0o755))
	f.git("add", "postinstall")
	f.commit("Build: " + line)
}

// submodule commits a submodule with one file.
func (f fullDisks) submodule(bare, url string, size int) {
	f.Helper()
	work := bare + ".work"
	f.run("git", "init", "-q", "-b", "main", work)
	f.random(filepath.Join(work, "blob"), size)
	f.run("git", "-C", work, "add", ".")
	f.run("git", "-C", work, "commit", "-qm", "Lib")
	f.run("git", "clone", "-q", "--bare", work, bare)
	commit := f.run("git", "-C", work, "rev-parse", "HEAD")
	f.must(os.WriteFile(filepath.Join(f.repo, ".gitmodules"), fmt.Appendf(nil, "[submodule \"lib\"]\n\tpath = lib\n\turl = %s\n", url), 0o644))
	f.git("add", ".gitmodules")
	f.git("update-index", "--add", "--cacheinfo", "160000,"+commit+",lib")
	f.commit("Submodule")
}

// flat is what a pusher sees, with folded lines put together.
func flat(out string) string {
	var words []string
	for line := range strings.Lines(out) {
		words = append(words, strings.Fields(strings.TrimPrefix(line, "remote:"))...)
	}
	return strings.Join(words, " ")
}
