package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"slipway/builder"
	"slipway/builder/local"
	"slipway/builder/ssh"
	"slipway/config"
	"slipway/hooks"
	"slipway/hooks/socket"
	"slipway/hooks/submodule"
	"slipway/receiver"
	"slipway/store"
	"slipway/store/disk"
	"slipway/store/git"
)

// system is everything that one DIR needs to work, with or without a server.
type system struct {
	dir      string
	log      zerolog.Logger
	config   atomic.Pointer[config.Server]
	store    *store.Store
	resolver *submodule.Resolver
	hooks    *hooks.Server
	app      *app
	hosts    *ssh.Pool
	port     atomic.Int32 // that SSH listens on, once it does
	lock     *os.File     // closing it gives DIR up
}

// open takes DIR's lock, reads the configuration, opens the database and
// settles what an earlier process has left.
func open(ctx context.Context, dir string, log zerolog.Logger) (_ *system, err error) {
	defer func() { err = disk.Explain(err, dir) }()
	s := &system{dir: dir, log: log}
	if s.lock, err = lock(ctx, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	cfg, err := config.LoadServer(dir)
	if err != nil {
		return nil, err
	}
	s.config.Store(cfg)
	gitVersion, err := git.Version(ctx)
	if err != nil {
		return nil, err
	}
	if err := emptyDir(filepath.Join(dir, "tmp")); err != nil {
		return nil, err
	}
	self, err := git.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if err := hooks.InstallHooks(dir, self); err != nil {
		return nil, err
	}
	if s.store, err = store.Open(ctx, dir, time.Now); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.store.Close())
		}
	}()
	s.resolver, err = submodule.New(submodule.Options{
		Dir: filepath.Join(dir, "cache", "modules"), Temp: filepath.Join(dir, "tmp"),
		Config: s.config.Load, Executable: self, Log: log, Now: time.Now,
		Keep: func() ([]store.Module, error) { return s.kept(ctx) },
	})
	if err != nil {
		return nil, err
	}
	s.hosts = ssh.NewPool(ssh.PoolOptions{Executable: self, Agents: []string{filepath.Join(dir, "agents"), filepath.Dir(self)}})
	s.hooks = hooks.New(hooks.Options{
		Config: s.config.Load, Store: s.store, Resolver: s.resolver, Target: s.target,
		Command: s.command, Log: log, Now: time.Now, Lock: s.lock,
		Versions: "slipway " + version() + ", git " + gitVersion,
	})
	s.app = &app{dir: dir, config: s.config.Load, store: s.store, hooks: s.hooks, resolver: s.resolver, target: s.target, now: time.Now, command: s.command}
	if err := s.hooks.Recover(ctx); err != nil {
		return nil, errors.Join(err, s.resolver.Close(), s.hosts.Close())
	}
	return s, nil
}

func (s *system) close(ctx context.Context) error {
	s.hooks.Drain(ctx)
	return errors.Join(s.resolver.Close(), s.hosts.Close(), s.store.Close(), s.lock.Close())
}

// kept lists the submodules of every release that is still on its target.
func (s *system) kept(ctx context.Context) ([]store.Module, error) {
	ctx = context.WithoutCancel(ctx) // it is asked for as long as the system is open
	all, err := s.store.AppEnvs(ctx)
	if err != nil {
		return nil, err
	}
	var modules []store.Module
	for _, ae := range all {
		releases, err := s.store.Releases(ctx, ae)
		if err != nil {
			return nil, err
		}
		for _, r := range releases {
			if !r.Pruned && (r.State == store.Live || r.State == store.Retired) {
				modules = append(modules, r.Plan.Modules...)
			}
		}
	}
	return modules, nil
}

// target returns the driver of an environment.
func (s *system) target(ctx context.Context, env config.Env) (builder.Target, error) {
	cfg := s.config.Load()
	e := cfg.Environments[env]
	if e == nil {
		return nil, config.Errorf(config.NotFound, "config check", "there is no environment %s", env)
	}
	uid := func(ctx context.Context, ae config.AppEnv) (int, error) {
		return s.store.UID(ctx, ae, cfg.Limits.UIDs[0], cfg.Limits.UIDs[1])
	}
	switch e.Target {
	case "local":
		return local.New(local.Options{Root: e.Root, Env: e, Limits: cfg.Limits, Hidden: s.hidden(), Log: s.log, UID: uid})
	case "ssh":
		return ssh.New(ssh.Options{Pool: s.hosts, Env: e, Limits: cfg.Limits, UID: uid})
	}
	return nil, config.Errorf(config.Failed, "use target = \"local\" or \"ssh\"", "the target %s is not built into this version", e.Target)
}

