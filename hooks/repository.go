package hooks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"slipway/config"
	"slipway/store"
	"slipway/store/git"
)

// repository reads an app's repository, with the objects that a push has in
// quarantine. Each process costs milliseconds that somebody waits for, so one
// answers all questions about objects. It is not for concurrent use.
type repository struct {
	dir     string
	env     map[string]string
	objects *git.Objects
}

// openRepository makes one whose reading ends when ctx does. Whoever opened it
// closes it.
func openRepository(ctx context.Context, dir string, env map[string]string) *repository {
	return &repository{dir, env, git.OpenObjects(ctx, dir, env)}
}

func (r *repository) close() { r.objects.Close() }

func (r *repository) output(ctx context.Context, args []git.Opt, data ...string) (string, error) {
	out, err := git.Cmd{Dir: r.dir, Env: r.env, Args: args, Data: data}.Output(ctx)
	return strings.TrimSuffix(string(out), "\n"), err
}

// kinds returns the types of objects.
func (r *repository) kinds(ids []store.OID) ([]string, error) {
	hashes := make([]git.Hash, len(ids))
	for i, id := range ids {
		var err error
		if hashes[i], err = git.ParseHash(string(id)); err != nil {
			return nil, err
		}
	}
	kinds := make([]string, len(ids))
	err := r.objects.Info(hashes, func(i int, o git.Object) error { kinds[i] = o.Type; return nil })
	return kinds, err
}

// forward says whether new contains old, and refuses a new one that is not
// whole: every commit that it adds must be there. Those of a shallow clone end
// where the clone does, which is fine where we have the rest, so git is not told
// where that is.
func (r *repository) forward(ctx context.Context, old, new store.OID) (bool, error) {
	env := map[string]string{}
	for k, v := range r.env {
		env[k] = v
	}
	env["GIT_SHALLOW_FILE"] = "/dev/null"
	span := string(new)
	if old != store.ZeroOID {
		span = string(old) + "..." + string(new)
	}
	out, err := git.Cmd{Dir: r.dir, Env: env, Args: []git.Opt{"rev-list", "--left-right", "--count"}, Data: []string{span}}.Output(ctx)
	var run *git.RunError
	if errors.As(err, &run) && run.Status > 0 && ctx.Err() == nil {
		return false, config.Errorf(config.Failed, "git fetch --unshallow, then push again",
			"the push comes from a shallow clone and lacks history")
	}
	if err != nil {
		return false, err
	}
	dropped, _, ok := strings.Cut(string(out), "\t")
	if !ok {
		return false, fmt.Errorf("git rev-list counts %q", out)
	}
	return old == store.ZeroOID || dropped == "0", nil
}

const (
	maxCommit = 8 << 20 // bytes of a commit with its message and signatures
	maxTitle  = 200     // bytes of it that are kept
)

// title returns the first paragraph of a commit's message, on one line.
func (r *repository) title(ctx context.Context, id store.OID) (string, error) {
	h, err := git.ParseHash(string(id))
	if err != nil {
		return "", err
	}
	var commit string
	err = r.objects.Contents([]git.Hash{h}, maxCommit, func(_ int, o git.Object, body []byte) error {
		if o.Type != "commit" {
			return &git.ObjectError{Hash: h, Text: "is a " + o.Type + ", not a commit"}
		}
		commit = string(body)
		return nil
	})
	if err != nil {
		return "", err
	}
	head, message, _ := strings.Cut(commit, "\n\n")
	title := subject(message)
	if strings.Contains(head, "\nencoding ") { // git knows how to read that one
		title, err = r.output(ctx, []git.Opt{"log", "-1", "--no-show-signature", "--format=%s"}, string(id))
	}
	if len(title) > maxTitle {
		title = title[:maxTitle]
	}
	return title, err
}

// subject is what git log prints for %s.
func subject(message string) string {
	var lines []string
	for line := range strings.Lines(message) {
		line = strings.TrimRight(line, " \t\n\v\f\r")
		if line == "" && len(lines) > 0 {
			break
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

var revision = config.NewPattern(`^[0-9a-f]{4,40}$`)

// commit resolves the name of a commit, at least four of its digits, or a
// branch or tag of ae.
func (s *Server) commit(ctx context.Context, ae config.AppEnv, name string) (store.OID, error) {
	repo := openRepository(ctx, s.o.Store.RepoPath(ae.App()), nil)
	defer repo.close()
	candidates := []string{}
	if revision.MatchString(name) {
		candidates = append(candidates, name)
	}
	if validRef("refs/heads/" + name) {
		space := "refs/namespaces/" + ae.Env().String() + "/"
		candidates = append(candidates, space+heads+name, space+tags+name)
	}
	if ok, err := s.o.Store.RepoExists(ae.App()); err != nil {
		return "", err
	} else if !ok {
		candidates = nil
	}
	for _, c := range candidates {
		out, err := repo.output(ctx, []git.Opt{"rev-parse", "--verify", "--quiet"}, c+"^{commit}")
		if err == nil && oid.MatchString(strings.TrimSpace(out)) {
			return store.OID(strings.TrimSpace(out)), nil
		}
	}
	return "", config.Errorf(config.NotFound, "releases "+ae.String()+" shows the commits that were deployed",
		"%s has no commit %s", ae, quote(name))
}
