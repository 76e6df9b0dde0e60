// Package pgtest runs a real PostgreSQL for tests, as an ordinary user: the
// server refuses root. Nothing but tests uses it.
package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Logins of every cluster: Admin may make roles and databases, and no more, as
// the login that Slipway is given.
const (
	Super         = "postgres"
	Admin         = "slipway"
	SuperPassword = "canary-super"
	AdminPassword = "canary/admin?"
)

// Cluster is one server's data on a port of 127.0.0.1 that stays the same.
type Cluster struct {
	Port int
	Log  string // path of what the server writes, statements included
	dir  string
	bin  string
	who  *syscall.Credential // nil to run as who runs the test
	cmd  *exec.Cmd
	over chan error
}

// New makes a cluster, with the login Admin in it, that does not run yet. Close
// removes it.
func New(ctx context.Context) (_ *Cluster, err error) {
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(bins) == 0 {
		return nil, errors.New("these tests need a real PostgreSQL: apt-get install -y --no-install-recommends postgresql")
	}
	c := &Cluster{bin: filepath.Dir(bins[len(bins)-1])}
	if c.dir, err = os.MkdirTemp("", "pg."); err != nil {
		return nil, err
	}
	c.Log = filepath.Join(c.dir, "log")
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	password := filepath.Join(c.dir, "password")
	if err := os.WriteFile(password, []byte(SuperPassword+"\n"), 0o600); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if c.who, err = ordinary(); err != nil {
			return nil, err
		}
		for _, path := range []string{c.dir, password} {
			if err := os.Chown(path, int(c.who.Uid), int(c.who.Gid)); err != nil {
				return nil, err
			}
		}
	}
	if c.Port, err = freePort(); err != nil {
		return nil, err
	}
	init := c.command(ctx, "initdb", "-D", c.data(), "-U", Super, "--pwfile", password,
		"--auth", "scram-sha-256", "--no-sync", "--locale", "C.UTF-8", "--encoding", "UTF8")
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	err = c.Exec(ctx, "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN CREATEDB CREATEROLE PASSWORD '%s'", Admin, AdminPassword))
	return c, errors.Join(err, c.Stop())
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.who, Setpgid: true}
	return cmd
}

// ordinary is the first user that can log in, or else nobody.
func ordinary() (*syscall.Credential, error) {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	who := &syscall.Credential{Uid: 65534, Gid: 65534}
	for in := bufio.NewScanner(f); in.Scan(); {
		fields := strings.Split(in.Text(), ":")
		if len(fields) < 4 {
			continue
		}
		uid, err := strconv.Atoi(fields[2])
		gid, errGID := strconv.Atoi(fields[3])
		if err == nil && errGID == nil && uid >= 1000 && uid < 60_000 {
			who.Uid, who.Gid = uint32(uid), uint32(gid)
			break
		}
	}
	return who, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// Start starts the server, and returns once it takes connections. ctx bounds
// the start alone.
func (c *Cluster) Start(ctx context.Context) error {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", c.data(), "-p", strconv.Itoa(c.Port), "-k", c.dir}
	for _, option := range []string{
		"listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=16MB", "max_connections=20",
		"log_statement=all", "logging_collector=off", "autovacuum=off",
	} {
		args = append(args, "-c", option)
	}
	c.cmd = c.command(context.WithoutCancel(ctx), "postgres", args...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		return err
	}
	c.over = make(chan error, 1)
	go func(cmd *exec.Cmd, over chan<- error) { over <- cmd.Wait() }(c.cmd, c.over)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.Exec(ctx, "postgres", "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case end := <-c.over:
			c.over <- end
			text, _ := os.ReadFile(c.Log)
			return fmt.Errorf("postgres ended: %v\n%s", end, text)
		case <-ctx.Done():
			return errors.Join(err, c.Stop())
		case <-tick.C:
		}
	}
}

// Stop ends the server, cutting off who is connected; one that does not run is
// no error.
func (c *Cluster) Stop() error {
	if c.cmd == nil {
		return nil
	}
	cmd := c.cmd
	c.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.over:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("postgres does not end within 30 s"), cmd.Process.Kill())
	}
}

// Close ends the server and removes its data.
func (c *Cluster) Close() error { return errors.Join(c.Stop(), os.RemoveAll(c.dir)) }

// URL is one for server.toml.
func (c *Cluster) URL(login, password, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(login, password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Exec runs statements as the superuser.
func (c *Cluster) Exec(ctx context.Context, database string, statements ...string) error {
	conn, err := pgx.Connect(ctx, c.URL(Super, SuperPassword, database))
	if err != nil {
		return err
	}
	for _, q := range statements {
		if _, e := conn.Exec(ctx, q); e != nil {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// Value asks one question as the superuser; the answer is text.
func (c *Cluster) Value(ctx context.Context, database, query string, args ...any) (answer string, err error) {
	conn, err := pgx.Connect(ctx, c.URL(Super, SuperPassword, database))
	if err != nil {
		return "", err
	}
	err = conn.QueryRow(ctx, query, args...).Scan(&answer)
	return answer, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}
