package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"slipway/builder"
	"slipway/config"
	"slipway/store/disk"
	"slipway/store/fault"
)

// Stage builds a release in its place, or makes it a link to another's build.
// All of it is on disk when it returns.
func (h *Host) Stage(ctx context.Context, s builder.Stage, out io.Writer) error {
	p := h.at(s.AppEnv)
	if err := h.prepare(p); err != nil {
		return h.explainSpace(err)
	}
	o, err := h.account(ctx, s.AppEnv)
	if err != nil {
		return err
	}
	if err := h.furnish(p, s, o); err != nil {
		return h.explainSpace(fmt.Errorf("furnish release %d: %w", s.Number, err))
	}
	if err := fault.Hit("host.furnish"); err != nil {
		return err
	}
	if s.Build == s.Number {
		if err := h.build(ctx, p, s, out); err != nil {
			return err
		}
	}
	if err := fault.Hit("host.sync"); err != nil {
		return err
	}
	return h.explainSpace(syncFS(p.releases()))
}

// explainSpace adds to an error of a file system that is full, or takes no
// writes, which one it is, and what is left there.
func (h *Host) explainSpace(err error) error {
	if config.Hint(err) != "" {
		return err // who wrote has said so already
	}
	return disk.Explain(err, h.o.Root)
}

// explainBuild says so of a command of the app that failed where nothing more
// can be written: all that it has itself is its exit status.
func (h *Host) explainBuild(err error) error {
	var exit *builder.ExitError
	if cause := disk.State(h.o.Root); errors.As(err, &exit) && cause != 0 {
		return disk.Write{Path: h.o.Root}.Refused(cause, err)
	}
	return h.explainSpace(err)
}

// furnish makes what a release has around its tree: the links into shared, the
// home, the services; and gives all of it to the account that it runs as.
func (h *Host) furnish(p place, s builder.Stage, o owner) error {
	for _, dir := range []string{p.shared(), p.cache()} {
		// The directory alone: what is in it has been the account's own
		// since it was made.
		if err := chownDir(dir, o); err != nil {
			return err
		}
	}
	if err := h.share(p, s, o); err != nil {
		return err
	}
	if s.Build != s.Number {
		if err := h.linkBuild(p, s); err != nil {
			return err
		}
		return h.linkHome(p, s, o)
	}
	if err := os.Chmod(p.release(s.Number), 0o755); err != nil {
		return err
	}
	if err := h.makeHome(p, s, o); err != nil {
		return err
	}
	if s.Given {
		return chownDir(p.release(s.Number), o) // share has given away what it made there
	}
	return chownAll(p.release(s.Number), o)
}

func chownDir(path string, o owner) error {
	if !o.set() {
		return nil
	}
	return os.Lchown(path, o.UID, o.GID)
}

// linkBuild makes a release a link to the one that built it.
func (h *Host) linkBuild(p place, s builder.Stage) error {
	info, err := os.Lstat(p.release(s.Build))
	if err == nil && !info.IsDir() {
		err = errors.New("it is no build itself")
	}
	if err != nil {
		return fmt.Errorf("the build of release %d: %w", s.Build, err)
	}
	if err := removeAll(p.release(s.Number)); err != nil {
		return err
	}
	return os.Symlink(strconv.Itoa(s.Build), p.release(s.Number))
}

func (h *Host) build(ctx context.Context, p place, s builder.Stage, out io.Writer) error {
	argv, err := postinstall(p, s)
	if err != nil || argv == nil {
		return err
	}
	b, err := h.box(ctx, s, argv)
	if err != nil {
		return h.explainSpace(err)
	}
	if !s.App.Build.Network && !b.layers.Network {
		return config.Errorf(config.Failed, "allow network namespaces on this machine, or set [build] network = true",
			"the app asks for a build without network, and this machine cannot cut one off")
	}
	b.network, b.out, b.err = s.App.Build.Network, out, out
	if err := fault.Hit("host.build"); err != nil {
		return err
	}
	if err := b.step(ctx, "postinstall", s.App.Build.Timeout); err != nil {
		return h.explainBuild(err)
	}
	if err := fault.Hit("host.built"); err != nil {
		return err
	}
	return p.emptyTemp(s.Number)
}

// postinstall is what builds the app, nil if nothing does.
func postinstall(p place, s builder.Stage) ([]string, error) {
	if line := s.App.Build.Postinstall; line != "" {
		return shell(line), nil
	}
	info, err := os.Lstat(filepath.Join(p.release(s.Number), "postinstall"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, nil
	}
	return []string{"./postinstall"}, nil
}
