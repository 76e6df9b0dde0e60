package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"slipway/builder"
	"slipway/builder/service"
)

const (
	// searchPath is the PATH of everything that is run for an app.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	environmentFile = "environment.json"
)

// variables is the whole environment of what is run for a release.
func (h *Host) variables(p place, s builder.Stage) map[string]string {
	all := map[string]string{"LANG": "C.UTF-8"}
	for name, v := range s.Vars {
		all[name] = v.Reveal()
	}
	for i, spec := range s.Services {
		if spec.Type != service.SQLite {
			continue
		}
		for name, v := range service.SQLiteVars(spec.Name, p.shared()) {
			// Of several, one is the app's database.
			if name != service.URL || i == service.Main(s.Services) {
				all[name] = v
			}
		}
	}
	for name, v := range map[string]string{
		"HOME": p.home(s.Number), "PATH": searchPath, "TMPDIR": p.temp(s.Number),
		"SLIPWAY_APP": s.AppEnv.App().String(), "SLIPWAY_ENV": s.AppEnv.Env().String(),
		"SLIPWAY_RELEASE": strconv.Itoa(s.Number), "SLIPWAY_COMMIT": string(s.Commit),
		"SLIPWAY_HOST":     strconv.Itoa(h.o.Index),
		"DOTCLOUD_PROJECT": s.AppEnv.App().String(), "DOTCLOUD_ENVIRONMENT": s.AppEnv.Env().String(),
	} {
		all[name] = v
	}
	if old := s.App.DotCloud; old != nil {
		all["DOTCLOUD_SERVICE_NAME"], all["DOTCLOUD_SERVICE_ID"] = old.Service, strconv.Itoa(h.o.Index)
		all["PATH"] = filepath.Join(p.home(s.Number), "env", "bin") + ":" + searchPath
	}
	return all
}

// makeHome makes the home of a new build: environment.json, and links to the
// caches that outlive it.
func (h *Host) makeHome(p place, s builder.Stage, o owner) error {
	if err := errors.Join(removeAll(p.home(s.Number)), os.Mkdir(p.home(s.Number), 0o700)); err != nil {
		return err
	}
	home, err := os.OpenRoot(p.home(s.Number))
	if err != nil {
		return err
	}
	defer home.Close()
	if s.NoCache {
		if err := p.emptyCache(); err != nil {
			return err
		}
	}
	cache, err := os.OpenRoot(p.cache())
	if err != nil {
		return err
	}
	defer cache.Close()
	for _, name := range append([]string{".cache"}, s.App.Build.Cache...) {
		if err := linkCache(home, cache, name, o); err != nil {
			return fmt.Errorf("cache %s: %w", name, err)
		}
	}
	if s.App.DotCloud != nil {
		if err := makeDotCloud(home, s); err != nil {
			return fmt.Errorf("make the home of dotCloud's: %w", err)
		}
	}
	return h.writeEnvironment(home, p, s, o)
}

// emptyCache starts the caches anew.
func (p place) emptyCache() error {
	entries, err := os.ReadDir(p.cache())
	for _, e := range entries {
		err = errors.Join(err, removeAll(filepath.Join(p.cache(), e.Name())))
	}
	return err
}

// linkCache makes a directory of the home one that outlives it; it may lie
// below another that does.
func linkCache(home, cache *os.Root, name string, o owner) error {
	made := &seeds{root: cache, owner: o}
	if err := made.parents(filepath.Join(name, "x")); err != nil {
		return err
	}
	depth := 1
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		depth++
		if info, err := home.Lstat(dir); err == nil && !info.IsDir() {
			return nil // a link to a cache that holds this one
		}
	}
	if err := home.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	// From releases/N.home/NAME up to the app, and down again.
	err := home.Symlink(filepath.Join(strings.Repeat("../", depth+1), "cache", name), name)
	if errors.Is(err, fs.ErrExist) { // named twice
		return nil
	}
	return err
}

// linkHome makes the home of a release that is another's build: all that the
// other has is there by links, but the environment is its own.
func (h *Host) linkHome(p place, s builder.Stage, o owner) error {
	if err := errors.Join(removeAll(p.home(s.Number)), os.Mkdir(p.home(s.Number), 0o700)); err != nil {
		return err
	}
	home, err := os.OpenRoot(p.home(s.Number))
	if err != nil {
		return err
	}
	defer home.Close()
	entries, err := os.ReadDir(p.home(s.Build))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == environmentFile {
			continue
		}
		if err := home.Symlink(filepath.Join("..", filepath.Base(p.home(s.Build)), e.Name()), e.Name()); err != nil {
			return err
		}
	}
	return h.writeEnvironment(home, p, s, o)
}

// writeEnvironment writes environment.json: one key a line, as scripts of
// dotCloud's time expect it.
func (h *Host) writeEnvironment(home *os.Root, p place, s builder.Stage, o owner) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // a URL with & in it reads as it is
	if err := enc.Encode(h.variables(p, s)); err != nil {
		return err
	}
	f, err := home.OpenFile(environmentFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text.Bytes())
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return chownAll(p.home(s.Number), o)
}
