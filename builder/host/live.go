package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"slipway/builder"
	"slipway/config"
	"slipway/store/disk"
	"slipway/store/fault"
)

// Activate switches current by one rename, and remembers the generation: an
// older one is refused from then on. It is on disk when it returns.
func (h *Host) Activate(_ context.Context, sw builder.Switch) error {
	return h.explainSpace(h.activate(sw))
}

func (h *Host) activate(sw builder.Switch) (err error) {
	p := h.at(sw.AppEnv)
	if _, err := os.Stat(p.app); errors.Is(err, fs.ErrNotExist) && sw.To == 0 {
		return nil
	}
	if err := fault.Hit("host.lock"); err != nil {
		return err
	}
	unlock, err := lockFile(p.lock())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := p.fence(sw.Generation); err != nil {
		return err
	}
	if err := fault.Hit("host.fenced"); err != nil {
		return err
	}
	live, err := p.live()
	if err != nil {
		return err
	}
	switch {
	case live == sw.To:
		return syncDir(p.app) // it may be that the one who switched did not come to it
	case live != 0 && live != sw.From: // where there is none at all, nothing can be lost
		return fmt.Errorf("release %d is live, neither %d nor %d: current was moved by hand", live, sw.From, sw.To)
	case sw.To == 0:
		return errors.Join(os.Remove(p.current()), syncDir(p.app))
	}
	if info, err := os.Stat(p.release(sw.To)); err != nil || !info.IsDir() {
		return errors.Join(fmt.Errorf("release %d is not there", sw.To), err)
	}
	temp, err := p.link(live, sw.To)
	if err != nil {
		return err
	}
	if err := fault.Hit("host.link"); err != nil {
		return err
	}
	if err := os.Rename(temp, p.current()); err != nil {
		return err
	}
	if err := fault.Hit("host.renamed"); err != nil {
		return err
	}
	return errors.Join(p.adopt(), syncDir(p.app))
}

// link makes the link that is to become current, and before that the one for
// going back, which is kept: that must not need room.
func (p place) link(live, to int) (temp string, err error) {
	leads := func(n int) string { return filepath.Join("releases", strconv.Itoa(n)) }
	if at, err := os.Readlink(p.back()); err == nil && at == leads(to) {
		return p.back(), nil
	}
	temp = p.current() + ".new"
	if err := removeAll(temp); err != nil {
		return "", err
	}
	if live != 0 {
		if err := os.Symlink(leads(live), temp); err != nil {
			return "", err
		}
		if err := os.Rename(temp, p.back()); err != nil {
			return "", err
		}
	}
	return temp, os.Symlink(leads(to), temp)
}

// adopt makes what stands in shared the app's data, which no release takes
// with it: now there is a live one that may use it.
func (p place) adopt() error {
	all, err := p.numbers()
	for _, n := range all {
		if gone := os.Remove(p.seeds(n)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// fence refuses a generation that is older than one that was obeyed, and
// remembers a newer one.
func (p place) fence(generation int64) error {
	known, err := p.readGeneration()
	switch {
	case err != nil:
		return err
	case generation < known:
		return fmt.Errorf("generation %d has been overtaken by %d", generation, known)
	case generation == known:
		return nil
	}
	// Always of one length, so that it can be written over.
	text := fmt.Appendf(nil, "%-20d\n", generation)
	err = renameio.WriteFile(p.generation(), text, 0o644)
	if known > 0 && disk.Cause(err) == unix.ENOSPC {
		return overwrite(p.generation(), text) // going back must not need room
	}
	return errors.Join(err, syncDir(p.app))
}

// overwrite writes over a file of the same length: the file system has the
// room for it already, and a disk writes so few bytes whole or not at all.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	return errors.Join(err, f.Sync(), f.Close())
}

func (p place) readGeneration() (int64, error) {
	text, err := os.ReadFile(p.generation())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", p.generation(), err)
	}
	return n, nil
}

// live is the number that current leads to, 0 if there is none.
func (p place) live() (int, error) {
	to, err := os.Readlink(p.current())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, ok := number(strings.TrimPrefix(to, "releases/"))
	if !ok {
		return 0, fmt.Errorf("%s leads to %q, which is no release", p.current(), to)
	}
	return n, nil
}

// number reads a release's number as Slipway writes it.
func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n > 0 && s == strconv.Itoa(n)
}

// Status says what is live.
func (h *Host) Status(_ context.Context, ae config.AppEnv) ([]builder.Status, error) {
	p := h.at(ae)
	n, err := p.live()
	if err != nil {
		return nil, err
	}
	g, err := p.readGeneration()
	return []builder.Status{{Live: n, Generation: g}}, err
}
