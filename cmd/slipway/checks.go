package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"slipway/builder"
	"slipway/builder/service"
	"slipway/config"
	"slipway/hooks/submodule"
	"slipway/store"
	"slipway/store/git"
)

const (
	hostKeyFile = "host_ed25519" // in DIR
	keysDir     = "keys"         // in DIR

	lowBytes  = 1 << 30 // free space below which doctor warns
	lowInodes = 10_000

	dialTime      = 5 * time.Second // for a source to answer in
	serviceTime   = time.Second     // for a database that is just being restarted
	dialsAtOnce   = 8
	staleDeploy   = 24 * time.Hour // a deploy that is under way for longer
	oneOf         = "%d, the last %s from %s as %s, %s UTC"
	dirBits       = 0o011 // with which builds of other accounts get through
	private       = 0o077 // bits that what is secret must not have
	checkFileHint = "slipway config check says every mistake"
)

// checkConfig reads the file again: what is in force may be older.
func (a *app) checkConfig() builder.Check {
	path := filepath.Join(a.dir, config.ServerFile)
	written, err := config.LoadServer(a.dir)
	switch {
	case err != nil:
	case missing(path):
		return builder.Check{Level: levelWarn, What: "config", Text: path + " is missing: the defaults are in force", Hint: "slipway init --home " + shellWord(a.dir)}
	case !reflect.DeepEqual(written, a.config()):
		return builder.Check{Level: levelWarn, What: "config", Text: path + " has changed since the server read it", Hint: "systemctl reload slipway, or kill -HUP its process"}
	}
	return checked("config", path, err, checkFileHint)
}

// checkModes looks at who can read what is secret, and whether builds can get
// to their releases.
func (a *app) checkModes() []builder.Check {
	var all []builder.Check
	for _, name := range []string{keysDir, hostKeyFile, store.File} {
		path := filepath.Join(a.dir, name)
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&private != 0 {
			err = fmt.Errorf("%s can be read by others: mode %04o", path, info.Mode().Perm())
		}
		text := path
		if err == nil {
			text = fmt.Sprintf("%s, mode %04o", path, info.Mode().Perm())
		}
		all = append(all, checked("mode", text, err, "chmod go= "+shellWord(path)))
	}
	info, err := os.Stat(a.dir)
	if err == nil && os.Geteuid() == 0 && info.Mode().Perm()&dirBits != dirBits {
		err = fmt.Errorf("builds of other accounts cannot get through %s: mode %04o", a.dir, info.Mode().Perm())
	}
	if err != nil {
		all = append(all, checked("mode", "", err, "chmod 711 "+shellWord(a.dir)))
	}
	return all
}

func (a *app) checkHostKey() builder.Check {
	text, err := os.ReadFile(filepath.Join(a.dir, hostKeyFile))
	if err != nil {
		return checked("host key", "", err, "serve makes one where there is none; clients will notice")
	}
	key, err := gossh.ParsePrivateKey(text)
	if err != nil {
		return checked("host key", "", err, "restore it from a backup")
	}
	return checked("host key", gossh.FingerprintSHA256(key.PublicKey()), nil, "")
}

func (a *app) checkDatabase(ctx context.Context) builder.Check {
	version, err := a.store.Check(ctx)
	return checked("database", fmt.Sprintf("sound, schema %d", version), err, "restore it from a backup: slipway restore FILE --home DIR")
}

func (a *app) checkAudit(ctx context.Context) builder.Check {
	n, err := a.store.VerifyAudit(ctx)
	return checked("audit", fmt.Sprintf("%d events, none changed", n), err, "compare it with a backup from before")
}

func checkGit(ctx context.Context) builder.Check {
	version, err := git.Version(ctx)
	return checked("git", version+" has all that is needed", err, "install a newer git")
}

// checkDisk measures the file system that DIR is on.
func (a *app) checkDisk() builder.Check {
	var disk unix.Statfs_t
	if err := unix.Statfs(a.dir, &disk); err != nil {
		return checked("disk", "", fmt.Errorf("measure %s: %w", a.dir, err), "")
	}
	return checkRoom(disk.Bavail*uint64(disk.Bsize), disk.Files > 0, disk.Ffree)
}

// checkRoom judges what is free; some file systems do not count their inodes.
func checkRoom(free uint64, counted bool, inodes uint64) builder.Check {
	k := builder.Check{Level: levelOK, What: "disk", Text: humanize.IBytes(free) + " free"}
	if counted {
		k.Text += ", " + humanize.Comma(int64(inodes)) + " inodes"
	}
	if free < lowBytes || counted && inodes < lowInodes {
		k.Level, k.Hint = levelWarn, "cache prune, or a smaller keep in server.toml, makes room"
	}
	return k
}

// checkLeft counts what killed pushes and fetches have left, which only a start
// can tell from what is being used.
func (a *app) checkLeft() builder.Check {
	var all []string
	var errs []error
	for _, pattern := range []string{"tmp/*", "repos/*.git/objects/tmp_objdir-*", "repos/*.git/*.lock"} {
		found, err := filepath.Glob(filepath.Join(a.dir, pattern))
		errs = append(errs, err)
		for _, path := range found {
			info, err := os.Lstat(path)
			if err == nil && a.now().Sub(info.ModTime()) > staleDeploy {
				all = append(all, path)
			}
		}
	}
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return checked("left over", "nothing", err, "")
	}
	return builder.Check{
		Level: levelWarn, What: "left over", Text: fmt.Sprintf("%d temporary files older than a day, such as %s", len(all), all[0]),
		Hint: "the next start of serve removes them",
	}
}

