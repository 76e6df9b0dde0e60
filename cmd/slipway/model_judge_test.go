package main

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// reasons for which a push or command may be refused where nothing was made to
// fail.
var reasons = regexp.MustCompile(`fetch first|non-fast-forward|moved from|while you waited|` +
	`cancelled by|postinstall exited 7|dry run|dry-run|deploys main, not other|a tag alone deploys nothing|` +
	`nothing is deployed|no release|no good release|there is no app|nothing is being deployed|has nothing live`)

var liveAs = regexp.MustCompile(`Success: \S+ is live as release (\d+) \(`)

// judge holds what everybody was told against what is there.
func (m *model) judge(tried []*attempt) {
	all := map[place][]row{}
	for _, p := range m.places {
		all[p] = m.at(p)
	}
	m.checkLeft()
	for _, a := range tried {
		m.judgeOne(a, all[a.place])
	}
	for commit, p := range m.refuse {
		if i := slices.IndexFunc(all[p], func(r row) bool { return r.Commit == commit && wasLive(r) }); i >= 0 {
			m.Errorf("%.7s was refused by %s, and is its release %d, %s", commit, p, all[p][i].Number, all[p][i].State)
		}
	}
}

func wasLive(r row) bool { return r.State == "live" || r.State == "retired" }

// at checks one place, and returns its releases.
func (m *model) at(p place) []row {
	f := m.of(p.app, p.env)
	rows := f.releases()
	commit := f.ref()
	f.agree(commit, rows)
	newest := 0
	lives := 0
	for _, r := range rows {
		if wasLive(r) {
			newest = max(newest, r.Number)
		}
		if r.State == "live" {
			lives++
		}
	}
	if live := liveOf(rows).Number; live != newest || lives > 1 {
		m.Errorf("%s: %d releases are live, the newest of those that ever were is %d, and %d is live", p, lives, newest, live)
	}
	if newest < m.once[p] {
		m.Errorf("%s: release %d was live, and is forgotten", p, m.once[p])
	}
	m.once[p] = newest
	if commit == "" {
		return rows
	}
	current := filepath.Join(m.dir, "apps", p.env, p.app, "current")
	if diff := m.trees.differ(filepath.Join(m.dir, "repos", p.app+".git"), commit, current); diff != "" {
		m.Errorf("%s: the tree is not that of %.7s: %s", p, commit, diff)
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(current), "releases", strconv.Itoa(newest)+".home", "environment.json"))
	m.must(err)
	var vars map[string]string
	m.must(json.Unmarshal(text, &vars))
	for _, key := range m.vars[p] {
		if _, ok := vars[key]; ok {
			m.Errorf("%s: %s was refused, and is set", p, key)
		}
	}
	return rows
}

// judgeOne holds what one person was told against the releases of the place.
func (m *model) judgeOne(a *attempt, rows []row) {
	cut := a.cut != "" || a.epoch != m.epoch
	// Where the hook cannot answer any more, git says so, and knows no better.
	told := strings.Contains(a.out, "rejected] ") && !strings.Contains(a.out, "fail to run proc-receive hook")
	switch {
	case a.ok:
		m.count("told yes")
		m.judgeYes(a, rows)
	case (cut || m.loose) && !told:
		m.count("cut off")
	default:
		m.count("told no")
		if !cut && !m.loose && !reasons.MatchString(a.out) {
			m.Errorf("%s: %s %s is refused for no good reason:\n%s", a.who, a.what, a.place, a.out)
		}
		if a.commit != "" {
			m.refuse[a.commit] = a.place
		}
		if a.key != "" {
			m.vars[a.place] = append(m.vars[a.place], a.key)
		}
	}
}

func (m *model) judgeYes(a *attempt, rows []row) {
	switch a.what {
	case "dry-run", "branch", "tag", "broken":
		m.Errorf("%s: %s %s is accepted:\n%s", a.who, a.what, a.place, a.out)
		return
	case "cancel", "releases":
		return
	}
	said := liveAs.FindStringSubmatch(a.out)
	if said == nil && strings.Contains(a.out, "they take effect with the first deploy") {
		return
	}
	if said == nil {
		m.Errorf("%s: %s %s was accepted, and nothing says as what:\n%s", a.who, a.what, a.place, a.out)
		return
	}
	i := slices.IndexFunc(rows, func(r row) bool { return strconv.Itoa(r.Number) == said[1] })
	if i < 0 || !wasLive(rows[i]) || a.commit != "" && rows[i].Commit != a.commit {
		m.Errorf("%s: %s %s of %.7s was said to be live as release %s, and the releases are %v", a.who, a.what, a.place, a.commit, said[1], rows)
	}
}

