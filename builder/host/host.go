package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"slipway/builder"
	"slipway/config"
	"slipway/store/fault"
)

// Options wire a Host. Root is required; the zero value of the rest works.
type Options struct {
	Root   string   // absolute
	Index  int      // SLIPWAY_HOST
	Hidden []string // what code that was pushed must not see; Root itself always is
	Limits config.Limits
	User   string // account of builds, where we are root; "" takes UID

	// UID is the account of an APP/ENV's builds, asked where we are root and
	// User is "".
	UID func(context.Context, config.AppEnv) (int, error)
}

// Host is a release root on this machine. It keeps nothing in memory: several
// processes may use one root, and its methods may be called concurrently.
type Host struct{ o Options }

// New returns a Host; its root is made at the first use.
func New(o Options) *Host { return &Host{o} }

// place is where the things of one app are.
type place struct{ app string }

func (h *Host) at(ae config.AppEnv) place {
	return place{filepath.Join(h.o.Root, ae.App().String())}
}

func (p place) releases() string      { return filepath.Join(p.app, "releases") }
func (p place) release(n int) string  { return filepath.Join(p.releases(), strconv.Itoa(n)) }
func (p place) home(n int) string     { return p.release(n) + ".home" }
func (p place) manifest(n int) string { return p.release(n) + ".json" }
func (p place) seeds(n int) string    { return p.release(n) + ".seeds" }
func (p place) list(n int) string     { return filepath.Join(p.contents(), strconv.Itoa(n)+".list") }

func (p place) claim(n int) string { return filepath.Join(p.contents(), strconv.Itoa(n)+".claim") }
func (p place) contents() string   { return filepath.Join(p.app, "contents") }
func (p place) spare() string      { return filepath.Join(p.app, "spare") }
func (p place) spareList() string  { return p.spare() + ".list" }
func (p place) shared() string     { return filepath.Join(p.app, "shared") }
func (p place) cache() string      { return filepath.Join(p.app, "cache") }
func (p place) temps() string      { return filepath.Join(p.app, "tmp") }
func (p place) temp(n int) string  { return filepath.Join(p.temps(), strconv.Itoa(n)) }
func (p place) current() string    { return filepath.Join(p.app, "current") }
func (p place) back() string       { return filepath.Join(p.app, ".back") }
func (p place) generation() string { return filepath.Join(p.app, ".generation") }
func (p place) lock() string       { return filepath.Join(p.app, ".lock") }

// prepare makes the directories of an app.
func (h *Host) prepare(p place) error {
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{h.o.Root, 0o755},
		{p.app, 0o755},
		{p.releases(), 0o755},
		{p.temps(), 0o755},
		{p.shared(), 0o755},
		{p.cache(), 0o700},
	} {
		if err := makeDir(d.path, d.mode); err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return config.Errorf(config.Failed, "let the login that releases are made by write to "+h.o.Root, "%w", err)
			}
			if errors.Is(err, unix.ENOTDIR) {
				return config.Errorf(config.Failed, "correct root in server.toml: "+h.o.Root+" has to be a directory, or one that can be made", "%w", err)
			}
			return err
		}
	}
	return nil
}

// Place has the tree of a release laid out.
func (h *Host) Place(ctx context.Context, r builder.Ref, t builder.Tree) (builder.Sent, error) {
	dir, err := h.Make(r)
	if err != nil {
		return builder.Sent{}, err
	}
	return builder.Sent{}, t.Lay(ctx, dir)
}

// Make makes an empty directory for the tree of a release, where nobody else
// may enter before the release is staged.
func (h *Host) Make(r builder.Ref) (string, error) {
	p := h.at(r.AppEnv)
	if err := h.clear(p, r.Number); err != nil {
		return "", err
	}
	if err := os.Mkdir(p.release(r.Number), 0o700); err != nil {
		return "", h.explainSpace(fmt.Errorf("make room for the release: %w", err))
	}
	return p.release(r.Number), nil
}

// clear makes the directories of an app, and has nothing where a release is to
// be placed.
func (h *Host) clear(p place, n int) error {
	if err := h.prepare(p); err != nil {
		return h.explainSpace(fmt.Errorf("make room for the release: %w", err))
	}
	live, err := p.live()
	if err != nil {
		return err
	}
	if live == n {
		return fmt.Errorf("release %d is live, and cannot be made again", live)
	}
	if err := errors.Join(p.unseed(n), p.remove(n)); err != nil {
		return err
	}
	return fault.Hit("host.place")
}

// account is what builds of ae run as.
func (h *Host) account(ctx context.Context, ae config.AppEnv) (owner, error) {
	if os.Geteuid() != 0 {
		return owner{UID: -1, GID: -1}, nil
	}
	if h.o.User == "" {
		uid, err := h.o.UID(ctx, ae)
		if err == nil && uid <= 0 {
			err = fmt.Errorf("uid %d cannot be the account of builds", uid)
		}
		return owner{UID: uid, GID: uid}, err
	}
	o, err := lookup(h.o.User)
	if err != nil {
		return o, config.Errorf(config.Failed, "correct user in server.toml", "account of builds: %w", err)
	}
	return o, nil
}

func lookup(name string) (owner, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return owner{}, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return owner{}, err
	}
	var ids []int
	for _, id := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.Atoi(id)
		if err != nil {
			return owner{}, err
		}
		ids = append(ids, n)
	}
	if ids[0] == 0 {
		return owner{}, errors.New("it may not be root")
	}
	return owner{UID: ids[0], GID: ids[1], Groups: ids[2:]}, nil
}

// Record writes the manifest of a release; one that is not there needs none.
func (h *Host) Record(_ context.Context, r builder.Ref, manifest []byte) error {
	p := h.at(r.AppEnv)
	if _, err := os.Lstat(p.release(r.Number)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return h.explainSpace(errors.Join(renameio.WriteFile(p.manifest(r.Number), manifest, 0o644), syncDir(p.releases())))
}

// Close has nothing to do.
func (h *Host) Close() error { return nil }
