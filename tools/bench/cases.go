package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// dataSet is an app at the source, with its submodules.
type dataSet struct{ app string }

// dataSet makes n.Modules submodules on three levels, the first of them big:
// every fourth of the top has two below it, the first of which has one more.
func (b *bench) dataSet(name string, n sizes) (*dataSet, error) {
	var failed error
	repo := func(kind string, i, files, commits int, below ...module) module {
		repo := fmt.Sprintf("%s-%s%d", name, kind, i)
		commit, err := b.repository(repo, func(w io.Writer) error { return history(w, files, commits, uint64(len(kind)*10_000+i), below) })
		if err != nil && failed == nil {
			failed = err
		}
		return module{path: kind, url: b.url(b.source.port, repo+".git"), commit: commit}
	}
	var top []module
	for i, left := 1, n.Modules; left > 0 && failed == nil; i, left = i+1, left-1 {
		files := 200
		if i == 1 {
			files = n.Big
		}
		var below []module
		if i%4 == 0 && left >= 4 {
			leaf := repo("leaf", i, 100, 20)
			below = []module{repo("one", i, 100, 20, leaf), repo("second", i, 100, 20)}
			left -= 3
		}
		lib := repo("lib", i, files, 20, below...)
		lib.path = fmt.Sprintf("vendor/lib%d", i)
		top = append(top, lib)
	}
	if failed != nil {
		return nil, failed
	}
	app := repo("super", 0, n.Files, n.Commits, top...)
	return &dataSet{app: app.url}, failed
}

// peer is a way of others to deploy: HERE is its directory.
type peer struct{ name, setUp, push string }

var peers = []peer{
	{"dokku", dokkuSetUp, dokkuPush},
	{"piku", pikuSetUp, pikuPush},
	{"floor", floorSetUp, floorPush},
}

// round is one app's life: a first push, then small changes, by everybody.
func (b *bench) round(set *dataSet, round int) error {
	name := fmt.Sprintf("round%d", round)
	here := func(elem ...string) string { return b.path(append([]string{name}, elem...)...) }
	if err := os.Mkdir(here(), 0o711); err != nil {
		return err
	}
	link, err := b.wire(b.host.port, 0)
	if err != nil {
		return err
	}
	s, err := b.serve(name, b.source.port, link.port())
	if err != nil {
		return err
	}
	clone, plain := here("clone"), here("plain")

	if err := b.cold(s, "cold", set.app, clone); err != nil {
		return err
	}
	if err := b.sh("plain tree", `cp -a "$CLONE" "$PLAIN"; find "$PLAIN" -name .git -prune -exec rm -rf {} +`, "CLONE="+clone, "PLAIN="+plain); err != nil {
		return err
	}
	vars := func(who, to string) []string {
		return []string{"CLONE=" + clone, "PLAIN=" + plain, "URL=" + set.app, "HERE=" + here(who), "TO=" + here(who, to)}
	}
	for _, p := range peers {
		if err := os.Mkdir(here(p.name), 0o755); err != nil {
			return err
		}
		if err := b.sh(p.name, p.setUp, vars(p.name, "")...); err != nil {
			return err
		}
	}
	if err := os.Mkdir(here("copy"), 0o755); err != nil {
		return err
	}
	deploys := 1
	ours := func(what, who string) error {
		deploys++
		return b.took(what, who, func() error { return s.deploy(clone, "shop/dev") })
	}
	theirs := func(what string) error {
		for _, p := range peers {
			if what == "one submodule" && p.name == "floor" {
				continue // it is that of one file
			}
			if err := b.took(what, p.name, func() error { return b.sh(p.name, p.push, vars(p.name, what)...) }); err != nil {
				return err
			}
		}
		return nil
	}

	for _, step := range []struct{ what, change string }{
		{"one file", `echo changed >>"$CLONE/d00/e00/f00000.txt"; git -C "$CLONE" commit -qam "One file"`},
		{"one submodule", `
cd "$CLONE/vendor/lib2"
echo changed >>d00/e00/f00000.txt
git commit -qam "One file of a library"
git push -q origin HEAD:refs/heads/` + name + `
git -C "$CLONE" commit -qam "One submodule"`},
	} {
		if err := b.sh(step.what, step.change, vars("", "")...); err != nil {
			return err
		}
		if err := s.settled("shop/dev", deploys); err != nil {
			return err
		}
		if err := ours(step.what, slip); err != nil {
			return err
		}
		if step.what == "one file" {
			if err := b.sh("change", `git -C "$CLONE" revert -n HEAD; git -C "$CLONE" commit -qm Back`, vars("", "")...); err != nil {
				return err
			}
			if err := ours(step.what, "at once after another"); err != nil {
				return err
			}
		}
		if err := theirs(step.what); err != nil {
			return err
		}
	}

	if err := b.sh("message", `git -C "$CLONE" commit -q --allow-empty -m "A message"`, vars("", "")...); err != nil {
		return err
	}
	if err := s.settled("shop/dev", deploys); err != nil {
		return err
	}
	if err := ours("message", slip); err != nil {
		return err
	}
	if err := b.steps(s, "message", "shop/dev", "tree"); err != nil {
		return err
	}
	if err := b.took("message", "cp -a", func() error { return b.sh("cp", copyTree, vars("copy", "tree")...) }); err != nil {
		return err
	}
	if err := b.toHost(s, link, clone, plain, here("rsync")); err != nil {
		return err
	}
	return s.stop()
}

