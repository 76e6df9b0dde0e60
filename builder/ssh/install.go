package ssh

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	gossh "golang.org/x/crypto/ssh"

	"slipway/builder"
	"slipway/builder/agent"
	"slipway/config"
)

// architectures are those that an agent is made for, by what uname calls them.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// programs are the agents for each architecture.
type programs struct {
	o   PoolOptions
	mu  sync.Mutex
	all map[string]program // by architecture, as Go calls it
}

// program is an agent that can be put on a machine.
type program struct{ path, sum string }

func newPrograms(o PoolOptions) *programs { return &programs{o: o, all: map[string]program{}} }

// of returns the program for an architecture, whose sum is "" if there is none.
func (p *programs) of(arch string) (program, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found, ok := p.all[arch]; ok {
		return found, nil
	}
	paths := []string{p.o.Executable}
	if arch != runtime.GOARCH {
		paths = nil
		for _, dir := range p.o.Agents {
			paths = append(paths, filepath.Join(dir, "slipway-linux-"+arch))
		}
	}
	for _, path := range paths {
		if arch != runtime.GOARCH {
			switch ok, err := fits(path, arch); {
			case errors.Is(err, fs.ErrNotExist):
				continue
			case err != nil:
				return program{}, config.Errorf(config.Failed, p.o.hintFor(arch), "the agent for %s: %w", arch, err)
			case !ok:
				return program{}, config.Errorf(config.Failed, p.o.hintFor(arch), "%s is not slipway for Linux on %s", path, arch)
			}
		}
		sum, err := agent.Checksum(path)
		if err != nil {
			return program{}, fmt.Errorf("read %s: %w", path, err)
		}
		p.all[arch] = program{path, sum}
		return p.all[arch], nil
	}
	return program{}, nil
}

// hintFor says how the program for another architecture comes here.
func (o PoolOptions) hintFor(arch string) string {
	return fmt.Sprintf("put this version for Linux on %s at %s: GOARCH=%s make build makes it", arch,
		filepath.Join(o.Agents[0], "slipway-linux-"+arch), arch)
}

// fits says whether a file is this program for another architecture.
func fits(path, arch string) (bool, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return false, err
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	return info.Main.Path == "slipway" && set["GOOS"] == "linux" && set["GOARCH"] == arch, nil
}

// packet is how much of a program goes at once.
const packet = 256 << 10

// machine is one that was logged in to.
type machine struct {
	conn       *gossh.Client
	name, user string
	sudo       bool
	programs   *programs
}

// start is what runs on the machine: the agent, if it is there. Its second word
// says why not, and its third what the machine is.
const start = `m=$(uname -m); s=$(uname -s)
case "$s $m" in
"Linux x86_64") f=%s ;;
"Linux aarch64") f=%s ;;
*) echo "%s unsupported $s-$m"; exit 0 ;;
esac
p="$HOME/.slipway/agent/$f/slipway"
if [ -z "$f" ] || [ ! -f "$p" ]; then echo "%s missing $m"; exit 0; fi
exec %s"$p" agent
`

// install takes the program from standard input, and puts it in its place if it
// is whole.
const install = `set -e
umask 077
d="$HOME/.slipway/agent"
mkdir -p "$d/%[1]s"
t="$d/.new.$$"
trap 'rm -f "$t"' EXIT
gzip -dc > "$t"
s=$(sha256sum < "$t")
if [ "${s%%%% *}" != %[1]s ]; then echo "what arrived is damaged" >&2; exit 1; fi
chmod 700 "$t"
sync
mv -f "$t" "$d/%[1]s/slipway"
`

// agent starts the agent, and installs it first where it is not there or is not
// what it should be.
func (m machine) agent(ctx context.Context) (*agent.Client, error) {
	var sums []string
	for _, arch := range []string{"amd64", "arm64"} {
		p, err := m.programs.of(arch)
		if err != nil {
			return nil, err
		}
		sums = append(sums, p.sum)
	}
	sudo := ""
	if m.sudo {
		sudo = "sudo -n -- "
	}
	script := fmt.Sprintf(start, sums[0], sums[1], agent.Greeting, agent.Greeting, sudo)
	for try := 0; ; try++ {
		client, err := m.run(script)
		var other *agent.OtherError
		var broken *startError
		switch {
		case err == nil && (client.Sum == sums[0] || client.Sum == sums[1]):
			return client, nil
		case err == nil && try > 0:
			return nil, errors.Join(fmt.Errorf("%s: the agent is not the one that was put there", m.name), client.Close())
		case err == nil: // it was damaged
			if err := client.Close(); err != nil {
				return nil, err
			}
			if _, err := m.removeDamaged(sums); err != nil {
				return nil, err
			}
		case errors.As(err, &other) && other.Protocol == "missing" && try < 2:
			if err := m.install(ctx, other.Sum); err != nil {
				return nil, err
			}
		case errors.As(err, &broken) && try == 0:
			// What is there may be no whole program: after a power cut, say.
			if removed, failed := m.removeDamaged(sums); failed != nil || !removed {
				return nil, errors.Join(err, failed)
			}
		case errors.As(err, &other) && other.Protocol == "unsupported":
			return nil, config.Errorf(config.Failed, "agents are made for Linux on x86_64 and aarch64",
				"%s runs %s, for which there is no agent", m.name, builder.Clean(other.Sum))
		default:
			return nil, err
		}
	}
}