// hidden is what code that was pushed must not see: DIR, what other
// environments have, and the home of the account that runs the server.
func (s *system) hidden() []string {
	paths := []string{s.dir}
	for _, e := range s.config.Load().Environments {
		if e.Target == "local" {
			paths = append(paths, e.Root)
		}
	}
	if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) && filepath.Clean(u.HomeDir) != "/" {
		paths = append(paths, u.HomeDir)
	}
	return paths
}

// command says how to type a command of ours, as hints name it.
func (s *system) command(words string) string {
	address := s.config.Load().SSH.Address
	port := strconv.Itoa(int(s.port.Load()))
	user := "deploy"
	host := address
	if address == "" {
		name, err := os.Hostname()
		if err != nil {
			name = "localhost"
		}
		host = name
	} else {
		host, port, user = splitAddress(address, user)
	}
	if port == "22" || port == "0" || port == "" {
		return fmt.Sprintf("ssh %s@%s %s", user, host, words)
	}
	return fmt.Sprintf("ssh -p %s %s@%s %s", port, user, host, words)
}

func splitAddress(address, user string) (host, port, who string) {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		user, address = address[:i], address[i+1:]
	}
	if h, p, err := net.SplitHostPort(address); err == nil {
		return h, p, user
	}
	return address, "22", user
}

// emptyDir makes a directory that only we may enter, with nothing in it.
func emptyDir(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("empty %s: %w", path, err)
	}
	return os.MkdirAll(path, 0o700)
}

// newLog writes for people on a terminal, and JSON elsewhere.
func newLog(w *os.File) zerolog.Logger {
	var out io.Writer = w
	if term.IsTerminal(int(w.Fd())) {
		out = zerolog.ConsoleWriter{Out: w, TimeFormat: time.DateTime}
	}
	return zerolog.New(out).With().Timestamp().Logger()
}

// quietLog is for commands that run without a server: only what went wrong.
func quietLog() zerolog.Logger { return newLog(os.Stderr).Level(zerolog.ErrorLevel) }

// serveCommand serves until SIGTERM.
func serveCommand(ctx context.Context, dir string, args []string) error {
	if len(args) > 0 {
		return config.Errorf(config.Usage, "slipway serve [--home DIR]", "serve takes no %q", args[0])
	}
	if err := checkPlace(dir); err != nil {
		return &config.Error{Op: "serve", Err: err}
	}
	if empty, err := isEmpty(dir); err != nil {
		return err
	} else if empty {
		if err := runInit(ctx, dir, os.Stderr); err != nil {
			return disk.Explain(err, dir)
		}
	}
	// Only who starts a process of ours may read what it writes, unless it
	// says otherwise.
	syscall.Umask(0o077)
	log := newLog(os.Stderr)
	if _, err := loadServer(dir, log); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // the signals are taken here
	defer cancel(nil)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	s, err := open(ctx, dir, log)
	if err != nil {
		return err
	}
	err = s.serve(ctx, signals)
	return errors.Join(err, s.close(ctx))
}

