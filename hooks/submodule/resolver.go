// Package submodule turns a pushed commit into a Plan: it reads .gitmodules at
// every level, decides from which source each submodule may come, and fetches
// what the cache lacks. It knows nothing of trees on disk, nor of targets.
package submodule

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"slipway/config"
	"slipway/hooks/socket"
	"slipway/store"
)

// Options wire a Resolver. All fields but the last two are required.
type Options struct {
	Dir        string // of the cache: one bare repository a URL
	Temp       string // emptied at every start
	Config     func() *config.Server
	Executable string // this program, which git starts to reach a source
	Log        zerolog.Logger
	Now        func() time.Time

	// Keep lists what kept releases are made of, which is never evicted; nil
	// is nothing.
	Keep func() ([]store.Module, error)

	// Backoff is the pause before try n, from 2; nil is half a second, then
	// one.
	Backoff func(try int) time.Duration
}

// Resolver resolves plans and owns the cache and the connections to sources.
type Resolver struct {
	o      Options
	pool   *pool
	door   io.Closer // of the socket that git's children dial
	socket string    // its directory
	over   chan struct{}
	memory memory
	gate   gate
	flown  sync.WaitGroup // flights
	stall  time.Duration  // how long a source may send nothing

	mu      sync.Mutex
	fetches map[string]*transfer // by token
	flights map[string]*flight   // fetches under way
	locks   map[string]chan struct{}
	inUse   map[string]int // cache repositories of open results
}

// New opens the cache, sweeping what a killed fetch left in it, and listens for
// git's children. Close ends it.
func New(o Options) (*Resolver, error) {
	if o.Backoff == nil {
		o.Backoff = func(try int) time.Duration { return time.Duration(try-1) * 500 * time.Millisecond }
	}
	r := &Resolver{
		o: o, pool: newPool(o.Now), over: make(chan struct{}), socket: filepath.Join(o.Temp, "fetch"), stall: stallTime,
		fetches: map[string]*transfer{}, flights: map[string]*flight{},
		locks: map[string]chan struct{}{}, inUse: map[string]int{},
	}
	r.gate.limit = func() int { return o.Config().Limits.FetchesAtOnce }
	for _, dir := range []string{o.Dir, r.socket} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := r.sweep(); err != nil {
		return nil, fmt.Errorf("sweep the submodule cache: %w", err)
	}
	l, err := socket.Listen(r.socket)
	if err != nil {
		return nil, fmt.Errorf("listen for git's children: %w", err)
	}
	r.door = l
	go func() {
		defer close(r.over)
		if err := socket.Serve(context.Background(), l, r.serve); err != nil {
			o.Log.Error().Err(err).Msg("fetches cannot be served any more")
		}
	}()
	return r, nil
}

// Close ends the connections. No Resolve may be running.
func (r *Resolver) Close() error {
	r.flown.Wait()
	err := r.door.Close()
	r.pool.close()
	<-r.over
	return err
}

// Reload forgets the connections to sources, whose keys and pinned hosts may
// have changed.
func (r *Resolver) Reload() { r.pool.forget() }

// Repo is a repository to read: the pushed app, with what is in quarantine.
type Repo struct {
	Dir string
	Env map[string]string
}

// Request asks for a plan.
type Request struct {
	AppEnv   config.AppEnv
	Repo     Repo
	Commit   store.OID
	Upstream config.SourceURL // base of the app's relative URLs, zero if unknown
	Skip     []string         // paths to leave out
	NoCache  bool             // fetch even what is there
	Offline  bool             // fetch nothing: what is not cached fails
}

// State says what became of one submodule.
type State string

const (
	Cached  State = "cached"
	Fetched State = "fetched"
	Refused State = "refused" // by a rule, or by the source: a repetition would end alike
	Failed  State = "failed"  // the source was not to be reached, or something broke
	Skipped State = "skipped"
)

// Report is what people are told of one submodule.
type Report struct {
	store.Module
	State  State
	Raw    string   // the URL as .gitmodules has it, escaped, without userinfo
	Where  string   // vendor/auth/.gitmodules line 10
	Chain  []string // the paths that lead to it
	Source string   // URL of the source, "" if none covers it
	Bytes  int64    // received
	Took   time.Duration
	Said   []string // what the source said, cleaned
	Detail []string // more lines about a refusal
	Tries  string   // how often its source was tried in vain, "" if it answered
	Err    error    // of a module that is refused or failed
}

// Located says where the commit of a module can be read.
type Located struct {
	Path   string
	Dir    string // GIT_DIR
	Commit store.OID
}

// Result is a resolved plan. Close lets the cache drop its repositories again.
type Result struct {
	Plan     store.Plan
	Reports  []Report // by path
	Repos    []Located
	Warnings []string
	Close    func()
}

// Resolve makes the plan of a commit. On an error the reports are there all the
// same: one for every module that was found, so that all refusals of a plan
// are shown at once; the error is that of the first, and Close has been called.
func (r *Resolver) Resolve(ctx context.Context, q Request) (Result, error) {
	w := &walk{r: r, cfg: r.o.Config(), q: q, skip: map[string]bool{}}
	if q.NoCache {
		w.id = rand.Text()[:10]
	}
	root := level{repo: q.Repo, commit: q.Commit, base: q.Upstream}
	if !q.Upstream.IsZero() {
		root.keys = []string{key(q.Upstream, q.Commit)}
	}
	if err := w.level(ctx, root); err != nil {
		w.fail(err)
	}
	w.tasks.Wait()
	res := w.result()
	res.Close = sync.OnceFunc(func() { r.release(res.Repos) })
	if w.fetched {
		if err := r.evict(w.cfg.Limits.CacheBytes); err != nil {
			r.o.Log.Warn().Err(err).Msg("cannot evict from the submodule cache")
		}
	}
	err := w.err
	for _, rep := range res.Reports {
		if rep.Err != nil {
			err = rep.Err
			break
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		res.Close()
	}
	return res, err
}
