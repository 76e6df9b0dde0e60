package hooks

import (
	"context"
	"io"
	"strings"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/tree"
	"slipway/store"
	"slipway/store/fault"
)

// deploy is one way from a commit to a live release. prepare does all that can
// fail and is slow; commitLive is the switch; abandon takes prepare back.
type deploy struct {
	s        *Server
	caller   store.Caller
	ae       config.AppEnv
	reason   store.Reason
	progress *builder.Progress
	cancel   context.CancelCauseFunc // ends prepare, on the word of somebody else

	ref         string
	old, commit store.OID // of the ref; equal where the deploy does not move it
	tags        []update
	quarantine  map[string]string
	repo        *repository // while prepare runs
	options     pushOptions
	reuse       *store.Release                       // build and plan to use again, nil to build anew
	plan        *store.Plan                          // commits that must come out, nil to take what the tree pins
	treeID      string                               // of the tree that must come out, "" if any may
	vars        map[string]config.Secret             // nil means those of now
	keepVars    bool                                 // vars become those of now when the release is live
	rotate      string                               // the service that gets a new password, "" for none
	choose      func(context.Context, *deploy) error // settles the fields above once the turn has come; nil if they are

	// What prepare has found and made.
	cfg      *config.Server
	env      *config.Environment
	target   builder.Target
	ticket   *ticket
	live     *store.Release
	rel      store.Release
	entry    store.Entry
	begun    bool // the journal has an entry
	log      io.WriteCloser
	feed     *feed
	app      *config.AppFile
	notes    []config.Note // on what of the app's files has no counterpart
	upstream config.SourceURL
	manifest *tree.Manifest
	// postinstall says that the tree has the default one.
	postinstall bool
	services    map[string]config.Secret // the variables of services that are not on the target
	masked      map[string]config.Secret // what is hidden once those are known
	stage       builder.Stage
	given       bool // the tree is the builds' account's already
	spent       bool // the spare tree has become the release's
	started     time.Time
	steps       map[string]float64
	made        func() // ends the hold on the tree's list; nil if there is none
	still       func() // ends the lines that break the silence of a step
}

// prepare takes the deploy up to a staged release that is checked and ready to
// be switched to. On an error nothing is left of it but its log and its row.
func (d *deploy) prepare(ctx context.Context) error {
	if d.repo == nil {
		d.repo = openRepository(ctx, d.gitDir(), d.quarantine)
		defer d.repo.close()
	}
	err := d.s.Guarded(func() error { return d.enter(ctx) })
	if err != nil {
		if d.ticket != nil {
			d.ticket.leave("")
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return err
	}
	if err = d.s.Guarded(func() error { return d.stageAll(ctx) }); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		err = d.explain(err)
		d.abandon(ctx, err)
	}
	return err
}

// stageAll is prepare once the turn has come.
func (d *deploy) stageAll(ctx context.Context) (err error) {
	if err = fault.Hit("queue.turn"); err != nil {
		return err
	}
	looked := d.progress.Busy("waiting until the hosts were looked at, as after each start")
	err = d.s.looked(ctx, d.ae.Env())
	if looked(); err != nil {
		return err
	}
	if err = d.s.settleOpen(ctx, d.ae); err != nil {
		return err
	}
	if d.target, err = d.s.o.Target(ctx, d.ae.Env()); err != nil {
		return err
	}
	if d.live, err = d.s.o.Store.LiveRelease(ctx, d.ae); err != nil {
		return err
	}
	if d.choose != nil {
		if err = d.choose(ctx, d); err != nil {
			return err
		}
	}
	if d.vars == nil {
		if d.vars, err = d.s.varsNow(ctx, d.ae); err != nil {
			return err
		}
	}
	d.setMask()
	if !d.options.dryRun {
		if err := d.begin(ctx); err != nil {
			return err
		}
	}
	if err := d.header(ctx); err != nil {
		return err
	}
	if d.reuse != nil {
		if err := d.takeOver(); err != nil {
			return err
		}
	} else if err := d.makeTree(ctx); err != nil {
		return err
	}
	if d.options.dryRun {
		d.dryRun()
		return errDryRun
	}
	return d.build(ctx)
}

// gitDir is the app's repository.
func (d *deploy) gitDir() string { return d.s.o.Store.RepoPath(d.ae.App()) }

// phase moves the journal on.
func (d *deploy) phase(ctx context.Context, p store.Phase) error {
	d.entry.Phase = p
	return d.s.o.Store.Advance(ctx, d.entry)
}

// reach moves the journal on, by a place for a fault.
func (d *deploy) reach(ctx context.Context, place string, p store.Phase) error {
	if err := fault.Hit(place); err != nil {
		return err
	}
	return d.phase(ctx, p)
}

// step marks where the deploy is; the function that it returns ends the step
// and gives the time that it took.
func (d *deploy) step(name, doing string) (took func() time.Duration) {
	d.ticket.update(func(r *Running) { r.Step = name })
	began := d.s.o.Now()
	done := d.progress.Busy(doing)
	d.still = done
	return func() time.Duration {
		done()
		t := d.s.o.Now().Sub(began)
		d.steps[name] = t.Seconds()
		return t
	}
}

// hush ends a step that a panic has left.
func (d *deploy) hush() {
	if d.still != nil {
		d.still()
	}
}

// varsNow returns the vars of ae as they are set.
func (s *Server) varsNow(ctx context.Context, ae config.AppEnv) (map[string]config.Secret, error) {
	list, err := s.o.Store.Vars(ctx, ae)
	if err != nil {
		return nil, err
	}
	vars := make(map[string]config.Secret, len(list))
	for _, v := range list {
		vars[v.Name] = v.Value
	}
	return vars, nil
}

// firstLine is a title without the rest.
func firstLine(s string) string { s, _, _ = strings.Cut(s, "\n"); return s }
