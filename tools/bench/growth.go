package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// growth measures the first push, the second, and one of a commit's message, as
// one size grows and the others stay small. It grows a hundred times, or ten.
func (b *bench) growth(tenfold bool) error {
	small := sizes{Files: 1000, Commits: 20, Modules: 1, Big: 100, Environments: 1}
	for _, dimension := range []struct {
		name   string
		values []int
		set    func(n *sizes, value int)
	}{
		{"files", []int{1000, 10_000, 100_000}, func(n *sizes, v int) { n.Files = v }},
		{"submodules", []int{1, 10, 100}, func(n *sizes, v int) { n.Modules = v }},
		{"environments", []int{1, 10, 100}, func(n *sizes, v int) { n.Environments = v }},
	} {
		if tenfold {
			dimension.values = dimension.values[:2]
		}
		for _, value := range dimension.values {
			n := small
			dimension.set(&n, value)
			name := fmt.Sprintf("%s%d", dimension.name, value)
			if err := b.grown(name, fmt.Sprintf("%d %s", value, dimension.name), n); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func (b *bench) grown(name, what string, n sizes) error {
	set, err := b.dataSet(name, n)
	if err != nil {
		return err
	}
	s, err := b.serve(name, b.source.port, b.host.port)
	if err != nil {
		return err
	}
	if err := b.others(name, s, n.Environments-1); err != nil {
		return err
	}
	clone := b.path(name, "clone")
	if err := b.sh("clone", cloneAnew, "URL="+set.app, "TO="+clone); err != nil {
		return err
	}
	for deploys, push := range []struct{ who, change string }{
		{"first push", ""},
		{"one file", `echo changed >>"$CLONE/d00/e00/f00000.txt"; git -C "$CLONE" commit -qam "One file"`},
		{"message", `git -C "$CLONE" commit -q --allow-empty -m "A message"`},
	} {
		if err := b.sh("change", push.change, "CLONE="+clone); err != nil {
			return err
		}
		if err := s.settled("shop/dev", deploys); err != nil {
			return err
		}
		if err := b.took(what, push.who, func() error { return s.deploy(clone, "shop/dev") }); err != nil {
			return err
		}
	}
	return errors.Join(s.stop(), os.RemoveAll(b.path(name)))
}

// others makes so many environments beside, each with a release of one file.
func (b *bench) others(name string, s *slipway, n int) error {
	clone, err := b.small(name+"-other", func(w io.Writer) error { return history(w, 1, 1, 1, nil) })
	if err != nil {
		return err
	}
	for i := range n {
		if err := s.deploy(clone, fmt.Sprintf("other%d/dev", i)); err != nil {
			return err
		}
	}
	return nil
}