// repeat pushes one of those again that were cut off, which must succeed: by
// force where somebody else was quicker.
func (m *model) repeat(tried []*attempt) {
	tried = slices.DeleteFunc(tried, func(a *attempt) bool {
		_, refused := m.refuse[a.commit]
		return a.ok || refused || a.commit == "" || !slices.Contains([]string{"push", "slow", "force", "stale"}, a.what)
	})
	if len(tried) == 0 {
		return
	}
	a := tried[m.rand.IntN(len(tried))]
	of := m.people[slices.IndexFunc(m.people, func(p *person) bool { return p.name == a.who })]
	push := []string{"push", of.url(a.place), a.commit + ":refs/heads/main"}
	out, err := of.gitSays(push...)
	if err != nil && (strings.Contains(out, "fetch first") || strings.Contains(out, "non-fast-forward")) {
		out, err = of.gitSays(append(push, "--force")...)
	}
	m.note("%s again, %.7s: %s", a.who, a.commit, out)
	if err != nil {
		m.Errorf("the same push again fails: %v", err)
		return
	}
	m.count("repeated")
	m.of(a.place.app, a.place.env).check(a.commit)
}

// trees knows what the tree of a commit has to be.
type trees struct {
	f     *faulty
	repos map[string]string // of submodules, by their path
	lib   []string          // the commits that the app may have at lib
}

// newTrees makes the source's repositories, and the app that begins it all with
// its first commit named root.
func newTrees(f *faulty, repos, url string) *trees {
	t := &trees{f: f, repos: map[string]string{"lib": filepath.Join(repos, "lib"), "lib/deep": filepath.Join(repos, "deep")}}
	in := func(dir string) func(args ...string) string {
		return func(args ...string) string { return f.git(append([]string{"-C", dir}, args...)...) }
	}
	f.must(os.MkdirAll(f.repo, 0o755))
	for _, dir := range []string{t.repos["lib"], t.repos["lib/deep"], f.repo} {
		f.must(os.MkdirAll(filepath.Join(dir, "dir"), 0o755))
		f.git("init", "-q", "-b", "main", dir)
		f.must(os.WriteFile(filepath.Join(dir, "dir", "program"), []byte("#!/bin/sh\n"+dir+"\n"), 0o755))
		f.must(os.Symlink("dir/program", filepath.Join(dir, "link")))
		in(dir)("add", ".")
	}
	module := func(dir, path, url, commit string) {
		text := fmt.Sprintf("[submodule %q]\n\tpath = %s\n\turl = %s\n", path, path, url)
		f.must(os.WriteFile(filepath.Join(dir, ".gitmodules"), []byte(text), 0o644))
		in(dir)("add", ".gitmodules")
		in(dir)("update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
	}
	deep, lib := t.repos["lib/deep"], t.repos["lib"]
	for i := range 4 {
		f.must(os.WriteFile(filepath.Join(deep, "version"), []byte(strconv.Itoa(i)), 0o644))
		in(deep)("add", "version")
		in(deep)("commit", "-qm", "Deep")
		f.must(os.WriteFile(filepath.Join(lib, "version"), []byte(strconv.Itoa(i)), 0o644))
		in(lib)("add", "version")
		module(lib, "deep", url+"/deep", in(deep)("rev-parse", "HEAD"))
		in(lib)("commit", "-qm", "Lib")
		t.lib = append(t.lib, in(lib)("rev-parse", "HEAD"))
	}
	for name, text := range map[string]string{
		"postinstall":  faultyBuild + "[ ! -e broken ] || exit 7\n[ ! -e slow ] || sleep \"$(cat slow)\"\n",
		"restart":      faultyRestart,
		"slipway.toml": faultyApp,
	} {
		f.must(os.WriteFile(filepath.Join(f.repo, name), []byte(text), 0o755))
	}
	f.git("add", ".")
	module(f.repo, "lib", url+"/lib", t.lib[0])
	f.git("commit", "-qm", "Start")
	f.git("tag", "root")
	return t
}

// differ says in what way the tree at dir is not that of the commit and of its
// submodules, "" if it is.
func (t *trees) differ(repo, commit, dir string) string {
	want := map[string]string{}
	t.list(repo, commit, "", want)
	got := map[string]string{}
	dir, err := filepath.EvalSymlinks(dir)
	t.f.must(err)
	t.f.must(filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || e.IsDir() || name == "restarted" {
			return err
		}
		got[name], err = blob(path, e)
		return err
	}))
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			return fmt.Sprintf("%s is %q, not %q", name, got[name], want[name])
		}
		delete(got, name)
	}
	if len(got) > 0 {
		return fmt.Sprintf("it has %v too", got)
	}
	return ""
}

// list adds mode and hash of every file of a commit.
func (t *trees) list(repo, commit, below string, all map[string]string) {
	out := t.f.git("-C", repo, "ls-tree", "-r", "-z", commit)
	for _, line := range strings.Split(strings.Trim(out, "\x00"), "\x00") {
		what, name, _ := strings.Cut(line, "\t")
		word := strings.Fields(what)
		if word[1] == "commit" {
			t.list(t.repos[below+name], word[2], below+name+"/", all)
			continue
		}
		all[below+name] = word[0] + " " + word[2]
	}
}

// blob is mode and hash of a file on disk, as git has them.
func blob(path string, e fs.DirEntry) (string, error) {
	if e.Type() == fs.ModeSymlink {
		to, err := os.Readlink(path)
		return "120000 " + hash([]byte(to)), err
	}
	info, err := e.Info()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	mode := "100644 "
	if info.Mode()&0o100 != 0 {
		mode = "100755 "
	}
	return mode + hash(text), err
}

func hash(text []byte) string {
	return fmt.Sprintf("%x", sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(text)), text...)))
}
