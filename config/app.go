package config

import (
	"maps"
	"time"
)

// AppFile is an app's own slipway.toml (with the Procfile's entries where
// slipway.toml has none), read and checked, defaults filled in. It goes through
// JSON and back unchanged.
type AppFile struct {
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
	Deploy   struct {
		Shared  []string // clean relative paths
		Release string
		Restart string
		Health  Health
	}
	Processes map[string]string
}

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
