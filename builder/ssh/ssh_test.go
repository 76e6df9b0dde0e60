package ssh

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"slipway/builder/agent"
	"slipway/builder/host"
	"slipway/builder/sshclient/sshdtest"
	"slipway/builder/targettest"
	"slipway/config"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case host.SandboxCommand:
			os.Exit(host.SandboxMain())
		case agent.Command:
			os.Exit(agent.Main(os.Stdin, os.Stdout, os.Stderr))
		}
	}
	os.Exit(m.Run())
}

// field is a number of hosts, each a real sshd, with homes and roots below one
// directory.
type field struct {
	dir   string
	env   *config.Environment
	pool  *Pool
	hosts []*sshdtest.Server
	homes []string
}

// newField starts the hosts. As they are one machine they have one file system:
// who uses them gives each a root of its own.
func newField(t *testing.T, n int) *field { t.Helper(); return newFieldWith(t, n, nil) }

// newFieldWith has hosts that are not as usual.
func newFieldWith(t *testing.T, n int, change func(f *field, o *sshdtest.Options)) *field {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "identity")
	sshdtest.WriteKey(t, key, sshdtest.NewKey(t, "ed25519"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &field{
		dir:  dir,
		env:  &config.Environment{Target: "ssh", Identity: key, KnownHosts: filepath.Join(dir, "known_hosts"), Root: filepath.Join(dir, "apps")},
		pool: NewPool(PoolOptions{Executable: self, Agents: []string{dir}}),
	}
	t.Cleanup(func() {
		if err := f.pool.Close(); err != nil {
			t.Error(err)
		}
	})
	known := ""
	for i := range n {
		home := filepath.Join(dir, fmt.Sprintf("home%d", i))
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		o := sshdtest.Options{IP: fmt.Sprintf("127.0.%d.%d", 10+i, 1), Env: []string{"HOME=" + home}}
		if change != nil {
			change(f, &o)
		}
		s := sshdtest.Start(t, o)
		s.Allow(t, key, "")
		known += s.Known() + "\n"
		f.hosts, f.homes = append(f.hosts, s), append(f.homes, home)
		f.env.Hosts = append(f.env.Hosts, s.Host.String())
	}
	if err := os.WriteFile(f.env.KnownHosts, []byte(known), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *field) target(t *testing.T) *Target {
	t.Helper()
	target, err := New(Options{
		Pool: f.pool, Env: f.env,
		UID: func(context.Context, config.AppEnv) (int, error) { return 61237, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// TestTarget runs the suite on one host, and on two.
func TestTarget(t *testing.T) {
	for _, hosts := range []int{1, 2} {
		f := newField(t, hosts)
		number := make(chan int, 1)
		number <- 0
		t.Run(fmt.Sprintf("%dHosts", hosts), func(t *testing.T) {
			targettest.Run(t, func(t *testing.T) targettest.Place {
				n := <-number
				number <- n + 1
				p := targettest.Place{}
				target := f.target(t)
				for i, h := range target.hosts {
					h.root = fmt.Sprintf("%s-%d-%d", f.env.Root, n, i)
					p.Roots = append(p.Roots, h.root)
				}
				p.Target = target
				return p
			})
		})
	}
}

// What is in the agent's place and is not whole is put there anew.
func TestDamagedAgent(t *testing.T) {
	f := newField(t, 1)
	target := f.target(t)
	if c := target.Doctor(t.Context()); len(c) == 0 || c[0].Level != "ok" {
		t.Fatalf("doctor: %+v", c)
	}
	agents, err := filepath.Glob(filepath.Join(f.homes[0], ".slipway/agent/*/slipway"))
	if err != nil || len(agents) != 1 {
		t.Fatalf("agents: %v %v", agents, err)
	}
	for name, text := range map[string]string{"empty": "", "cut off": "\x7fELF", "another": "#!/bin/sh\nexit 3\n"} {
		f.pool.Forget()
		if err := os.Remove(agents[0]); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(agents[0], []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		if c := target.Doctor(t.Context()); len(c) == 0 || c[0].Level != "ok" {
			t.Errorf("%s: doctor: %+v", name, c)
		}
	}
}
