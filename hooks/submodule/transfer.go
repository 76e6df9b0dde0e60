package submodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store/disk"
	"slipway/store/git"
)

const (
	maxSaid   = 16 << 10        // bytes kept of what a source says
	stallTime = time.Minute     // how long a source may send nothing
	watchTime = time.Second / 4 // between two looks at how a fetch comes on
)

// transfer is one git fetch as its children's server sees it.
type transfer struct {
	src *config.Source
	url config.SourceURL

	received atomic.Int64 // bytes that the source sent by ssh
	moved    atomic.Int64 // when the last of them came, in nanoseconds
	said     *git.Tail    // the source's standard error

	mu     sync.Mutex
	err    error // why the connection failed, from the one who knows
	asked  bool  // for the credential
	ended  bool  // the source's git ended by itself
	status int   // its exit status
}

func (t *transfer) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

func (t *transfer) end(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.status = true, status
}

// run starts one git fetch and says why it failed: by what our own side of the
// connection saw, by asking an https server again, and only then by git's words.
func (r *Resolver) run(ctx context.Context, w want, opts []git.Opt, refspecs ...string) (said []string, err error) {
	t := &transfer{src: w.src, url: w.url, said: &git.Tail{Limit: maxSaid}}
	t.moved.Store(r.o.Now().UnixNano())
	token := rand.Text()
	r.mu.Lock()
	r.fetches[token] = t
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.fetches, token)
		r.mu.Unlock()
	}()
	watched, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &git.Tail{Limit: maxSaid}
	c := git.Cmd{
		Dir: w.dir,
		Args: append([]git.Opt{
			"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules",
			"--no-show-forced-updates",
		}, opts...),
		Data: append([]string{w.url.String()}, refspecs...),
		Env: map[string]string{
			EnvSocket: r.socket, EnvToken: token, "GIT_SSH": r.o.Executable, "GIT_SSH_VARIANT": "ssh",
			"GIT_ALLOW_PROTOCOL": w.url.Scheme(),
		},
		Config: map[string]string{
			"protocol." + w.url.Scheme() + ".allow": "always", "fetch.unpackLimit": "1", "pack.threads": "1",
		},
		Stderr: out,
	}
	if w.url.Scheme() == "https" {
		if err := r.https(watched, c.Config, w.src, w.url); err != nil {
			return nil, err
		}
	}
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(watched, stop, w, t) })
	err = c.Run(watched)
	ended := context.Cause(watched)
	stop(nil)
	watch.Wait()
	said = append(lines(t.said.String()), remote(out.String())...)
	switch {
	case err == nil:
		return said, nil
	case ended != nil:
		return said, ended
	}
	return said, explain(ctx, w, t, out.String())
}

// explain says why git has failed.
func explain(ctx context.Context, w want, t *transfer, out string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	full := disk.Said(out, w.dir)
	switch {
	case full != 0: // our own side: what became of the connection comes from that
		return disk.Write{
			Path: w.dir, What: w.url.Short(), Need: disk.Room{Bytes: t.received.Load()}, AtLeast: true,
		}.Refused(full, errors.New(cause(out)))
	case t.err != nil:
		return t.err
	case w.url.Scheme() == "https":
		if err := probe(ctx, w.src, w.url); err != nil {
			return err
		}
		return &declinedError{git: out, cut: true}
	case !t.ended:
		return fmt.Errorf("%s: %s", w.url.Short(), cause(out))
	case t.status != 0 && t.received.Load() == 0:
		return noAccess(w.src, w.url)
	}
	return &declinedError{git: out}
}

// watch ends a fetch from a source that sends too much, or nothing more.
func (r *Resolver) watch(ctx context.Context, stop context.CancelCauseFunc, w want, t *transfer) {
	tick := time.NewTicker(watchTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		limit := r.o.Config().Limits.PushBytes
		quiet := r.o.Now().Sub(time.Unix(0, t.moved.Load()))
		switch {
		case max(t.received.Load(), growing(w.dir)) > limit:
			stop(config.Errorf(config.Usage, "an admin can raise [limits] push_bytes", "%s sends more than %d bytes", w.url.Short(), limit))
		case t.received.Load() > 0 && quiet > r.stall:
			r.pool.retire(w.src, w.url)
			stop(&unreachableError{w.url.Addr(), "sent nothing for " + builder.Whole(quiet)})
		}
	}
}

// growing is the size of the packs that are being received.
func growing(dir string) (n int64) {
	found, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "tmp_pack_*"))
	if err != nil {
		return 0
	}
	for _, f := range found {
		if info, err := os.Stat(f); err == nil {
			n += info.Size()
		}
	}
	return n
}

// lines cleans what a source said.
func lines(s string) []string {
	var all []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(builder.Clean(withoutUserinfo(line))); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// remote picks what the source said from what git said.
func remote(s string) []string {
	var all []string
	for _, line := range lines(s) {
		if text, ok := strings.CutPrefix(line, "remote:"); ok && strings.TrimSpace(text) != "" {
			all = append(all, strings.TrimSpace(text))
		}
	}
	return all
}

// cause is what git gives as the reason: the first that it calls an error.
func cause(s string) string {
	all := lines(s)
	if len(all) == 0 {
		return "git gave no reason"
	}
	for _, line := range all {
		for _, word := range []string{"fatal: ", "error: "} {
			if text, ok := strings.CutPrefix(line, word); ok {
				return text
			}
		}
	}
	return all[len(all)-1]
}
