package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// person pushes from a clone of their own. Nothing in here may end the test, as
// it runs beside it.
type person struct {
	m       *model
	name    string
	rand    *rand.Rand
	repo    string
	options []string // of ssh
	made    int
	tried   []*attempt // in this round
}

// attempt is one push or command, and what came of it.
type attempt struct {
	who, what string
	place     place
	commit    string // "" for a command that brings none
	key       string // of a var that it sets
	epoch     int    // of the server that it began with
	cut       string // how the person ended it, "" if it ended by itself
	ok        bool
	out       string
}

func newPerson(m *model, i int, seed uint64, options []string) *person {
	p := &person{
		m: m, name: fmt.Sprintf("person %d", i), rand: rand.New(rand.NewPCG(seed, uint64(i+1))),
		repo: filepath.Join(m.root, "people", fmt.Sprint(i)), options: options,
	}
	m.must(os.MkdirAll(filepath.Dir(p.repo), 0o755))
	m.must(p.git("clone", "-q", m.repo, p.repo))
	return p
}

func (p *person) git(args ...string) error {
	_, err := p.gitSays(args...)
	return err
}

func (p *person) gitSays(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Env = p.m.outside(p.options...)
	if args[0] != "clone" {
		cmd.Dir = p.repo
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: git %v: %w\n%s", p.name, args, err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// act does a few things, one after the other.
func (p *person) act() {
	for range 1 + p.rand.IntN(2) {
		a := &attempt{who: p.name, place: p.m.places[p.rand.IntN(len(p.m.places))]}
		var err error
		if p.rand.IntN(10) < 6 {
			err = p.push(a)
		} else {
			err = p.order(a)
		}
		if err != nil {
			p.m.Errorf("%v", err)
			return
		}
		p.tried = append(p.tried, a)
	}
}

// push commits something and pushes it in one of many ways.
func (p *person) push(a *attempt) error {
	kinds := []string{"push", "push", "push", "push", "slow", "slow", "slow", "broken", "force", "stale", "dry-run", "branch", "tag", "tags"}
	a.what = kinds[p.rand.IntN(len(kinds))]
	url := p.url(a.place)
	if a.what != "stale" { // it may be the first push, or the server may be down
		if _, err := p.gitSays("fetch", "-q", "--no-tags", url, "main"); err == nil {
			if err := p.git("reset", "-q", "--hard", "FETCH_HEAD"); err != nil {
				return err
			}
		}
	}
	if err := p.change(a.what); err != nil {
		return err
	}
	var err error
	if a.commit, err = p.gitSays("rev-parse", "HEAD"); err != nil {
		return err
	}
	args := []string{"push"}
	ref := "main"
	switch a.what {
	case "force":
		args = append(args, "--force")
	case "dry-run":
		args = append(args, "-o", "dry-run")
	case "branch":
		ref = "other"
	case "tags":
		args = append(args, "--follow-tags")
	}
	tag := fmt.Sprintf("%s-%d", strings.ReplaceAll(p.name, " ", ""), p.made)
	if strings.HasPrefix(a.what, "tag") {
		if err := p.git("tag", "-a", "-m", "Tagged", tag); err != nil {
			return err
		}
	}
	url, a.epoch = p.where(a.place)
	args = append(args, url, "HEAD:refs/heads/"+ref)
	if a.what == "tag" {
		args[len(args)-1] = tag
	}
	return p.run(a, exec.Command("git", args...))
}

// change makes a commit, on another base if it is to be forced.
func (p *person) change(what string) error {
	p.made++
	text := fmt.Sprintf("%s %d %d\n", p.name, p.made, p.rand.Int())
	files := map[string]string{fmt.Sprintf("pages/%d", p.rand.IntN(5)): text}
	switch what {
	case "slow":
		files["slow"] = fmt.Sprintf("0.%d\n", 1+p.rand.IntN(6))
	case "broken":
		files["broken"] = text
	}
	if what == "force" {
		if err := p.git("reset", "-q", "--hard", "root"); err != nil {
			return err
		}
	}
	for _, name := range []string{"slow", "broken"} {
		if err := p.git("rm", "-q", "-f", "--ignore-unmatch", name); err != nil {
			return err
		}
	}
	for name, text := range files {
		path := filepath.Join(p.repo, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		if err := p.git("add", name); err != nil {
			return err
		}
	}
	lib := p.m.trees.lib[p.rand.IntN(len(p.m.trees.lib))]
	if err := p.git("update-index", "--cacheinfo", "160000,"+lib+",lib"); err != nil {
		return err
	}
	return p.git("commit", "-qm", strings.TrimSpace(text))
}

// order gives a command over SSH.
func (p *person) order(a *attempt) error {
	to := a.place.String()
	p.made++
	orders := [][]string{
		{"redeploy", to},
		{"rollback", to},
		{"vars", "set", to, ""},
		{"vars", "set", to, ""},
		{"cancel", to},
		{"promote", "shop/dev", "staging"},
		{"releases", to, "--json"},
		{"rollback", to, "--keep-vars"},
	}
	words := orders[p.rand.IntN(len(orders))]
	a.what = words[0]
	switch a.what {
	case "promote":
		a.place = place{"shop", "staging"}
	case "vars":
		a.key = strings.ToUpper(fmt.Sprintf("V_%s_%d", strings.ReplaceAll(p.name, " ", "_"), p.made))
		words[3] = a.key + "=" + fmt.Sprint(p.made)
	}
	var port string
	port, a.epoch = p.m.where()
	args := append(p.m.ssh()[1:], p.options...)
	args = append(args, "-p", port, "deploy@127.0.0.1")
	return p.run(a, exec.Command("ssh", append(args, words...)...))
}

func (m *model) where() (port string, epoch int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.port, m.epoch
}

func (p *person) where(to place) (url string, epoch int) {
	port, epoch := p.m.where()
	return "ssh://deploy@127.0.0.1:" + port + "/" + to.String(), epoch
}

func (p *person) url(to place) string {
	url, _ := p.where(to)
	return url
}

// run runs it, and loses patience at times: Ctrl-C, a kill, a machine that is
// put to sleep and never wakes.
func (p *person) run(a *attempt, cmd *exec.Cmd) error {
	out, err := os.CreateTemp(p.m.root, "said-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Dir, cmd.Env = p.repo, p.m.outside(p.options...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	signal := func(s syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, s) } // it may have ended
	var patience <-chan time.Time
	if p.rand.IntN(4) == 0 {
		patience = time.After(time.Duration(p.rand.IntN(700)) * time.Millisecond)
	}
	how := p.rand.IntN(3)
	select {
	case err = <-over:
	case <-patience:
		switch how {
		case 0:
			a.cut = "Ctrl-C"
			signal(syscall.SIGINT)
		case 1:
			a.cut = "kill"
			signal(syscall.SIGKILL)
		case 2:
			a.cut = "sleep"
			signal(syscall.SIGSTOP)
			<-time.After(time.Duration(p.rand.IntN(500)) * time.Millisecond)
			signal(syscall.SIGKILL)
		}
		err = <-over
	case <-time.After(2 * time.Minute):
		signal(syscall.SIGKILL)
		err = fmt.Errorf("it hangs: %w", <-over)
		p.m.Errorf("%s: %s %s hangs", p.name, a.what, a.place)
	}
	a.ok = err == nil
	text, err := os.ReadFile(out.Name())
	a.out = string(text)
	p.m.count(a.what)
	p.m.note("%s: %s %s %.7s%s: ok %v, cut %q\n%s", p.name, a.what, a.place, a.commit, a.key, a.ok, a.cut, a.out)
	return err
}
