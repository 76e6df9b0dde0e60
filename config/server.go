package config

import (
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Server is server.toml, read and checked, every default filled in and every
// path absolute.
type Server struct {
	Dir          string // DIR, absolute
	SSH          SSH
	Web          Web
	Limits       Limits
	Sources      []Source
	Services     Services // [services]: for every environment that has none of its own
	Environments map[Env]*Environment
	Apps         map[App]*AppSettings
}

// SSH is [ssh].
type SSH struct {
	Listen  string // host:port, default ":2222"
	Address string // what hints name, such as deploy@ship.corp:2222; "" lets the server work it out
	UserCA  string // path of a file of public keys, or ""

	// Authorities are the keys in UserCA: who has a user certificate of one
	// of them may call as the principal that it names.
	Authorities []ssh.PublicKey
}

// Web is [web].
type Web struct {
	Listen string // "" is off
	Pprof  Secret // the password of profiles; none turns them off
}

// Limits bound what a push and a build may use. Each has a documented default.
type Limits struct {
	PushBytes, TreeBytes int64
	TreeFiles            int
	BlobBytes            int64 // one file
	PathBytes            int   // one path in a tree
	SubmoduleDepth       int
	Submodules           int
	DeploysAtOnce        int
	FetchesAtOnce        int
	Connections          int
	Handshake            time.Duration
	CacheBytes           int64         // cache/modules is evicted down to this
	FetchTimeout         time.Duration // one submodule's fetch, with its retries
	LogBytes             int64         // one build's log
	Drain                time.Duration // how long SIGTERM waits for running deploys
	Sandbox              string        // "prefer" or "require"
	Links                string        // "any" or "inside"
	SpareBytes           int64         // the largest tree that a spare one is kept of, 0 keeps none
	UIDs                 [2]int        // first and last uid of builds, when Slipway is root
	Memory               int64         // bytes of one build, 0 is no limit
	Processes, OpenFiles int           // of one build
	CPUs                 int           // of one build, 0 is no limit
}

// Source is an internal git server, or a URL prefix on one.
type Source struct {
	URL        SourceURL
	Written    string // url as server.toml has it, which instead_of puts in
	Identity   string // ssh: path of a private key without passphrase
	KnownHosts string // ssh: path
	Apps       []Glob // which APP/ENV may use it
	InsteadOf  []string
	Username   string // https; default git
	Token      Secret // https; already read from file: or env:
	CA         string // path of a PEM file, or ""
	Line       int    // of its [[sources]] in server.toml
}

// Allows says whether ae may use the source.
func (s *Source) Allows(ae AppEnv) bool {
	for _, g := range s.Apps {
		if g.Match(ae) {
			return true
		}
	}
	return false
}

// Rewrite applies instead_of of all sources to a URL as written in .gitmodules
// (the longest match wins, as git's insteadOf) and returns the result. The text
// of the match is replaced by the text of that source's url, so both should end
// alike, in a slash or not.
func (c *Server) Rewrite(raw string) string {
	var longest, with string
	for i := range c.Sources {
		s := &c.Sources[i]
		for _, prefix := range s.InsteadOf {
			if len(prefix) > len(longest) && strings.HasPrefix(raw, prefix) {
				longest, with = prefix, s.Written
			}
		}
	}
	return with + raw[len(longest):]
}

// Source returns the source that covers url for ae, the longest match, or nil
// if none that ae may use does.
func (c *Server) Source(ae AppEnv, url SourceURL) *Source {
	var best *Source
	for i := range c.Sources {
		s := &c.Sources[i]
		if s.URL.Covers(url) && s.Allows(ae) && (best == nil || len(s.URL.path) > len(best.URL.path)) {
			best = s
		}
	}
	return best
}

// Environment is one [environments.NAME].
type Environment struct {
	Name       Env
	Target     string // local, ssh, container, kubernetes
	Root       string // local: absolute path (default DIR/apps/NAME); ssh: path on the hosts
	Branch     string // "" means main, then master
	Keep       int    // releases kept, default 5
	Protected  bool
	Hosts      []string // ssh: [user@]host[:port], each as ParseHost takes it
	Identity   string
	KnownHosts string
	Via        string   // ssh: a jump host, as ParseHost takes it, or ""
	User       string   // run builds as this user; "" lets the target choose
	Services   Services // its own, or else the server's
}

// Services are the servers on which apps get their services.
type Services struct {
	PostgreSQL *PostgreSQL // nil if there is none
}

// PostgreSQL is a server on which Slipway makes a database and a role for each
// APP/ENV.
type PostgreSQL struct {
	URL        Secret // postgres://LOGIN:PASSWORD@HOST[:PORT]/DATABASE, of a login that may create databases and roles
	URLForApps string // postgres://HOST[:PORT][?OPTIONS], the server as apps reach it; "" is as Slipway does
	NoCreate   bool   // no app's login may make databases of its own
}

// AppSettings is one [apps.NAME].
type AppSettings struct {
	Upstream SourceURL // zero if not set
}
