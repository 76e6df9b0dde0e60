package main

import (
	"fmt"
	"io"
	"sync"
)

// small makes a clone of a new app without submodules.
func (b *bench) small(name string, stream func(io.Writer) error) (clone string, err error) {
	if _, err := b.repository(name, stream); err != nil {
		return "", err
	}
	clone = b.path(name + "-clone")
	_, err = b.git(b.dir, "clone", "-q", b.path("source", name+".git"), clone)
	return clone, err
}

// bare makes an empty repository at the source.
func (b *bench) bare(name string) (url string, err error) {
	_, err = b.git(b.dir, "init", "-q", "--bare", b.path("source", name+".git"))
	return b.url(b.source.port, name+".git"), err
}

func (b *bench) push(clone, url string) error {
	_, err := b.git(clone, "push", "-q", url, "HEAD:main")
	return err
}

// stand is one server with a developer's clone of a new app, and beside it a
// repository that sshd and git serve without any hook.
type stand struct {
	*slipway
	clone, beside string
}

func (b *bench) stand(kind string, round int, stream func(io.Writer) error) (st stand, err error) {
	name := fmt.Sprintf("%s%d", kind, round)
	if st.clone, err = b.small(name, stream); err != nil {
		return st, err
	}
	if st.slipway, err = b.serve(name, b.source.port, b.host.port); err != nil {
		return st, err
	}
	st.beside, err = b.bare(name + "-beside")
	return st, err
}

// largePack is a push of much data.
func (b *bench) largePack(round int) error {
	s, err := b.stand("pack", round, func(w io.Writer) error { return noise(w, int64(b.n.Pack)<<20, uint64(round)) })
	if err != nil {
		return err
	}
	if err := s.forget(); err != nil {
		return err
	}
	before, err := s.memory("VmRSS")
	if err != nil {
		return err
	}
	if err := b.took("pack", slip, func() error { return s.deploy(s.clone, "shop/dev") }); err != nil {
		return err
	}
	peak, err := s.memory("VmHWM")
	if err != nil {
		return err
	}
	b.add("pack", "memory of Slipway", "B", float64(peak-before))
	if err := b.took("pack", "sshd", func() error { return b.push(s.clone, s.beside) }); err != nil {
		return err
	}
	return s.stop()
}

// smallPushes are of an app of one file: what a push costs by itself. What git
// and SSH cost is measured beside: the same push to a path, and a command over
// SSH that does nothing.
func (b *bench) smallPushes(round int) error {
	s, err := b.stand("small", round, func(w io.Writer) error { return history(w, 1, 1, uint64(round), nil) })
	if err != nil {
		return err
	}
	bare := s.home + ".bare"
	if _, err := b.git(b.dir, "init", "-q", "--bare", bare); err != nil {
		return err
	}
	ways := []struct {
		who string
		do  func() error
	}{
		{slip, func() error { return s.deploy(s.clone, "shop/dev") }},
		{"sshd", func() error { return b.push(s.clone, s.beside) }},
		{"to a path", func() error { return b.push(s.clone, bare) }},
		{"a command over SSH", func() error { return s.command("version") }},
	}
	for i := range 11 {
		if _, err := b.git(s.clone, "commit", "-q", "--allow-empty", "-m", "A message"); err != nil {
			return err
		}
		for _, way := range ways {
			if i == 0 { // the first makes the app and its database
				err = way.do()
			} else {
				err = b.took("small", way.who, way.do)
			}
			if err != nil {
				return err
			}
		}
		if i == 0 {
			continue
		}
		steps, err := s.steps("shop/dev")
		if err != nil {
			return err
		}
		b.add("small", "steps of Slipway", "s", steps["plan"]+steps["tree"]+steps["build"]+steps["switch"])
		last := func(who string) float64 { v := b.of("small", who).Values; return v[len(v)-1] }
		b.add("small", "overhead of Slipway", "s", last(slip)-last("steps of Slipway")-last("to a path")-last("a command over SSH"))
	}
	return s.stop()
}

// manyAtOnce are pushes to many environments, in turn and at once.
func (b *bench) manyAtOnce(round int) error {
	s, err := b.stand("many", round, func(w io.Writer) error { return history(w, 200, 20, uint64(round), nil) })
	if err != nil {
		return err
	}
	inTurn := func() error {
		for i := range b.n.Environments {
			if err := s.deploy(s.clone, fmt.Sprintf("app%d/dev", i)); err != nil {
				return err
			}
		}
		return nil
	}
	atOnce := func() error {
		failures := make([]error, b.n.Environments)
		var all sync.WaitGroup
		for i := range failures {
			all.Go(func() { failures[i] = s.deploy(s.clone, fmt.Sprintf("app%d/dev", i)) })
		}
		all.Wait()
		for _, err := range failures {
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := inTurn(); err != nil { // the apps are made
		return err
	}
	for deploys, way := range []struct {
		who string
		do  func() error
	}{{"in turn", inTurn}, {"at once", atOnce}} {
		change := `echo changed >>"$CLONE/d00/e00/f00000.txt"; git -C "$CLONE" commit -qam "One file"`
		if err := b.sh("change", change, "CLONE="+s.clone); err != nil {
			return err
		}
		for i := range b.n.Environments {
			if err := s.settled(fmt.Sprintf("app%d/dev", i), deploys+1); err != nil {
				return err
			}
		}
		if err := b.took("many", way.who, way.do); err != nil {
			return err
		}
	}
	return s.stop()
}
