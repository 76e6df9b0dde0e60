package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slipway is a running server with a DIR of its own: its cache is empty at
// first.
type slipway struct {
	l    *lab
	home string
	addr string
	pid  int
	log  string
	ssh  string // the ssh command of a client
	stop func() error
}

// serve starts one. It reaches the source by way of sourcePort, whatever port
// the URLs of submodules name, and the host by way of hostPort.
func (l *lab) serve(name string, sourcePort, hostPort int) (*slipway, error) {
	s := &slipway{l: l, home: l.path(name, "home"), log: l.path(name, "server.log")}
	if err := os.MkdirAll(s.home+"/keys", 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(l.path(name), 0o711); err != nil {
		return nil, err
	}
	if err := l.sh("keys", `install -m 600 key "$HOME_DIR/keys/bench"; cp known_hosts "$HOME_DIR/"`, "HOME_DIR="+s.home); err != nil {
		return nil, err
	}
	other := ""
	if sourcePort != l.source.port {
		other = fmt.Sprintf("instead_of = [%q]\n", l.url(l.source.port, ""))
	}
	config := fmt.Sprintf(`[ssh]
listen = "127.0.0.1:0"

[[sources]]
url = %q
identity = "keys/bench"
%s
[environments.dev]

[environments.prod]
target = "ssh"
hosts = ["%s@127.0.0.1:%d"]
root = %q
identity = "keys/bench"
known_hosts = "known_hosts"
`, l.url(sourcePort, ""), other, l.login, hostPort, l.path(name, "apps"))
	if err := os.WriteFile(s.home+"/server.toml", []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := os.Mkdir(l.path(name, "apps"), 0o755); err != nil {
		return nil, err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := l.command(nil, l.binary, "serve", "--home", s.home)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.pid = cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	s.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return <-ended
	}
	l.kept = append(l.kept, func() { _ = s.stop() })
	if err := waitForText(s.log, `"message":"ready"`, ended); err != nil {
		text, _ := os.ReadFile(s.log)
		return nil, fmt.Errorf("slipway serve: %w\n%s", err, text)
	}
	text, err := os.ReadFile(s.log)
	if err != nil {
		return nil, err
	}
	s.addr = string(regexp.MustCompile(`"ssh":"([^"]*)".*"ready"`).FindSubmatch(text)[1])
	s.ssh = "ssh -F none -i " + l.path("key") +
		" -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=" + l.path(name, "pins") + " -o LogLevel=ERROR"
	return s, l.sh("key add", `"$SLIPWAY" --home "$HOME_DIR" key add bench --admin <key.pub`, "SLIPWAY="+l.binary, "HOME_DIR="+s.home)
}

// command runs one over SSH.
func (s *slipway) command(words string) error {
	host, port, _ := strings.Cut(s.addr, ":")
	return s.l.sh(words, s.ssh+` -p "$PORT" "deploy@$HOST" `+words, "HOST="+host, "PORT="+port)
}

// deploy pushes a clone's HEAD.
func (s *slipway) deploy(clone, appEnv string) error {
	cmd := s.l.command([]string{"GIT_SSH_COMMAND=" + s.ssh}, "git", "-C", clone, "push", "ssh://deploy@"+s.addr+"/"+appEnv, "HEAD:main")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("push to %s: %w\n%s", appEnv, err, out)
	}
	return nil
}

// steps gives the seconds of each step of the newest release.
func (s *slipway) steps(appEnv string) (map[string]float64, error) {
	cmd := s.l.command(nil, s.l.binary, "--home", s.home, "releases", appEnv, "--json")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("releases %s: %w", appEnv, err)
	}
	var releases []struct {
		State string             `json:"state"`
		Steps map[string]float64 `json:"steps"`
	}
	if err := json.Unmarshal(out, &releases); err != nil {
		return nil, err
	}
	if len(releases) == 0 || releases[0].State != "live" {
		return nil, fmt.Errorf("releases %s: the newest is not live:\n%s", appEnv, out)
	}
	return releases[0].Steps, nil
}

// settled waits until what a local deploy leaves to the background is done: the
// spare tree that the next one is made of. n counts the deploys to appEnv.
func (s *slipway) settled(appEnv string, n int) error {
	return eventually(fmt.Sprintf("%d spare trees of %s", n, appEnv), func() (bool, error) {
		text, err := os.ReadFile(s.log)
		ready := 0
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "a spare tree is ready") && strings.Contains(line, `"app":"`+appEnv+`"`) {
				ready++
			}
		}
		return ready >= n, err
	})
}

// settledHost waits until the host has a spare tree that is newer than since.
func (s *slipway) settledHost(appEnv string, since time.Time) error {
	app, _, _ := strings.Cut(appEnv, "/")
	return eventually("a spare tree on the host", func() (bool, error) {
		info, err := os.Stat(filepath.Join(filepath.Dir(s.home), "apps", app, "spare.list"))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil && info.ModTime().After(since), err
	})
}

// memory gives the server's resident memory in bytes: the most since forget, or
// what it is now.
func (s *slipway) memory(field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("/proc/%d/status has no %s", s.pid, field)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	return n << 10, err
}

// forget makes the present memory the most that there was.
func (s *slipway) forget() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.pid), []byte("5"), 0)
}
