package store

import (
	"strings"
	"time"

	"slipway/config"
)

// OID is the full lower-case hexadecimal name of a git object, 40 digits.
type OID string

// Short is the seven digits that people read.
func (o OID) Short() string {
	if len(o) < 7 {
		return string(o)
	}
	return string(o[:7])
}

// ZeroOID stands in git's protocols for "no such ref".
const ZeroOID OID = "0000000000000000000000000000000000000000"

// Plan is one pushed commit with every submodule below it; it fully decides
// the tree.
type Plan struct {
	Commit  OID      `json:"commit"`
	Modules []Module `json:"modules"` // sorted by path
	Skipped []string `json:"skipped,omitempty"`

	// Upstream is the base of relative submodule URLs where the push gave a new
	// one, which becomes the app's when the release is live; else "".
	Upstream string `json:"upstream,omitempty"`
}

// Module is one submodule of a plan.
type Module struct {
	Path   string           `json:"path"` // from the root of the tree, through every level
	URL    config.SourceURL `json:"url"`
	Commit OID              `json:"commit"`
}

// TreeInfo says what a materialized tree is, in figures.
type TreeInfo struct {
	ID    string `json:"id"` // SHA-256 of the canonical manifest: equal trees have equal ids
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

// Caller is who asks: a proved key, or the admin on the server itself.
type Caller struct {
	Name        string // of the key; "local" for the admin on the server
	Fingerprint string // SHA256:...; "" for local
	Certificate string // by which the key called, as people read it; "" for a key by itself
	Addr        string // host:port of the client; "" for local
	Admin       bool
	Allow       []config.Glob
}

// Key is by what a caller is known in the audit log: the fingerprint, and the
// certificate if there was one.
func (c Caller) Key() string { return strings.TrimSpace(c.Fingerprint + " " + c.Certificate) }

// State of a release, as CONTRACT names them.
type State string

const (
	Building    State = "building"
	Live        State = "live"
	Retired     State = "retired"
	FailedState State = "failed"
	Cancelled   State = "cancelled"
	Interrupted State = "interrupted"
)

// Reason says which kind of deploy made a release.
type Reason string

const (
	Push     Reason = "push"
	Redeploy Reason = "redeploy"
	Rollback Reason = "rollback"
	Promote  Reason = "promote"
	VarsSet  Reason = "vars"
	Rotate   Reason = "rotate"
)

// Release is one build of one plan with one set of vars in one APP/ENV.
type Release struct {
	AppEnv  config.AppEnv
	Number  int
	Build   int // the release whose build this one runs; Number itself if it built
	Commit  OID
	Ref     string // refs/heads/main
	Title   string // first line of the commit's message, cleaned
	State   State
	Reason  Reason
	By      string
	Created time.Time
	Ended   time.Time // zero while building
	Plan    Plan
	Tree    TreeInfo
	App     []byte             // JSON of the config.AppFile it was built with
	Steps   map[string]float64 // seconds by step: plan, tree, build, switch
	Error   string             // the one line of why it failed
	Pruned  bool               // its build is no longer on the target
}

// Phase of a deploy in the journal (DESIGN, Recovery).
type Phase string

const (
	Queued    Phase = "queued"
	Planned   Phase = "planned"
	Staging   Phase = "staging"
	Staged    Phase = "staged"
	Prepared  Phase = "prepared"
	Switching Phase = "switching"
	Committed Phase = "committed"
	Done      Phase = "done"
	Reverting Phase = "reverting"
	Ended     Phase = "ended" // failed, cancelled or interrupted: nothing of it is left
	Diverged  Phase = "diverged"
)

// Entry is one deploy in the journal: what was intended and how far it came.
type Entry struct {
	AppEnv     config.AppEnv
	Release    int
	Phase      Phase
	Ref        string
	Old, New   OID // of the ref; equal for deploys that do not move it
	From, To   int // releases: live before, live after
	Generation int64
	Changed    time.Time
}
