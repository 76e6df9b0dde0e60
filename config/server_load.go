package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// ServerFile is the name of the server's configuration in DIR.
const ServerFile = "server.toml"

const maxServerBytes = 1 << 20

// DefaultLimits are the limits that server.toml does not set.
func DefaultLimits() Limits {
	return Limits{
		PushBytes: 2 << 30, TreeBytes: 8 << 30, TreeFiles: 500_000, BlobBytes: 1 << 30, PathBytes: 4095,
		SubmoduleDepth: 16, Submodules: 256, FetchesAtOnce: 8, FetchTimeout: 10 * time.Minute, CacheBytes: 20 << 30,
		DeploysAtOnce: 4, Connections: 256, Handshake: 20 * time.Second, Drain: 10 * time.Minute, LogBytes: 64 << 20,
		Sandbox: "prefer", Links: "any", SpareBytes: 2 << 30,
		// Above what useradd and systemd give out (up to 65535), below the
		// ranges of containers (from 100000).
		UIDs:   [2]int{70_000, 99_999},
		Memory: 0, Processes: 4096, OpenFiles: 65_536,
	}
}

// LoadServer reads DIR/server.toml; where there is none, everything has its
// default. The error, if any, is a Mistakes that lists everything that is wrong
// at once.
func LoadServer(dir string) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, Mistakes{{File: ServerFile, Text: err.Error()}}
	}
	data, mode, err := readServerFile(filepath.Join(dir, ServerFile))
	if err != nil {
		return nil, Mistakes{{File: ServerFile, Text: err.Error()}}
	}
	c, doc := parseServer(dir, data, mode, builtIn())
	if err := doc.mistakes.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// readServerFile returns nothing and no error if there is no file.
func readServerFile(path string) (_ []byte, mode fs.FileMode, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxServerBytes+1))
	return data, info.Mode().Perm(), err
}

// builtIn lists what this version can do of all that server.toml can ask for.
func builtIn() []string { return []string{"local", "ssh", "web", "postgresql", "user_ca"} }

// loader is the state of reading one server.toml.
type loader struct {
	c     *Server
	mode  fs.FileMode // of server.toml
	built []string
}

// needs notes that a key, if it is there, asks for what this version has not.
func (l *loader) needs(t *table, key, feature, hint string) {
	if t.has(key) && !slices.Contains(l.built, feature) {
		t.bad(key, "not built into this version", hint)
	}
}

func parseServer(dir string, data []byte, mode fs.FileMode, built []string) (*Server, *document) {
	doc, top := openDocument(ServerFile, data, maxServerBytes)
	if top == nil {
		return nil, doc
	}
	l := &loader{mode: mode, built: built, c: &Server{Dir: dir, Environments: map[Env]*Environment{}, Apps: map[App]*AppSettings{}}}
	l.ssh(top.table("ssh"))
	l.web(top.table("web"))
	l.limits(top.table("limits"))
	l.sources(top.tables("sources"))
	l.c.Services = l.services(top.table("services"))
	l.environments(top)
	l.apps(top)
	top.unknown()
	return l.c, doc
}

func (l *loader) ssh(t *table) {
	l.c.SSH.Listen = t.str("listen", ":2222", "127.0.0.1:2222")
	if text := checkListen(l.c.SSH.Listen); text != "" {
		t.bad("listen", quote(l.c.SSH.Listen)+": "+text, `such as: listen = ":2222"`)
	}
	l.c.SSH.Address = l.host(t, "address", "deploy@ship.corp:2222")
	l.userCA(t)
	t.unknown()
}

// userCA takes the file of the authorities whose user certificates let in.
func (l *loader) userCA(t *table) {
	l.needs(t, "user_ca", "user_ca", "leave it out")
	name := t.filled("user_ca", "keys/user_ca.pub")
	if name == "" {
		return
	}
	path, data, ok := l.read(t, "user_ca", name, checkPublicKeys)
	if !ok {
		return
	}
	l.c.SSH.UserCA = path
	for _, line := range keyLines(data) {
		if line.key != nil {
			l.c.SSH.Authorities = append(l.c.SSH.Authorities, line.key)
		}
	}
}

