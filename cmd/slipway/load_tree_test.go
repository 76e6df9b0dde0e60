package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// largeTree is L8: an app of many files, most of them in submodules, of which
// one changes.
func (l *load) largeTree() {
	const modules = 10
	files := l.n(20_000, 2000) / modules
	size := 10 << 10
	repos := filepath.Join(l.root, "source")
	app := filepath.Join(l.root, "large")
	l.must(os.MkdirAll(app, 0o755))
	l.git("init", "-q", "-b", "main", app)
	bytes := rand.NewChaCha8([32]byte{})
	var gitmodules strings.Builder
	for i := range modules {
		repo := filepath.Join(repos, fmt.Sprintf("module%d", i))
		l.must(os.MkdirAll(repo, 0o755))
		l.git("init", "-q", "-b", "main", repo)
		data := make([]byte, size)
		for f := range files {
			if f%100 == 0 {
				l.must(os.MkdirAll(filepath.Join(repo, fmt.Sprint(f/100)), 0o755))
			}
			_, _ = bytes.Read(data) // never fails
			l.must(os.WriteFile(filepath.Join(repo, fmt.Sprint(f/100), fmt.Sprint(f)), data, 0o644))
		}
		l.git("-C", repo, "add", ".")
		l.git("-C", repo, "commit", "-qm", "Start")
		fmt.Fprintf(&gitmodules, "[submodule \"m%d\"]\n\tpath = m%d\n\turl = %s\n", i, i, l.source.url(repo))
		l.git("-C", app, "update-index", "--add", "--cacheinfo", "160000,"+l.git("-C", repo, "rev-parse", "HEAD")+fmt.Sprintf(",m%d", i))
	}
	l.must(os.WriteFile(filepath.Join(app, ".gitmodules"), []byte(gitmodules.String()), 0o644))
	l.must(os.WriteFile(filepath.Join(app, "restart"), []byte(faultyRestart), 0o755))
	l.must(os.WriteFile(filepath.Join(app, "slipway.toml"), []byte(faultyApp), 0o644))
	l.git("-C", app, "add", ".gitmodules", "restart", "slipway.toml")
	l.git("-C", app, "commit", "-qm", "Start")
	l.repo = app
	cold := l.push1("large/e0", "HEAD")
	l.figure("L8", fmt.Sprintf("%d files, %d MB, %d submodules: the first push", files*modules, files*modules*size/1e6, modules), cold.took.Seconds(), 60, "s")
	sessions := l.sessions()
	repo := filepath.Join(repos, "module3")
	l.must(os.WriteFile(filepath.Join(repo, "0", "0"), []byte("changed\n"), 0o644))
	l.git("-C", repo, "commit", "-qam", "Change")
	l.git("update-index", "--cacheinfo", "160000,"+l.git("-C", repo, "rev-parse", "HEAD")+",m3")
	l.git("commit", "-qm", "Change")
	warm := l.push1("large/e0", "HEAD")
	l.figure("L8", "  a push that changes one of them", warm.took.Seconds(), 15, "s")
	l.count("L8", "  sessions with the source", l.sessions()-sessions, 1)
	l.of("large", "e0").check(l.git("rev-parse", "HEAD"))
}

// sessions is how often somebody has asked the source for something.
func (l *load) sessions() int {
	l.Helper()
	text, err := os.ReadFile(filepath.Join(l.source.dir, "sessions"))
	l.must(err)
	return strings.Count(string(text), "\n")
}
