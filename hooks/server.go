package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/submodule"
	"slipway/store"
)

// Options wire a Server. All fields but Lock are required.
type Options struct {
	// Lock is the lock of DIR. The git processes that may move a ref inherit
	// it, so that DIR stays locked until the last of them has ended, however
	// this process ends.
	Lock *os.File

	Config   func() *config.Server // the configuration in force, which SIGHUP may change
	Store    *store.Store
	Resolver *submodule.Resolver
	Target   func(context.Context, config.Env) (builder.Target, error)
	Command  func(words string) string // how to type a command of ours, for hints: ssh -p 2222 deploy@ship.corp WORDS
	Versions string                    // of all that has a part in what a tree looks like: this program, git
	Log      zerolog.Logger
	Now      func() time.Time
}

// Server runs deploys, one at a time per APP/ENV.
type Server struct {
	o       Options
	queue   *queue
	metrics *metrics
	spares  *spares
	repacks *repacks
	dir     string // DIR

	// still is held, shared, by every switch from its journal entry to its
	// record, and alone by who must see refs and database agree.
	still sync.RWMutex

	mu        sync.Mutex
	pushes    map[string]*Push              // by token
	opening   map[config.App]int            // pushes to apps that may not exist yet
	stale     map[config.AppEnv][]string    // locks of refs that could not be removed
	repacking map[config.App]bool           // whose repositories have files that a sweep must leave
	using     map[config.AppEnv]map[int]int // releases that running commands use
	feeds     map[config.AppEnv]*feed       // logs that are being written
	after     sync.WaitGroup                // cleaning up after deploys
	making    map[string]int                // trees whose lists are being written
	retries   map[config.AppEnv]*retry      // of what could not be settled
	looking   map[config.Env]*looking       // at hosts, after the start

	stopping bool // Drain has begun
}

// New returns a Server. Recover must run before it serves.
func New(o Options) *Server {
	s := &Server{
		o: o, dir: o.Config().Dir,
		pushes:    map[string]*Push{},
		opening:   map[config.App]int{},
		using:     map[config.AppEnv]map[int]int{},
		feeds:     map[config.AppEnv]*feed{},
		retries:   map[config.AppEnv]*retry{},
		looking:   map[config.Env]*looking{},
		making:    map[string]int{},
		spares:    newSpares(),
		repacks:   newRepacks(),
		stale:     map[config.AppEnv][]string{},
		repacking: map[config.App]bool{},
	}
	s.queue = newQueue(func() int { return o.Config().Limits.DeploysAtOnce }, o.Now)
	s.metrics = newMetrics(s.queue)
	return s
}

// hookNames are the hooks that git runs as this program.
var hookNames = []string{"pre-receive", "proc-receive", "post-receive"}

// InstallHooks makes DIR/hooks, whose files are links to this program; git
// runs them, and the program knows by its name which hook it is.
func InstallHooks(dir, executable string) error {
	hooks := filepath.Join(dir, "hooks")
	if err := os.MkdirAll(hooks, 0o700); err != nil {
		return err
	}
	for _, name := range hookNames {
		link := filepath.Join(hooks, name)
		if to, err := os.Readlink(link); err == nil && to == executable {
			continue
		}
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(executable, link); err != nil {
			return err
		}
	}
	return nil
}

// IsHook says whether the program was started by git as one of its hooks.
func IsHook(arg0 string) bool { return slices.Contains(hookNames, filepath.Base(arg0)) }

// May says whether c may deploy to ae now, by the rules in force: nil, or an
// Error of kind Denied, or NotFound for an environment that is not declared.
// It is the one place that decides.
func (s *Server) May(c store.Caller, ae config.AppEnv) error {
	cfg := s.o.Config()
	env := cfg.Environments[ae.Env()]
	granted, named := c.Admin, false
	for _, g := range c.Allow {
		granted = granted || g.Match(ae)
		named = named || g.Names(ae)
	}
	local := c.Fingerprint == ""
	switch {
	case !granted && !local:
		return &config.Error{
			Kind: config.Denied, Err: fmt.Errorf("key %s may not deploy %s", c.Name, ae),
			Hint: grant(c, ae),
		}
	case env == nil:
		return noEnvironment(cfg, ae)
	case env.Protected && !named && !local:
		return &config.Error{
			Kind: config.Denied, Err: fmt.Errorf("%s is protected, and key %s is not granted it by name", ae.Env(), c.Name),
			Hint: grant(c, ae),
		}
	}
	return nil
}

