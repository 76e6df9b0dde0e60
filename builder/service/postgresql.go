package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"slipway/config"
)

// PostgreSQL is the type of a database on a server that the admin declares.
const PostgreSQL = "postgresql"

// Server is a PostgreSQL server on which each service of each APP/ENV has a
// database, and a role of the same name that owns it. It holds no connection.
type Server struct {
	admin      *pgx.ConnConfig
	host, port string // as apps reach it
	options    string // of the URL that apps get
}

// NewServer takes a server as server.toml declares it.
func NewServer(p *config.PostgreSQL) (*Server, error) {
	admin, err := pgx.ParseConfig(p.URL.Reveal())
	if err != nil { // it may quote the URL
		return nil, config.Errorf(config.Failed, "an admin corrects url of [services.postgresql] in server.toml, its options above all",
			"the URL of the postgresql server is not understood")
	}
	if admin.ConnectTimeout == 0 {
		admin.ConnectTimeout = connectTime
	}
	admin.RuntimeParams["application_name"] = "slipway"
	// One statement each, so that a pooler between is no obstacle.
	admin.DefaultQueryExecMode = pgx.QueryExecModeExec
	s := &Server{admin: admin, host: admin.Host, port: strconv.Itoa(int(admin.Port))}
	own, err := url.Parse(p.URL.Reveal())
	if err == nil && own.Query().Has("sslmode") {
		s.options = url.Values{"sslmode": {own.Query().Get("sslmode")}}.Encode()
	}
	if p.URLForApps == "" {
		return s, nil
	}
	apps, err := url.Parse(p.URLForApps)
	if err != nil {
		return nil, config.Errorf(config.Failed, "an admin corrects it in server.toml", "url_for_apps of the postgresql server is no URL")
	}
	options := apps.Query()
	if s.host = apps.Hostname(); s.host == "" {
		s.host = options.Get("host")
	}
	if s.port = apps.Port(); s.port == "" {
		s.port = options.Get("port")
	}
	if s.port == "" {
		s.port = "5432"
	}
	options.Del("host")
	options.Del("port")
	s.options = options.Encode()
	return s, nil
}

// connectTime bounds one attempt to connect.
const connectTime = 10 * time.Second

// Addr is the server as Slipway reaches it: host:port, or a socket's path.
func (s *Server) Addr() string {
	port := strconv.Itoa(int(s.admin.Port))
	if filepath.IsAbs(s.admin.Host) {
		return filepath.Join(s.admin.Host, ".s.PGSQL."+port)
	}
	return net.JoinHostPort(s.admin.Host, port)
}

// AppAddr is the server as apps reach it.
func (s *Server) AppAddr() string { return net.JoinHostPort(s.host, s.port) }

// Endpoint is how an app reaches a database of its own.
func (s *Server) Endpoint(d Database, password config.Secret) Endpoint {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(d.Name(), password.Reveal()),
		Host: s.AppAddr(), Path: "/" + d.Name(), RawQuery: s.options,
	}
	if filepath.IsAbs(s.host) {
		options := u.Query()
		options.Set("host", s.host)
		options.Set("port", s.port)
		u.Host, u.RawQuery = "", options.Encode()
	}
	return Endpoint{
		Name: d.Service, URL: u.String(), Host: s.host, Port: s.port,
		Login: d.Name(), Password: password.Reveal(),
	}
}

// Database is the database of one service of one APP/ENV.
type Database struct {
	AppEnv  config.AppEnv
	Service string
	Creates bool // its role may make more of them, as dotCloud's did
}

// maxName is the longest name that PostgreSQL keeps whole, in bytes.
const maxName = 63

// Name is what the database and its role are called: APP_ENV for the service
// db, APP_ENV_SERVICE for another. Names of apps and environments have no '_',
// so that no two are alike; a long one ends in a hash of the whole.
func (d Database) Name() string {
	name := d.AppEnv.App().String() + "_" + d.AppEnv.Env().String()
	if d.Service != "db" {
		name += "_" + d.Service
	}
	if strings.HasPrefix(name, "pg_") { // PostgreSQL's own; no app begins with '_'
		name = "_" + name
	}
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(name))
		tail := "_" + hex.EncodeToString(sum[:8])
		name = name[:maxName-len(tail)] + tail
	}
	return name
}

// marker is the comment on a role by which Slipway knows it as its own: a name
// that somebody else has given a role is never taken over.
func (d Database) marker() string { return "slipway: " + d.AppEnv.String() + " " + d.Service }

func (d Database) ident() string { return pgx.Identifier{d.Name()}.Sanitize() }

// Wait bounds how long a server may take to answer. Waiting is called once, at
// the first attempt that fails and may yet succeed, with the reason.
type Wait struct {
	For     time.Duration
	Waiting func(reason string)
}

// Make has the database and its role ready, waits until the server answers,
// and proves that the role can log in with its password. made says that the
// database is new. All of it may be repeated.
func (s *Server) Make(ctx context.Context, d Database, password config.Secret, w Wait) (made bool, err error) {
	ctx, cancel := s.bound(ctx, w)
	defer cancel()
	conn, err := s.open(ctx, w)
	if err != nil {
		return false, err
	}
	defer conn.close(ctx)
	role, err := conn.role(ctx, d)
	if err != nil {
		return false, err
	}
	if !role {
		if err := conn.makeRole(ctx, d, password); err != nil {
			return false, err
		}
	}
	if err := conn.letCreate(ctx, d); err != nil {
		return false, err
	}
	if made, err = conn.makeDatabase(ctx, d); err != nil {
		return made, err
	}
	return made, conn.prove(ctx, d, password)
}

