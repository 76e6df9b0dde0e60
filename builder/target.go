// Package builder turns a tree into a live release inside a target: it knows
// how releases are built, checked, switched, kept and removed, and nothing of
// pushes or SSH sessions.
package builder

import (
	"context"
	"io"
	"time"

	"slipway/config"
	"slipway/store"
)

// Ref names one release.
type Ref struct {
	AppEnv config.AppEnv
	Number int
}

// Stage is all that a target needs to make one release ready.
type Stage struct {
	Ref
	Build    int // the release whose build this one runs; Number itself to build anew
	Commit   store.OID
	App      *config.AppFile
	Vars     map[string]config.Secret // the app's vars and the services' variables
	Services []config.ServiceSpec     // those that live on the target itself: sqlite
	NoCache  bool                     // start with empty build caches
	Given    bool                     // all of the tree but its top directory is the account's already
}

// Switch is one change of what is live. Targets keep the greatest generation
// that they have obeyed and refuse a smaller one, so that a command that was
// delayed on its way cannot undo a newer one.
type Switch struct {
	AppEnv     config.AppEnv
	Generation int64
	From, To   int // release numbers; 0 is none
}

// Status is what a target says is live. Host is "" for a target of one place.
type Status struct {
	Host       string
	Live       int
	Generation int64
	Err        error // the host could not be asked
}

// Check is one line of doctor.
type Check struct {
	Level string // ok, warn, fail
	What  string // sandbox
	Text  string // measured value
	Hint  string // under each that is not ok
}

// Stdio is where a command reads and writes.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Target is a place that releases live in. Place, Stage, RunOnce and Health
// may fail and leave nothing that is live changed; Discard takes back what
// they did. Activate is the switch itself. All may be called concurrently for
// different APP/ENVs, and each is idempotent, so that recovery may repeat it.
type Target interface {
	// Place has the tree laid out where the release will live.
	Place(ctx context.Context, r Ref, t Tree) (Sent, error)

	// Stage builds the release from the tree in its place: services, shared
	// links, environment.json, postinstall with its output to out, seal. With
	// s.Build != s.Number there is no tree: the release becomes a link to
	// that build with vars of its own.
	Stage(ctx context.Context, s Stage, out io.Writer) error

	// RunOnce runs [deploy] release in the staged release, on the first host.
	RunOnce(ctx context.Context, s Stage, out io.Writer) error

	// Health runs [deploy] health in the staged release, on each host.
	Health(ctx context.Context, s Stage, out io.Writer) error

	// Activate switches current from sw.From to sw.To by one rename and
	// returns once that is on disk. To 0 removes current.
	Activate(ctx context.Context, sw Switch) error

	// Restart runs [deploy] restart in the release that is live, on each host.
	Restart(ctx context.Context, s Stage, out io.Writer) error

	// Record keeps a description of a release beside it: JSON, no secrets.
	Record(ctx context.Context, r Ref, manifest []byte) error

	// Discard ends what runs of a release that is not live and removes it.
	Discard(ctx context.Context, r Ref) error

	// Prune removes every release of ae that keep does not list; the live one
	// and builds that kept ones link to stay in any case. It returns what it
	// removed.
	Prune(ctx context.Context, ae config.AppEnv, keep []int) (removed []int, err error)

	// Status says what is live, host by host.
	Status(ctx context.Context, ae config.AppEnv) ([]Status, error)

	// Run runs a command in the live release's environment. tty asks for a
	// terminal of that size. exit is the command's status.
	Run(ctx context.Context, s Stage, argv []string, io Stdio, tty *Terminal) (exit int, err error)

	// Destroy removes all of ae, shared files and services included.
	Destroy(ctx context.Context, ae config.AppEnv) error

	// Doctor checks the target.
	Doctor(ctx context.Context) []Check

	// Describe is how the pusher sees the place: "local", "app1, app2".
	Describe() string

	Close() error
}

// Keeper is a target that can keep a spare tree for each APP/ENV: one that is
// laid out before it is needed, and that nothing but the server can reach until
// a release is made of it. All is idempotent, and of no harm if it is left out.
type Keeper interface {
	// Account is what the releases of ae run as, -1 and -1 if that is us. A
	// tree whose every file is given to it beforehand needs no second pass.
	Account(ctx context.Context, ae config.AppEnv) (uid, gid int, err error)

	// PlaceSpare makes the spare tree of the APP/ENV the place of a release
	// and returns what was kept with it, nil if there is none: then nothing
	// was placed.
	PlaceSpare(ctx context.Context, r Ref) (dir string, note []byte, err error)

	// MakeSpare makes an empty directory, on the file system where releases
	// live, that KeepSpare makes the spare tree of ae; "" if there is one
	// already, or none may be kept here.
	MakeSpare(ctx context.Context, ae config.AppEnv) (dir string, err error)

	// KeepSpare has all of it on disk, then the note that keep returns with
	// it: from then on it counts.
	KeepSpare(ctx context.Context, ae config.AppEnv, keep func() (note []byte, err error)) error

	// DropSpare removes the spare tree of ae, finished or not.
	DropSpare(ctx context.Context, ae config.AppEnv) error

	// DropSpares removes all that are finished, to make room, and says
	// whether there was any.
	DropSpares(ctx context.Context) (some bool, err error)
}

// Terminal is a pseudo terminal that a caller asked for; Resize delivers its
// later sizes and is closed when the session ends.
type Terminal struct {
	Term          string
	Rows, Columns int
	Resize        <-chan [2]int
}

// ExitError is a build step that ended by itself and not well.
type ExitError struct {
	Step   string // postinstall, release, health, restart
	Status int    // exit status; 0 if it was ended by Signal
	Signal string // such as killed; "" if it exited
	Host   string // "" for a target of one place
	Over   string // the limit that it went over, such as "512 MiB of memory", or ""
}

// TimeoutError is a build step that was ended because its time was over.
type TimeoutError struct {
	Step  string
	After time.Duration
	Host  string
}
