package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"slipway/builder/service/pgtest"
)

// postgresql is a script's own PostgreSQL, and what was seen while it was there.
type postgresql struct {
	*pgtest.Cluster
	ctx   context.Context //nolint:containedctx // of one script: testscript has none to hand on
	stop  context.CancelFunc
	ended sync.WaitGroup

	mu   sync.Mutex
	args map[string]bool // command lines of all processes
}

// closePostgreSQL ends a script's server.
func (w *world) closePostgreSQL() {
	if w.pg == nil {
		return
	}
	w.pg.stop()
	w.pg.ended.Wait()
	if err := w.pg.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "postgresql:", err)
	}
}

// pgVerb: pg declare makes a server that does not run yet, and declares it in
// server.toml; pg start and pg stop run it; pg quiet FILE proves that the
// password in the file is neither in the server's log, nor in anything else
// that a process or a log has shown since.
func pgVerb(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	switch args[0] {
	case "declare":
		w.declare(ts)
	case "start":
		ts.Check(w.pg.Start(w.pg.ctx))
	case "stop":
		ts.Check(w.pg.Stop())
	case "quiet":
		w.pg.quiet(ts, strings.TrimSpace(ts.ReadFile(args[1])))
	default:
		ts.Fatalf("pg %s?", args)
	}
}

func (w *world) declare(ts *testscript.TestScript) {
	pg := &postgresql{args: map[string]bool{}}
	pg.ctx, pg.stop = context.WithCancel(context.Background())
	var err error
	pg.Cluster, err = pgtest.New(pg.ctx)
	if err != nil {
		pg.stop()
		ts.Fatalf("%v", err)
	}
	w.pg = pg
	pg.ended.Go(pg.watch)
	dir := ts.Getenv("DIR")
	ts.Check(os.WriteFile(filepath.Join(dir, "keys", "postgresql"), []byte(pg.URL(pgtest.Admin, pgtest.AdminPassword, "postgres")+"\n"), 0o600))
	f, err := os.OpenFile(filepath.Join(dir, "server.toml"), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteString("\n[services.postgresql]\nurl = \"file:keys/postgresql\"\n")
	ts.Check(err)
	ts.Check(f.Close())
	ts.Setenv("PGPORT", fmt.Sprint(pg.Port))
	ts.Setenv("PGHOST", "127.0.0.1")
	ts.Setenv("SUPER", pg.URL(pgtest.Super, pgtest.SuperPassword, "postgres"))
}

// watch collects the command lines of every process that it sees.
func (pg *postgresql) watch() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-pg.ctx.Done():
			return
		case <-tick.C:
		}
		paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			continue
		}
		pg.mu.Lock()
		for _, path := range paths {
			if text, err := os.ReadFile(path); err == nil { // else it has ended
				pg.args[string(text)] = true
			}
		}
		pg.mu.Unlock()
	}
}

func (pg *postgresql) quiet(ts *testscript.TestScript, password string) {
	if len(password) < 20 {
		ts.Fatalf("%q is no password", password)
	}
	pg.mu.Lock()
	defer pg.mu.Unlock()
	for line := range pg.args {
		if strings.Contains(line, password) {
			ts.Fatalf("a process has the password among its arguments: %q", line)
		}
	}
	if len(pg.args) == 0 {
		ts.Fatalf("no process was seen")
	}
	look := func(path string) {
		text, err := os.ReadFile(path)
		ts.Check(err)
		if strings.Contains(string(text), password) {
			ts.Fatalf("%s has the password", path)
		}
	}
	look(pg.Log)
	look(filepath.Join(ts.Getenv("WORK"), "server.log"))
	for _, dir := range []string{"logs", "repos", "tmp"} {
		ts.Check(filepath.WalkDir(filepath.Join(ts.Getenv("DIR"), dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				look(path)
			}
			return err
		}))
	}
	for _, name := range []string{"slipway.db", "slipway.db-wal"} {
		look(filepath.Join(ts.Getenv("DIR"), name))
	}
}