// serve opens the doors and waits for signals.
func (s *system) serve(ctx context.Context, signals <-chan os.Signal) error {
	cfg := s.config.Load()
	key, _, err := receiver.LoadHostKey(filepath.Join(s.dir, "host_ed25519"))
	if err != nil {
		return err
	}
	door, err := receiver.New(receiver.Options{
		Listen: cfg.SSH.Listen, HostKey: key, Keys: s.store,
		Authorities: func() []gossh.PublicKey { return s.config.Load().SSH.Authorities }, Log: s.log, Now: time.Now,
		Limits: func() receiver.Limits {
			l := s.config.Load().Limits
			return receiver.Limits{Handshake: l.Handshake, Connections: l.Connections}
		},
		Git: receiver.ServeGit(s.hooks), Command: s.app.run,
	})
	if err != nil {
		return err
	}
	if a, ok := door.Addr().(*net.TCPAddr); ok {
		s.port.Store(int32(a.Port))
	}
	s.app.dropKey = door.DropKey
	window, err := s.window(cfg)
	if err != nil {
		return err
	}
	inner, err := socket.Listen(s.dir)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", filepath.Join(s.dir, socket.Name), err)
	}
	failed := make(chan error, 3)
	sshOver, socketOver := make(chan struct{}), make(chan struct{})
	go func() { defer close(sshOver); failed <- door.Serve(ctx) }()
	go func() { defer close(socketOver); failed <- socket.Serve(ctx, inner, s.call) }()

	if keys, err := s.store.Keys(ctx); err == nil && len(keys) == 0 {
		s.log.Warn().Str("type", fmt.Sprintf("slipway --home %s key add NAME --admin < key.pub", s.dir)).Msg("no key may push yet")
	}
	ready := s.log.Info().Str("ssh", door.Addr().String()).Str("home", s.dir)
	webOver := make(chan struct{})
	if window == nil {
		close(webOver)
	} else {
		go func() {
			defer close(webOver)
			if err := window.Serve(); err != nil {
				failed <- err
			}
		}()
		ready = ready.Str("web", window.Addr().String())
	}
	ready.Msg("ready")
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // without systemd there is nobody to tell

	err = s.wait(signals, failed)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	drain, cancel := context.WithTimeout(ctx, s.config.Load().Limits.Drain)
	defer cancel()
	s.log.Info().Msg("stopping: running deploys may end")
	go func() { // a second signal is a wish to be quick
		for range signals {
			cancel()
		}
	}()
	stop := context.AfterFunc(drain, func() { s.hooks.Drain(drain) })
	defer stop()
	if e := door.Shutdown(drain); e != nil {
		s.log.Warn().Err(e).Msg("a session was cut off")
	}
	<-sshOver
	s.hooks.Drain(drain)
	if window != nil {
		err = errors.Join(err, window.Shutdown(drain))
	}
	<-webOver
	inner.Close()
	<-socketOver
	if e := os.Remove(filepath.Join(s.dir, socket.Name)); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	s.log.Info().Msg("stopped")
	return err
}

// wait returns at the signal to stop, or when a door has failed.
func (s *system) wait(signals <-chan os.Signal, failed <-chan error) error {
	for {
		select {
		case err := <-failed:
			return err
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return nil
			}
			s.reload()
		}
	}
}

// reload puts a new configuration in force, or keeps the old one.
func (s *system) reload() {
	cfg, err := loadServer(s.dir, s.log)
	var wrong config.Mistakes
	switch {
	case errors.As(err, &wrong):
		for _, m := range wrong.Lines() {
			s.log.Error().Msg(m)
		}
		s.log.Error().Msg("server.toml is wrong; the old configuration stays in force")
		return
	case err != nil:
		s.log.Error().Err(err).Str("hint", config.Hint(err)).Msg("cannot use server.toml; the old configuration stays in force")
		return
	}
	if old := s.config.Swap(cfg); old.SSH.Listen != cfg.SSH.Listen {
		s.log.Warn().Str("listen", old.SSH.Listen).Msg("[ssh] listen changes with the next start only")
	}
	s.resolver.Reload()
	s.hosts.Forget()
	s.log.Info().Msg("reloaded")
}

// call answers one call on the socket: a hook of git, or a command.
func (s *system) call(ctx context.Context, c *socket.Session) int {
	status := int(config.Failed)
	err := s.hooks.Guarded(func() error { status = s.answer(ctx, c); return nil })
	if err != nil {
		return fail(c.Err, err)
	}
	return status
}

func (s *system) answer(ctx context.Context, c *socket.Session) int {
	if c.Hello.Hook != "" {
		return s.hooks.Hook(ctx, c)
	}
	var tty *builder.Terminal
	if c.Hello.Term != "" {
		tty = &builder.Terminal{Term: c.Hello.Term, Rows: c.Hello.Rows, Columns: c.Hello.Columns, Resize: c.Sizes}
	}
	return s.app.run(ctx, localCaller(), c.Hello.Command, builder.Stdio{In: c.In, Out: c.Out, Err: c.Err}, tty)
}

// isEmpty says whether DIR is not there or has nothing in it.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	return len(entries) == 0, err
}
