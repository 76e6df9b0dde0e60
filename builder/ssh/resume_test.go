package ssh

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"slipway/builder"
	"slipway/builder/targettest"
	"slipway/config"
)

// cutTree has something happen in the middle of a content, once.
type cutTree struct {
	*targettest.Tree
	after int64 // bytes of it
	cut   func()
	once  sync.Once
}

func (c *cutTree) Contents(ctx context.Context, which []int, got func(i int, size int64, r io.Reader) error) error {
	return c.Tree.Contents(ctx, which, func(i int, size int64, r io.Reader) error {
		return got(i, size, io.MultiReader(io.LimitReader(r, c.after), readerFunc(func([]byte) (int, error) {
			c.once.Do(c.cut)
			return 0, io.EOF
		}), r))
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// What arrived is not sent again, however the connection was cut.
func TestResume(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*testing.T, *field){
		"power":   func(t *testing.T, f *field) { f.hosts[0].Lose(t); f.hosts[0].Return(t) },
		"session": func(t *testing.T, f *field) { f.end(t, "sshd") },
		"agent":   func(t *testing.T, f *field) { f.end(t, "slipway") },
		"server":  func(_ *testing.T, f *field) { f.pool.cut() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newField(t, 1)
			const size = 24 << 20
			noise := make([]byte, size)
			source := rand.NewChaCha8([32]byte{1})
			_, _ = source.Read(noise) // it never fails
			ae, err := config.ParseAppEnv("shop/prod")
			if err != nil {
				t.Fatal(err)
			}
			tree := &cutTree{Tree: &targettest.Tree{Files: map[string]string{"big": string(noise)}}, after: size / 2}
			tree.cut = func() { cut(t, f) }
			sent, err := f.target(t).Place(t.Context(), builder.Ref{AppEnv: ae, Number: 1}, tree)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(f.env.Root, "shop/releases/1/big"))
			if err != nil || string(text) != string(noise) {
				t.Errorf("what was laid out is not what was sent: %d bytes, %v", len(text), err)
			}
			t.Logf("%d of %d bytes were sent", sent.Bytes, size)
			// What was on its way at the cut is lost: buffers of a few MiB.
			if sent.Bytes > size+size/4 {
				t.Errorf("%d bytes were sent for %d", sent.Bytes, size)
			}
		})
	}
}

// cut ends the connections under those that use them.
func (p *Pool) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		l.mu.Lock()
		_ = l.client.Close() // nobody is told
		l.mu.Unlock()
	}
}

// end ends the processes of the first host with a word in their name, but for
// the sshd that takes connections.
func (f *field) end(t *testing.T, word string) {
	t.Helper()
	for _, pid := range f.hosts[0].Processes(t) {
		name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err == nil && strings.Contains(string(name), word) && !strings.Contains(string(name), "-D\x00") && !strings.Contains(string(name), "[listener]") {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}