// run starts a script and takes the agent's greeting.
func (m machine) run(script string) (*agent.Client, error) {
	s, err := m.conn.NewSession()
	if err != nil {
		return nil, fmt.Errorf("%s opens no session: %w", m.name, err)
	}
	said := &tail{}
	s.Stderr = said
	in, err := s.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.Start("exec sh -c " + quote(script)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s runs no command: %w", m.name, err), s.Close())
	}
	client, err := agent.Connect(session{out, s}, in)
	if err == nil {
		return client, nil
	}
	var other *agent.OtherError
	if errors.As(err, &other) {
		_ = s.Close() // it has said what it had to
		return nil, err
	}
	ended := s.Wait()
	return nil, &startError{m.explain(errors.Join(err, ended), said.String())}
}

// startError is a program in the agent's place that is no agent.
type startError struct{ error }

func (e *startError) Unwrap() error { return e.error }

// session closes an SSH session with its output.
type session struct {
	io.Reader
	s *gossh.Session
}

func (s session) Close() error { return s.s.Close() }

// explain says why no agent came.
func (m machine) explain(err error, said string) error {
	first, _, _ := strings.Cut(said, "\n")
	first = builder.Clean(first)
	switch {
	case m.sudo && strings.Contains(first, "sudo:"):
		return config.Errorf(config.Denied,
			fmt.Sprintf("allow it there: %s ALL=(root) NOPASSWD: /home/%s/.slipway/agent/*/slipway agent; or leave user out", m.user, m.user),
			"%s may not become root on %s, so builds cannot have an account of their own: %s", m.user, m.name, first)
	case first != "":
		return config.Errorf(config.Failed, "log in there as "+m.user+", and run ~/.slipway/agent/*/slipway version",
			"the agent does not start on %s: %s", m.name, first)
	}
	return fmt.Errorf("the agent does not start on %s: %w", m.name, err)
}

// install puts the agent on the machine.
func (m machine) install(ctx context.Context, uname string) (err error) {
	arch := architectures[uname]
	p, err := m.programs.of(arch)
	if err != nil {
		return err
	}
	if p.sum == "" {
		return config.Errorf(config.Failed, m.programs.o.hintFor(arch),
			"%s is a machine of another kind (%s), and its agent is not here", m.name, uname)
	}
	s, err := m.conn.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close()
	var said bytes.Buffer
	s.Stderr = &said
	in, err := s.StdinPipe()
	if err != nil {
		return err
	}
	if err := s.Start("exec sh -c " + quote(fmt.Sprintf(install, p.sum))); err != nil {
		return err
	}
	// Without the buffer every few hundred bytes were a packet of their own.
	packets := bufio.NewWriterSize(in, packet)
	z, err := gzip.NewWriterLevel(packets, gzip.BestSpeed)
	if err != nil {
		return err
	}
	_, err = io.Copy(z, f)
	err = errors.Join(err, z.Close(), packets.Flush(), in.Close())
	if ended := s.Wait(); ended != nil {
		if text := builder.Clean(strings.TrimSpace(said.String())); text != "" {
			ended = errors.New(text)
		}
		return config.Errorf(config.Failed, "the login needs a home with room in it, and gzip and sha256sum",
			"the agent cannot be put on %s: %w", m.name, ended)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// removeDamaged removes agents whose content is not what their place says, and
// tells whether there was one.
func (m machine) removeDamaged(sums []string) (bool, error) {
	s, err := m.conn.NewSession()
	if err != nil {
		return false, err
	}
	defer s.Close()
	script := `cd "$HOME/.slipway/agent" || exit 0` + "\n"
	for _, sum := range sums {
		if sum != "" {
			script += fmt.Sprintf("if [ -f %[1]s/slipway ]; then s=$(sha256sum < %[1]s/slipway); if [ \"${s%%%% *}\" != %[1]s ]; then rm -f %[1]s/slipway; echo removed; fi; fi\n", sum)
		}
	}
	out, err := s.Output("exec sh -c " + quote(script))
	return len(out) > 0, err
}

// quote makes text one word of a shell command.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// tail keeps the beginning of what a program says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 4 << 10
	t.text = append(t.text, b[:min(len(b), most-len(t.text))]...)
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