// mayStill is May for c with the rights that its key has by now, which a deploy
// that waited or built may find changed.
func (s *Server) mayStill(ctx context.Context, c store.Caller, ae config.AppEnv) error {
	if c.Fingerprint == "" { // the admin on the server has no key
		return s.May(c, ae)
	}
	k, err := s.o.Store.KeyByName(ctx, c.Name)
	if err != nil {
		return err
	}
	if k == nil || c.Certificate == "" && k.Fingerprint != c.Fingerprint {
		return config.Errorf(config.Denied, "an admin can add it again: key add "+c.Name+" < key.pub", "the key %s was removed", c.Name)
	}
	c.Admin, c.Allow = k.Admin, k.Allow
	return s.May(c, ae)
}

// grant is the command that allows c what it lacks, and what it has as well,
// since rights are given as a whole.
func grant(c store.Caller, ae config.AppEnv) string {
	var b strings.Builder
	fmt.Fprintf(&b, "an admin can allow it: key add %s", c.Name)
	if c.Admin {
		b.WriteString(" --admin")
	}
	for _, g := range c.Allow {
		fmt.Fprintf(&b, " --allow '%s'", g)
	}
	fmt.Fprintf(&b, " --allow '%s' < key.pub", ae)
	return b.String()
}

func noEnvironment(cfg *config.Server, ae config.AppEnv) error {
	var names []string
	for e := range cfg.Environments {
		names = append(names, e.String())
	}
	slices.Sort(names)
	hint := "there are: " + strings.Join(names, ", ")
	if near := config.Nearest(ae.Env().String(), names); near != "" {
		hint = fmt.Sprintf("did you mean %s/%s? %s", ae.App(), near, hint)
	}
	return &config.Error{Kind: config.NotFound, Err: fmt.Errorf("there is no environment %s", ae.Env()), Hint: hint}
}

// Drain waits until no deploy runs or waits, or until ctx ends; then it
// cancels what is left and waits for that to be cleaned up. A deploy whose
// switch has begun completes in any case.
func (s *Server) Drain(ctx context.Context) {
	s.stopRetries()
	s.stopLooking()
	for _, t := range s.queue.busy() {
		select {
		case <-t.ended:
		case <-ctx.Done():
		}
	}
	s.queue.cancelAll(errors.New("the server was stopped"))
	for _, t := range s.queue.busy() {
		<-t.ended
	}
	s.spares.stop()
	s.repacks.hold()
	s.after.Wait()
}

// Still runs f while nothing switches.
func (s *Server) Still(f func() error) error {
	s.still.Lock()
	defer s.still.Unlock()
	return f()
}

// lockFiles is what a git process that may move a ref inherits.
func (s *Server) lockFiles() []*os.File {
	if s.o.Lock == nil {
		return nil
	}
	return []*os.File{s.o.Lock}
}

// use notes that a command uses release n of ae, so that it is not pruned.
func (s *Server) use(ae config.AppEnv, n int) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.using[ae] == nil {
		s.using[ae] = map[int]int{}
	}
	s.using[ae][n]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.using[ae][n]--; s.using[ae][n] == 0 {
			delete(s.using[ae], n)
		}
	})
}

func (s *Server) inUse(ae config.AppEnv) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []int
	for n := range s.using[ae] {
		all = append(all, n)
	}
	return all
}

// audit writes one event; a failure to do so is logged, as the event itself
// has already happened.
func (s *Server) audit(ctx context.Context, c store.Caller, ae config.AppEnv, action, detail string, err error) {
	e := store.Event{
		By: c.Name, Fingerprint: c.Key(), Addr: c.Addr, AppEnv: ae.String(),
		Action: action, Detail: detail, Result: "ok",
	}
	if err != nil {
		e.Result = builder.Clean(err.Error())
	}
	if err := s.o.Store.Audit(context.WithoutCancel(ctx), e); err != nil {
		s.o.Log.Error().Err(err).Str("action", action).Msg("cannot write the audit log")
	}
}