// cold is a first push with an empty cache, beside a clone; vars are git's
// variables of the clone. The developer's own clone comes first and is not
// measured, so that everybody finds the source's files in memory.
func (b *bench) cold(s *slipway, what, url, clone string, vars ...string) error {
	if err := b.sh("clone", cloneAnew, "URL="+url, "TO="+clone); err != nil {
		return err
	}
	vars = append(vars, "URL="+url, "TO="+clone+"-anew")
	if err := b.took(what, "clone", func() error { return b.sh("clone", cloneAnew, vars...) }); err != nil {
		return err
	}
	before, err := b.source.logins()
	if err != nil {
		return err
	}
	if err := b.took(what, slip, func() error { return s.deploy(clone, "shop/dev") }); err != nil {
		return err
	}
	after, err := b.source.logins()
	if err != nil {
		return err
	}
	b.add(what, "logins of Slipway", "", float64(after-before))
	return b.steps(s, what, "shop/dev", "plan", "tree")
}

// steps adds what the newest release says of how long its steps took.
func (b *bench) steps(s *slipway, what, appEnv string, names ...string) error {
	steps, err := s.steps(appEnv)
	for _, name := range names {
		b.add(what, name+" step of Slipway", "s", steps[name])
	}
	return err
}

// far is a first push, and a clone, where the source is 10 ms away.
func (b *bench) far(set *dataSet, round int) error {
	link, err := b.wire(b.source.port, 10*time.Millisecond)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("far%d", round)
	s, err := b.serve(name, link.port(), b.host.port)
	if err != nil {
		return err
	}
	near, away := b.url(b.source.port, ""), b.url(link.port(), "")
	err = b.cold(s, "cold far", set.app, b.path(name, "clone"),
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url."+away+".insteadOf", "GIT_CONFIG_VALUE_0="+near)
	return errors.Join(err, s.stop())
}

// toHost deploys to a host over SSH, and brings the same trees there by other
// ways; all over the one link that counts.
func (b *bench) toHost(s *slipway, link *wire, clone, plain, there string) error {
	rsh := fmt.Sprintf("%s -p %d", b.ssh, link.port())
	vars := func(to, last string) []string {
		return []string{"PLAIN=" + plain, "RSH=" + rsh, "AT=" + b.login + "@127.0.0.1", "HERE=" + there, "TO=" + filepath.Join(there, to), "LAST=" + filepath.Join(there, last)}
	}
	if err := os.Mkdir(there, 0o755); err != nil {
		return err
	}
	counted := func(what, who string, do func() error) error {
		before := link.bytes.Load()
		if err := b.took(what, who, do); err != nil {
			return err
		}
		b.add(what, "bytes of "+who, "B", float64(link.bytes.Load()-before))
		return nil
	}
	for _, step := range []struct{ what, last, release string }{
		{"host first", "none", "first"},
		{"host line", "first", "second"},
	} {
		since := time.Now()
		if err := counted(step.what, slip, func() error { return s.deploy(clone, "store/prod") }); err != nil {
			return err
		}
		steps, err := s.steps("store/prod")
		if err != nil {
			return err
		}
		b.add(step.what, "tree and build of Slipway", "s", steps["tree"]+steps["build"])
		for _, way := range []struct{ who, script, to string }{
			{"rsync", rsyncInPlace, ""},
			{"rsync --link-dest", rsyncRelease, step.release},
			{"tar", tarRelease, "tar-" + step.release},
		} {
			if err := counted(step.what, way.who, func() error { return b.sh(way.who, way.script, vars(way.to, step.last)...) }); err != nil {
				return err
			}
		}
		if step.what == "host line" {
			return nil
		}
		err = b.sh("change", `echo line >>"$CLONE/d00/e00/f00000.txt"; git -C "$CLONE" commit -qam "One line"; cp "$CLONE/d00/e00/f00000.txt" "$PLAIN/d00/e00/"`, "CLONE="+clone, "PLAIN="+plain)
		if err != nil {
			return err
		}
		if err := s.settledHost("store/prod", since); err != nil {
			return err
		}
	}
	return nil
}