// checkServices connects to every PostgreSQL server that an environment has.
func checkServices(ctx context.Context, cfg *config.Server, envs []config.Env) []builder.Check {
	var all []builder.Check
	seen := map[config.Secret]bool{}
	for _, e := range envs {
		p := cfg.Environments[e].Services.PostgreSQL
		if p == nil || seen[p.URL] {
			continue
		}
		seen[p.URL] = true
		all = append(all, checkPostgreSQL(ctx, p))
	}
	return all
}

func checkPostgreSQL(ctx context.Context, p *config.PostgreSQL) builder.Check {
	const what = "postgresql"
	server, err := service.NewServer(p)
	if err != nil {
		return checked(what, "", err, checkFileHint)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTime, config.Errorf(config.Failed,
		"look whether it runs, and what lies between", "postgresql at %s does not answer within %s", server.Addr(), dialTime))
	defer cancel()
	version, err := server.Check(ctx, service.Wait{For: serviceTime})
	return checked(what, server.Addr()+" answers, version "+version+", and takes the login", err, checkFileHint)
}

// checkDeploys finds what an interrupted deploy has left to be done.
func (a *app) checkDeploys(ctx context.Context) builder.Check {
	open, err := a.store.OpenEntries(ctx)
	if err != nil {
		return checked("deploys", "", err, "")
	}
	left, err := a.hooks.Unsettled(ctx)
	if err != nil {
		return checked("deploys", "", err, "")
	}
	for _, u := range left {
		if u.Error != "" {
			return builder.Check{
				Level: levelFail, What: "deploys", Text: "release " + strconv.Itoa(u.Release) + " of " + u.AppEnv.String() + " is not settled: " + u.Error,
				Hint: fmt.Sprintf("it is tried again by itself, %d times so far, next at %s UTC", u.Tries, second(u.Next)),
			}
		}
	}
	for _, e := range open {
		name := fmt.Sprintf("release %d of %s", e.Release, e.AppEnv)
		switch {
		case e.Phase == store.Diverged:
			return builder.Check{
				Level: levelFail, What: "deploys", Text: name + " is not what every host runs",
				Hint: "it is tried again by itself; redeploy " + e.AppEnv.String() + " does so at once",
			}
		case a.now().Sub(e.Changed) > staleDeploy:
			return builder.Check{
				Level: levelWarn, What: "deploys", Text: fmt.Sprintf("%s is %s since %s UTC", name, e.Phase, minute(e.Changed)),
				Hint: "cancel " + e.AppEnv.String() + " stops it",
			}
		}
	}
	return checked("deploys", fmt.Sprintf("%d under way", len(open)), nil, "")
}

func (a *app) checkKeys(ctx context.Context) builder.Check {
	keys, err := a.store.Keys(ctx)
	if err != nil {
		return checked("keys", "", err, "")
	}
	admins := 0
	for _, k := range keys {
		if k.Admin {
			admins++
		}
	}
	k := builder.Check{Level: levelOK, What: "keys", Text: fmt.Sprintf("%d, of them %d of admins", len(keys), admins)}
	if len(keys) == 0 {
		k.Level, k.Text, k.Hint = levelWarn, "none: nobody can push", "key add NAME --admin < key.pub"
	}
	return k
}

// checkAttempts shows who was turned away last, ready to be let in.
func (a *app) checkAttempts(ctx context.Context) builder.Check {
	all, err := a.store.Attempts(ctx)
	switch {
	case err != nil:
		return checked("turned away", "", err, "")
	case len(all) == 0:
		return checked("turned away", "nobody", nil, "")
	}
	last := all[0]
	return builder.Check{
		Level: levelWarn, What: "turned away", Text: fmt.Sprintf(oneOf, len(all), last.Fingerprint, last.Addr, show(last.User), minute(last.Last)),
		Hint: "key attempts lists them; this one is let in by: echo '" + last.AuthorizedKey + "' | slipway key add NAME --allow 'APP/ENV'",
	}
}

// checkSources connects to every source, host key and credential included; what is cached can be deployed while
// one is down, so that is a warning.
func checkSources(ctx context.Context, r *submodule.Resolver, sources []config.Source) []builder.Check {
	all := make([]builder.Check, len(sources))
	var g errgroup.Group
	g.SetLimit(dialsAtOnce)
	for i, s := range sources {
		g.Go(func() error {
			all[i] = checkSource(ctx, r, s)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		all = append(all, checked("source", "", err, ""))
	}
	return all
}

func checkSource(ctx context.Context, r *submodule.Resolver, s config.Source) builder.Check {
	k := builder.Check{Level: levelOK, What: "source", Text: s.URL.String() + " answers, and takes the credential"}
	for _, path := range []string{s.Identity, s.KnownHosts, s.CA} {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return checked("source", "", fmt.Errorf("%s: %w", s.URL, err), "the account that runs Slipway must be able to read it")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	err := r.Check(ctx, &s)
	if err == nil {
		return k
	}
	k.Level, k.Text, k.Hint = levelWarn, s.URL.String()+": "+err.Error(), "what is cached can be deployed all the same"
	if config.KindOf(err) == config.Denied { // somebody has said no, which does not pass by itself
		k.Level, k.Hint = levelFail, config.Hint(err)
	}
	return k
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