func (l *loader) web(t *table) {
	l.c.Web.Listen = t.str("listen", "", "127.0.0.1:8080")
	if l.c.Web.Listen != "" {
		l.needs(t, "listen", "web", `listen = ""`)
		if text := checkListen(l.c.Web.Listen); text != "" {
			t.bad("listen", quote(l.c.Web.Listen)+": "+text, `such as: listen = "127.0.0.1:8080"; "" turns it off`)
		}
	}
	if t.has("pprof") {
		l.c.Web.Pprof = l.secret(t, "pprof", false)
		if l.c.Web.Listen == "" {
			t.bad("pprof", "there is no window that could show profiles", `set listen = "127.0.0.1:8080" beside it`)
		}
	}
	t.unknown()
}

// host takes one host; "" if it is not there or wrong.
func (l *loader) host(t *table, key, example string) string {
	s := t.str(key, "", example)
	if s == "" {
		return ""
	}
	if _, err := ParseHost(s); err != nil {
		t.badErr(key, err)
		return ""
	}
	return s
}

func (l *loader) limits(t *table) {
	const mib = 1 << 20
	many := math.MaxInt32
	d := DefaultLimits()
	l.c.Limits = Limits{
		PushBytes:      t.size("push_bytes", d.PushBytes, mib),
		TreeBytes:      t.size("tree_bytes", d.TreeBytes, mib),
		TreeFiles:      t.integer("tree_files", d.TreeFiles, 1, many),
		BlobBytes:      t.size("blob_bytes", d.BlobBytes, mib),
		PathBytes:      t.integer("path_bytes", d.PathBytes, 64, 4095),
		SubmoduleDepth: t.integer("submodule_depth", d.SubmoduleDepth, 0, 64),
		Submodules:     t.integer("submodules", d.Submodules, 0, 100_000),
		FetchesAtOnce:  t.integer("fetches_at_once", d.FetchesAtOnce, 1, 64),
		FetchTimeout:   t.duration("fetch_timeout", d.FetchTimeout, time.Second, 24*time.Hour),
		CacheBytes:     t.size("cache_bytes", d.CacheBytes, 0),
		DeploysAtOnce:  t.integer("deploys_at_once", d.DeploysAtOnce, 1, 1024),
		Connections:    t.integer("connections", d.Connections, 1, 65_536),
		Handshake:      t.duration("handshake", d.Handshake, time.Second, 10*time.Minute),
		Drain:          t.duration("drain", d.Drain, 0, 24*time.Hour),
		LogBytes:       t.size("log_bytes", d.LogBytes, 64<<10),
		Sandbox:        t.choice("sandbox", d.Sandbox, "prefer", "require"),
		Links:          t.choice("links", d.Links, "any", "inside"),
		SpareBytes:     t.size("spare_bytes", d.SpareBytes, 0),
		UIDs:           uids(t, d.UIDs),
		Memory:         t.size("memory", d.Memory, 0),
		Processes:      t.integer("processes", d.Processes, 16, 4_194_304),
		OpenFiles:      t.integer("open_files", d.OpenFiles, 64, 1_048_576),
		CPUs:           t.integer("cpus", d.CPUs, 0, 4096),
	}
	if m := l.c.Limits.Memory; m > 0 && m < 16*mib {
		t.bad("memory", fmt.Sprintf("%d bytes is too little to start anything", m), `0 is no limit, else such as: memory = "1GiB"`)
	}
	t.unknown()
}

var uidRange = NewPattern(`^([0-9]{1,10})-([0-9]{1,10})$`)

// uids takes "LOW-HIGH".
func uids(t *table, def [2]int) [2]int {
	const least, most, nobody, none16 = 1000, math.MaxInt32 - 1, 65_534, 65_535
	s := t.str("uids", "", "70000-99999")
	if !t.has("uids") {
		return def
	}
	hint := fmt.Sprintf("two numbers, such as: uids = \"%d-%d\"", def[0], def[1])
	m := uidRange.FindStringSubmatch(s)
	if m == nil {
		if _, ok := t.values["uids"].(string); ok {
			t.bad("uids", quote(s)+" is not LOW-HIGH", hint)
		}
		return def
	}
	low, errLow := strconv.Atoi(m[1])
	high, errHigh := strconv.Atoi(m[2])
	switch {
	case errLow != nil || errHigh != nil || low < least || high > most:
		t.bad("uids", fmt.Sprintf("%s is out of range", s), fmt.Sprintf("from %d to %d", least, most))
	case high < low:
		t.bad("uids", s+" ends before it begins", hint)
	case low <= none16 && high >= nobody:
		t.bad("uids", fmt.Sprintf("%s includes %d (nobody) or %d (none)", s, nobody, none16), hint)
	default:
		return [2]int{low, high}
	}
	return def
}