// SetPassword gives the role another password; connections that are open stay.
func (s *Server) SetPassword(ctx context.Context, d Database, password config.Secret, w Wait) error {
	ctx, cancel := s.bound(ctx, w)
	defer cancel()
	conn, err := s.open(ctx, w)
	if err != nil {
		return err
	}
	defer conn.close(ctx)
	role, err := conn.role(ctx, d)
	if err != nil {
		return err
	}
	if !role {
		return config.Errorf(config.NotFound, "redeploy "+d.AppEnv.String()+" makes it", "postgresql at %s has no role %s", s.Addr(), d.Name())
	}
	if err := conn.setPassword(ctx, d, password); err != nil {
		return err
	}
	return conn.prove(ctx, d, password)
}

// Drop removes the database, those that its role has made, whoever uses them,
// and the role; what is not there is no error.
func (s *Server) Drop(ctx context.Context, d Database, w Wait) error {
	ctx, cancel := s.bound(ctx, w)
	defer cancel()
	conn, err := s.open(ctx, w)
	if err != nil {
		return err
	}
	defer conn.close(ctx)
	role, err := conn.role(ctx, d)
	if err != nil || !role {
		return err
	}
	if _, err := conn.database(ctx, d); err != nil {
		return err
	}
	names, err := conn.owned(ctx, d)
	if err != nil {
		return err
	}
	force := ""
	if conn.version >= 130_000 {
		force = " WITH (FORCE)"
	}
	for _, name := range names {
		if err := conn.exec(ctx, "drop database "+name, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+force); err != nil {
			return err
		}
	}
	return conn.exec(ctx, "drop role "+d.Name(), "DROP ROLE "+d.ident())
}

// Ping connects as Slipway does.
func (s *Server) Ping(ctx context.Context, w Wait) error {
	ctx, cancel := s.bound(ctx, w)
	defer cancel()
	conn, err := s.open(ctx, w)
	if err != nil {
		return err
	}
	conn.close(ctx)
	return nil
}

// Check connects as Slipway does, and proves that its login may do what it has
// to. It returns the server's version.
func (s *Server) Check(ctx context.Context, w Wait) (version string, err error) {
	ctx, cancel := s.bound(ctx, w)
	defer cancel()
	conn, err := s.open(ctx, w)
	if err != nil {
		return "", err
	}
	defer conn.close(ctx)
	var may bool
	err = conn.row(ctx, "ask for the rights of "+s.admin.User,
		"SELECT rolsuper OR rolcreatedb AND rolcreaterole FROM pg_roles WHERE rolname = current_user", nil, &may)
	if err == nil && !may {
		err = config.Errorf(config.Failed, "an admin gives it the rights: ALTER ROLE "+s.admin.User+" CREATEDB CREATEROLE",
			"postgresql at %s lets %s log in, but not make databases and roles", s.Addr(), s.admin.User)
	}
	return strconv.Itoa(conn.version / 10_000), err
}

// statementTime bounds all that is asked once the server has answered.
const statementTime = time.Minute

func (s *Server) bound(ctx context.Context, w Wait) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, w.For+statementTime, config.Errorf(config.Failed, "an admin looks what holds it up: select * from pg_stat_activity",
		"postgresql at %s does not do what it is asked within %s", s.Addr(), statementTime))
}

// open connects as the server's admin, and tries again until it answers.
func (s *Server) open(ctx context.Context, w Wait) (*admin, error) {
	began := time.Now()
	const longest = 2 * time.Second
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, longest) {
		conn, err := pgx.ConnectConfig(ctx, s.admin)
		if err == nil {
			return s.greet(ctx, conn)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !passing(err) {
			return nil, s.explain("log in as "+s.admin.User, err)
		}
		if time.Since(began)+pause > w.For {
			return nil, config.Errorf(config.Failed, "nothing changed; try again once it answers there, or an admin corrects [services.postgresql] in server.toml",
				"cannot reach postgresql at %s: %s, tried for %s", s.Addr(), reason(err), w.For)
		}
		if w.Waiting != nil {
			w.Waiting(reason(err))
			w.Waiting = nil
		}
		next := time.NewTimer(pause)
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// oldest is the first version that stores passwords as SCRAM verifiers.
const oldest = 100_000

func (s *Server) greet(ctx context.Context, conn *pgx.Conn) (*admin, error) {
	a := &admin{s: s, conn: conn}
	err := a.row(ctx, "ask for its version",
		"SELECT current_setting('server_version_num')::int, rolsuper FROM pg_roles WHERE rolname = current_user", nil, &a.version, &a.super)
	if err == nil && a.version < oldest {
		err = config.Errorf(config.Failed, "an admin upgrades it, or names another server in server.toml",
			"postgresql at %s is version %d, older than %d", s.Addr(), a.version/10_000, oldest/10_000)
	}
	if err != nil {
		a.close(ctx)
		return nil, err
	}
	return a, nil
}

// errNoRow is a question without an answer.
var errNoRow = errors.New("no row")

func notOurs(what string, d Database, addr, how string) error {
	return config.Errorf(config.Failed, "an admin renames it, or gives it to Slipway: "+how,
		"postgresql at %s has a %s %s already, which is not Slipway's", addr, what, d.Name())
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func ownership(d Database) string {
	return fmt.Sprintf("COMMENT ON ROLE %s IS %s", d.ident(), literal(d.marker()))
}
