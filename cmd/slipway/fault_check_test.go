package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the journal is looked at beside the server
)

// row is a release as the server lists it.
type row struct {
	Number               int
	Commit, State, Error string
}

func (f *faulty) releases() []row {
	f.Helper()
	out, err := f.command("releases", f.app+"/"+f.env, "--json").Output()
	if err != nil {
		return nil // it has none
	}
	var rows []row
	f.must(json.Unmarshal(out, &rows))
	return rows
}

// live is the release that the server says is live.
func (f *faulty) live() row { f.Helper(); return liveOf(f.releases()) }

func liveOf(rows []row) row {
	for _, r := range rows {
		if r.State == "live" {
			return r
		}
	}
	return row{}
}

// journal opens the database beside the server, to look at.
func (f *faulty) journal() *sql.DB {
	f.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.dir, "slipway.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	f.must(err)
	return db
}

// open counts the deploys that the journal has not done with.
func (f *faulty) open(ctx context.Context, journal *sql.DB) (n int) {
	f.Helper()
	f.must(journal.QueryRowContext(ctx, "SELECT count(*) FROM journal WHERE phase NOT IN ('done', 'ended')").Scan(&n))
	return n
}

// quiet waits until no deploy is open in the journal.
func (f *faulty) quiet() {
	f.Helper()
	db := f.journal()
	defer db.Close()
	ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for f.open(ctx, db) > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			f.Fatal("the journal has an open entry that nobody closes")
		}
	}
}

// ref is where the deployed branch is, "" if there is none.
func (f *faulty) ref() string {
	out, err := exec.Command("git", "--git-dir", filepath.Join(f.dir, "repos", f.app+".git"), "rev-parse", "--verify", "-q",
		"refs/namespaces/"+f.env+"/refs/heads/main").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// check asserts that ref, database and target agree on commit, or on nothing
// for "", and that nothing is left of what was tried.
func (f *faulty) check(commit string) {
	f.Helper()
	f.quiet()
	f.agree(commit, f.releases())
	f.checkLeft()
	f.checkProcesses()
}

// agree is check's part about one APP/ENV, whose releases are rows.
func (f *faulty) agree(commit string, rows []row) {
	f.Helper()
	live := liveOf(rows)
	if live.Commit != commit {
		f.Errorf("live is %.7s (release %d), not %.7s", live.Commit, live.Number, commit)
	}
	if at := f.ref(); at != commit {
		f.Errorf("the ref is at %.7s, not at %.7s", at, commit)
	}
	root := filepath.Join(f.dir, "apps", f.env, f.app)
	if f.apps != "" {
		root = filepath.Join(f.apps, f.app)
	}
	to, err := os.Readlink(filepath.Join(root, "current"))
	if n, _ := strconv.Atoi(strings.TrimPrefix(to, "releases/")); n != live.Number {
		f.Errorf("current leads to %q (%v), and release %d is live", to, err, live.Number)
	}
	if commit != "" {
		text, err := os.ReadFile(filepath.Join(root, "current", "restarted"))
		if strings.TrimSpace(string(text)) != strconv.Itoa(live.Number) {
			f.Errorf("the live release was not restarted: %q, %v", text, err)
		}
	}
	f.checkReleases(root, rows)
}

// checkReleases asserts that the target has what was live of an APP/ENV, and
// nothing else.
func (f *faulty) checkReleases(root string, rows []row) {
	f.Helper()
	kept := map[string]bool{}
	for _, r := range rows {
		switch r.State {
		case "live", "retired":
			kept[strconv.Itoa(r.Number)] = true
		case "building":
			f.Errorf("release %d is still building", r.Number)
		}
	}
	there, err := os.ReadDir(filepath.Join(root, "releases"))
	if err != nil && len(kept) > 0 {
		f.Error(err)
	}
	for _, e := range there {
		if n, _, _ := strings.Cut(e.Name(), "."); !kept[n] {
			f.Errorf("releases has %s, which was never live", e.Name())
		}
	}
	if len(kept) == 0 {
		var left []string
		// What a release that was live for a moment has put there is data.
		if shared, err := os.ReadDir(filepath.Join(root, "shared")); err != nil || len(shared) == 0 {
			left = append(left, root)
		}
		if elsewhere, err := filepath.Glob(filepath.Join(f.dir, "apps", "*", f.app, "current")); err != nil || len(elsewhere) == 0 {
			left = append(left, filepath.Join(f.dir, "repos", f.app+".git"))
		}
		for _, path := range left {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				f.Errorf("%s is left of an app that never was live", path)
			}
		}
	}
}

// checkLeft waits until DIR has no file that only work in progress has: git
// itself takes its quarantine away as it ends, which is after the journal's end.
func (f *faulty) checkLeft() {
	f.Helper()
	end := time.Now().Add(5 * time.Second)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		left := f.left()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			f.Errorf("left: %v", left)
			return
		}
		<-look.C
	}
}

// left lists the files of work in progress.
func (f *faulty) left() (left []string) {
	f.Helper()
	f.must(filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		name := e.Name()
		switch {
		case name == ".spare" && f.server != nil: // one may just be made
			return fs.SkipDir
		case e.Type().IsRegular() && strings.HasPrefix(path, filepath.Join(f.dir, "tmp")+"/"),
			strings.HasPrefix(name, "tmp_"), strings.HasPrefix(name, ".tmp-"), strings.HasSuffix(name, ".keep"), strings.HasSuffix(name, ".new"):
			left = append(left, path)
		case name == "slipway.lock", name == ".lock" && strings.HasPrefix(path, filepath.Join(f.dir, "apps")+"/"):
		case strings.HasSuffix(name, ".lock"):
			left = append(left, path)
		}
		return nil
	}))
	return left
}

// checkProcesses waits until the server is the only process of this DIR.
func (f *faulty) checkProcesses() {
	f.Helper()
	end := time.Now().Add(5 * time.Second)
	for {
		left := f.processes(f.dir, "")
		delete(left, f.server.Process.Pid)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			f.Errorf("processes are left: %v", left)
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

// processes lists those whose environment or arguments name dir, and whose
// arguments have the word.
func (f *faulty) processes(dir, word string) map[int]string {
	all := map[int]string{}
	entries, err := os.ReadDir("/proc")
	f.must(err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")) // it may be another's, or gone
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		words := strings.ReplaceAll(string(cmdline), "\x00", " ")
		if words != "" && strings.Contains(words, word) &&
			(strings.Contains(string(environ), "="+dir+"/") || strings.Contains(string(environ), "="+dir+"\x00") || strings.Contains(words, dir)) {
			all[pid] = words
		}
	}
	return all
}
