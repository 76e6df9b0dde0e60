package hooks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"slipway/config"
	"slipway/store"
	"slipway/store/fault"
)

// sweepReleases ends releases that no journal entry speaks of. What it returns
// removes, from the target of each environment, what no release accounts for. A
// target that cannot be reached is left for the next time.
func (s *Server) sweepReleases(ctx context.Context) (map[config.Env]func(context.Context), error) {
	if err := fault.Hit("recover.sweep"); err != nil {
		return nil, err
	}
	all, err := s.o.Store.AppEnvs(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := s.o.Store.OpenEntries(ctx)
	if err != nil {
		return nil, err
	}
	open := map[config.AppEnv]bool{}
	for _, e := range entries {
		open[e.AppEnv] = true
	}
	known := map[config.AppEnv]bool{}
	prune := map[config.Env][]config.AppEnv{}
	for _, ae := range all {
		known[ae] = open[ae]
		if s.o.Config().Environments[ae.Env()] == nil || open[ae] {
			continue
		}
		releases, err := s.o.Store.Releases(ctx, ae)
		if err != nil {
			return nil, err
		}
		for _, r := range releases {
			known[ae] = known[ae] || r.State == store.Live || r.State == store.Retired
			if err := s.interrupted(ctx, store.Entry{AppEnv: ae, Release: r.Number, Phase: store.Queued}); err != nil {
				return nil, err
			}
		}
		prune[ae.Env()] = append(prune[ae.Env()], ae)
	}
	stay := map[config.Env][]config.AppEnv{}
	for ae, is := range known {
		if is {
			stay[ae.Env()] = append(stay[ae.Env()], ae)
		}
	}
	if err := s.sweepManifests(ctx); err != nil {
		s.o.Log.Warn().Err(err).Msg("cannot sweep old lists of files")
	}
	sweeps := map[config.Env]func(context.Context){}
	for name := range s.o.Config().Environments {
		sweeps[name] = func(ctx context.Context) { s.sweepEnv(ctx, name, prune[name], stay[name]) }
	}
	return sweeps, nil
}

// sweepEnv removes old releases of an environment, and what is left of apps
// that are none of those that stay.
func (s *Server) sweepEnv(ctx context.Context, name config.Env, prune, stay []config.AppEnv) {
	for _, ae := range prune {
		env := s.o.Config().Environments[name]
		if env == nil {
			return
		}
		if err := s.sweepTarget(ctx, ae, env); err != nil {
			s.o.Log.Warn().Err(err).Str("app", ae.String()).Msg("cannot sweep old releases")
			return
		}
	}
	if err := s.sweepApps(ctx, name, stay); err != nil {
		s.o.Log.Warn().Err(err).Str("env", name.String()).Msg("cannot sweep what is left of apps")
	}
}

func (s *Server) sweepTarget(ctx context.Context, ae config.AppEnv, env *config.Environment) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	target, err := s.o.Target(ctx, ae.Env())
	if err != nil {
		return err
	}
	return s.prune(ctx, target, env, ae)
}

// sweeper is a target that can look for what no app accounts for.
type sweeper interface {
	Sweep(ctx context.Context, env config.Env, known []config.AppEnv) error
}

func (s *Server) sweepApps(ctx context.Context, env config.Env, known []config.AppEnv) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	target, err := s.o.Target(ctx, env)
	if err != nil {
		return err
	}
	if t, ok := target.(sweeper); ok {
		return t.Sweep(ctx, env, known)
	}
	return nil
}

// eachRepo calls f for every app repository.
func (s *Server) eachRepo(f func(name, path string) error) error {
	repos := filepath.Join(s.dir, "repos")
	dirs, err := os.ReadDir(repos)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, dir := range dirs {
		if err := f(dir.Name(), filepath.Join(repos, dir.Name())); err != nil {
			return err
		}
	}
	return nil
}

// sweepRepos removes what a killed git leaves in the app repositories: locks of
// refs, quarantines, packs that were never finished. No git may run.
func (s *Server) sweepRepos(ctx context.Context) error {
	if err := fault.Hit("recover.repos"); err != nil {
		return err
	}
	return s.eachRepo(func(name, path string) error {
		if err := sweepRepo(path); err != nil {
			return err
		}
		if err := mendPacks(ctx, path); err != nil {
			s.o.Log.Error().Err(err).Str("repository", name).Msg("cannot mend the packs of a repository")
		}
		return nil
	})
}

// sweepUnknown removes the repositories of apps that no push has made. An open
// entry speaks for its app: the ref there may be the record of a first push.
func (s *Server) sweepUnknown(ctx context.Context) error {
	apps, err := s.o.Store.Apps(ctx)
	if err != nil {
		return err
	}
	entries, err := s.o.Store.OpenEntries(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, a := range apps {
		known[a.App.String()+".git"] = true
	}
	for _, e := range entries {
		known[e.AppEnv.App().String()+".git"] = true
	}
	return s.eachRepo(func(name, path string) error {
		if known[name] {
			return nil
		}
		return os.RemoveAll(path)
	})
}

// quarantines is how git names, in objects, what a push has not yet brought in.
const quarantines = "tmp_objdir-"

// unnamedPack is how git names what a repack has not yet put in its place.
const unnamedPack = ".tmp-"

// sweepPushes removes what killed pushes and repacks have left in a repository
// where there is none now.
func sweepPushes(repo string) error {
	objects := filepath.Join(repo, "objects")
	err := removeFrom(objects, func(name string) bool { return strings.HasPrefix(name, quarantines) })
	return errors.Join(err, removeFrom(filepath.Join(objects, "pack"), func(name string) bool {
		return strings.HasPrefix(name, "tmp_") || strings.HasPrefix(name, unnamedPack) || strings.HasSuffix(name, ".keep")
	}))
}

// sweepRepo removes that, and the locks of refs, where no git runs.
func sweepRepo(repo string) error {
	isLock := func(name string) bool { return strings.HasSuffix(name, ".lock") }
	err := errors.Join(sweepPushes(repo), removeFrom(repo, isLock))
	return errors.Join(err, filepath.WalkDir(filepath.Join(repo, "refs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !isLock(e.Name()) {
			return err
		}
		return os.Remove(path)
	}))
}

// removeFrom removes from a directory what goes by certain names.
func removeFrom(dir string, which func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if which(e.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
