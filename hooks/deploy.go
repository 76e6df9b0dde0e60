// Package hooks is the deploy: what git's hooks ask for, the rules of a push,
// the queue, the pipeline from plan to live release, and the recovery of what
// a crash left. It knows nothing of SSH sessions, nor of how a target works.
package hooks

import (
	"time"

	"slipway/config"
	"slipway/store"
)

// Running is the deploy that holds an APP/ENV now.
type Running struct {
	By      string
	Release int // 0 if it has none yet
	Commit  store.OID
	Since   time.Time
	Step    string // start, plan, tree, services, build, release, health, switch, restart
	Waiting int    // deploys behind it
}

// PlannedModule is one submodule of a plan as people see it.
type PlannedModule struct {
	store.Module
	Live   store.OID // its commit in the live release, "" if it is new
	Cached bool
	Source string // the URL of the source that covers it, "" if none does
	Error  string // why it is refused, "" if it is not
}

// PlanView is what `plan` shows.
type PlanView struct {
	AppEnv  config.AppEnv
	Commit  store.OID
	Title   string
	Live    *store.Release // nil if nothing is live
	Modules []PlannedModule
	Skipped []string
	Removed []store.Module // in the live release, not in this plan

	Settings []string // the files that they come from
	Notes    []string // on what of those has no counterpart
}
