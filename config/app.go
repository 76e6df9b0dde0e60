package config

import (
	"maps"
	"time"
)

// AppFile is what an app's own files say: slipway.toml, or what stands in its
// place, with the Procfile's entries where that has none; read and checked,
// defaults filled in. It goes through JSON and back unchanged.
type AppFile struct {
	From  []string // the files that it was read from, the Procfile last
	Build struct {
		Postinstall string        // a command line; "" means none was named
		Timeout     time.Duration // default 10m
		Network     bool          // default true
		Cache       []string      // clean paths below $HOME; .cache is always there
		LFS         string        // "" or "pointers"
	}
	Submodules struct {
		Skip []string // paths left out of the tree
	}
	Vars     map[string]string         // for every environment
	EnvVars  map[Env]map[string]string // [vars.ENV]
	Services []ServiceSpec             // sorted by name; the default sqlite "db" if the file has no [services]
	Default  bool                      // Services are that default
	Deploy   struct {
		Shared  []string // clean relative paths
		Release string
		Restart string
		Health  Health
	}
	Processes map[string]string
	Needs     []NeededVar `json:",omitempty"`
	DotCloud  *DotCloud   `json:",omitempty"` // nil for an app that was not made for it
}

// Settings is the file that the app's settings come from.
func (a *AppFile) Settings() string {
	if len(a.From) == 0 {
		return AppFileName
	}
	return a.From[0]
}

// ResolvePostinstall settles what an app of dotCloud's runs after its tree is
// there, once it is known which files the tree has: has says whether one is, and
// refuses one that could not run.
func (a *AppFile) ResolvePostinstall(has func(path string) (bool, error)) (err error) {
	if a.DotCloud == nil || a.DotCloud.steps == nil {
		return nil
	}
	a.Build.Postinstall, err = a.DotCloud.resolve(has)
	return err
}

// Roots are the directories of the tree that an app of dotCloud's has code in.
func (d *DotCloud) Roots() []string { return d.roots }

// Health is the check before the switch; Command "" is none.
type Health struct {
	Command string
	Timeout time.Duration // default 30s
}

// ServiceSpec is one [services.NAME].
type ServiceSpec struct {
	Name string // [a-z][a-z0-9_]{0,15}
	Type string // sqlite, postgresql
}

// AllVars returns the variables that the file sets in an environment.
func (a *AppFile) AllVars(env Env) map[string]string {
	all := map[string]string{}
	maps.Copy(all, a.Vars)
	maps.Copy(all, a.EnvVars[env])
	return all
}
