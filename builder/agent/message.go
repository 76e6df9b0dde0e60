package agent

import (
	"errors"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

// method is what is asked for.
type method string

const (
	place    method = "place"
	stage    method = "stage"
	runOnce  method = "release"
	health   method = "health"
	activate method = "activate"
	restart  method = "restart"
	record   method = "record"
	discard  method = "discard"
	prune    method = "prune"
	status   method = "status"
	run      method = "run"
	destroy  method = "destroy"
	sweep    method = "sweep"
	doctor   method = "doctor"
)

// Place is where on a machine releases live, and as whom they are built.
type Place struct {
	Root   string
	Index  int // SLIPWAY_HOST
	Limits config.Limits
	User   string // account of builds, where the agent is root; "" takes UID
	UID    int    // of this APP/ENV's builds, where the agent is root and User is ""
}

// request is the beginning of a call. Only what its method needs is set.
type request struct {
	Number uint64 // of the call, which its body names
	Method method
	Place  Place
	AppEnv string
	Env    string // of a sweep
	Ref    int

	Stage    *stageSpec   `json:",omitempty"`
	Switch   *switchSpec  `json:",omitempty"`
	Tree     *treeSpec    `json:",omitempty"`
	Manifest []byte       `json:",omitempty"`
	Keep     []int        `json:",omitempty"`
	Known    []string     `json:",omitempty"`
	Command  *commandSpec `json:",omitempty"`
	Now      time.Time    // the server's clock
}

// stageSpec is a builder.Stage with its secrets, which have no JSON of their
// own, on purpose.
type stageSpec struct {
	Build    int
	Commit   store.OID
	App      *config.AppFile
	Vars     map[string]string
	Services []config.ServiceSpec
	NoCache  bool
}

type switchSpec struct {
	Generation int64
	From, To   int
}

// treeSpec names a list of contents, whole or by what differs from another.
type treeSpec struct {
	ID, Base string // hexadecimal; no Base means whole
}

type commandSpec struct {
	Argv    []string
	Input   bool // a body is its standard input
	TTY     bool
	Term    string
	Rows    int
	Columns int
}

// result is the end of a call.
type result struct {
	Error   *failure         `json:",omitempty"`
	Exit    int              `json:",omitempty"`
	Removed []int            `json:",omitempty"`
	Status  []builder.Status `json:",omitempty"`
	Checks  []builder.Check  `json:",omitempty"`
	NoBase  bool             `json:",omitempty"` // the base of a tree is not known there
	Clock   time.Time        // the agent's
}

// failure is an error on its way.
type failure struct {
	Kind    config.Kind
	Text    string
	Hint    string                `json:",omitempty"`
	Exit    *builder.ExitError    `json:",omitempty"`
	Timeout *builder.TimeoutError `json:",omitempty"`
}

func packError(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Kind: config.KindOf(err), Text: err.Error(), Hint: config.Hint(err)}
	var wrong config.Mistakes
	if errors.As(err, &wrong) {
		f.Text = wrong.Error()
	}
	errors.As(err, &f.Exit)
	errors.As(err, &f.Timeout)
	return f
}

func (f *failure) unpack(host string) error {
	switch {
	case f == nil:
		return nil
	case f.Exit != nil:
		f.Exit.Host = host
		return f.Exit
	case f.Timeout != nil:
		f.Timeout.Host = host
		return f.Timeout
	}
	kind := f.Kind
	if kind < config.Failed || kind > config.NotFound { // it becomes an exit status
		kind = config.Failed
	}
	return &config.Error{Kind: kind, Err: errors.New(f.Text), Hint: f.Hint}
}

func packStage(s builder.Stage) *stageSpec {
	vars := make(map[string]string, len(s.Vars))
	for name, v := range s.Vars {
		vars[name] = v.Reveal()
	}
	return &stageSpec{Build: s.Build, Commit: s.Commit, App: s.App, Vars: vars, Services: s.Services, NoCache: s.NoCache}
}

func (s *stageSpec) unpack(r builder.Ref) builder.Stage {
	vars := make(map[string]config.Secret, len(s.Vars))
	for name, v := range s.Vars {
		vars[name] = config.NewSecret(v)
	}
	app := s.App
	if app == nil {
		app = &config.AppFile{}
	}
	return builder.Stage{
		Ref: r, Build: s.Build, Commit: s.Commit, App: app, Vars: vars,
		Services: s.Services, NoCache: s.NoCache,
	}
}
