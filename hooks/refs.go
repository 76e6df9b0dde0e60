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

// checkRefs decides everything for which git, or we, would refuse the refs
// later, before any work is done: which refs, what they point at, whether
// history is whole, and whether they move forward.
func (s *Server) checkRefs(ctx context.Context, ae config.AppEnv, all []update, quarantine map[string]string) (pushed, error) {
	env := s.o.Config().Environments[ae.Env()]
	if env == nil {
		return pushed{}, noEnvironment(s.o.Config(), ae)
	}
	branches, err := s.branches(ctx, ae, env)
	if err != nil {
		return pushed{}, err
	}
	p, err := sortUpdates(all, branches, ae.Env())
	if err != nil {
		return p, err
	}
	name := strings.TrimPrefix(p.branch.ref, heads)
	repo := repository{s.o.Store.RepoPath(ae.App()), quarantine}
	kind, err := repo.kind(ctx, p.branch.new)
	if err != nil {
		return p, err
	}
	if kind != "commit" {
		return p, config.Errorf(config.Usage, fmt.Sprintf("git push deploy 'HEAD^{commit}:%s'", p.branch.ref),
			"%s is to point at a %s, not at a commit", name, kind)
	}
	if err := repo.whole(ctx, p.branch); err != nil {
		return p, err
	}
	for _, t := range p.tags {
		if kind, err := repo.kind(ctx, t.new); err != nil {
			return p, err
		} else if kind != "tag" && kind != "commit" {
			return p, config.Errorf(config.Usage, leaveTag, "the tag %s points at a %s, not at a commit", quote(t.ref), kind)
		}
	}
	if err := s.stillAt(ctx, ae, p.branch, ""); err != nil {
		return p, err
	}
	if p.branch.old == store.ZeroOID {
		return p, nil
	}
	forward, err := repo.ancestor(ctx, p.branch.old, p.branch.new)
	switch {
	case err != nil:
		return p, err
	case forward:
		return p, nil
	case env.Protected:
		return p, config.Errorf(config.Denied, fmt.Sprintf("git pull --rebase deploy %s, then push again", name),
			"%s is protected, and this push would drop commits that are live there", ae.Env())
	}
	return p, nil // the client has refused this already, unless it was told --force
}

// branches returns the names of the branch that deploys ae, the right one
// first: what the environment says, else what is there, else main, master.
func (s *Server) branches(ctx context.Context, ae config.AppEnv, env *config.Environment) ([]string, error) {
	if env.Branch != "" {
		return []string{env.Branch}, nil
	}
	for _, b := range []string{"main", "master"} {
		at, err := s.o.Store.Ref(ctx, ae, heads+b)
		if err != nil {
			return nil, err
		}
		if at != store.ZeroOID {
			return []string{b}, nil
		}
	}
	return []string{"main", "master"}, nil
}

// stillAt compares the old value that a push relies on with the ref as it is.
// who is whose deploy moved it, if that is known.
func (s *Server) stillAt(ctx context.Context, ae config.AppEnv, u update, who string) error {
	at, err := s.o.Store.Ref(ctx, ae, u.ref)
	if err != nil || at == u.old {
		return err
	}
	name := strings.TrimPrefix(u.ref, heads)
	moved := fmt.Errorf("%s moved from %s to %s", name, shortRef(u.old), shortRef(at))
	if who != "" {
		moved = fmt.Errorf("%w (%s) while you waited", moved, who)
	}
	return &config.Error{
		Kind: config.Failed, Err: moved,
		Hint: fmt.Sprintf("git pull --rebase deploy %s, then push again", name),
	}
}

func shortRef(o store.OID) string {
	if o == store.ZeroOID {
		return "nothing"
	}
	return o.Short()
}

// repository reads an app's repository, with the objects that a push has in
// quarantine.
type repository struct {
	dir string
	env map[string]string
}

func (r repository) output(ctx context.Context, args []git.Opt, data ...string) (string, error) {
	out, err := git.Cmd{Dir: r.dir, Env: r.env, Args: args, Data: data}.Output(ctx)
	return strings.TrimSuffix(string(out), "\n"), err
}

// kind returns the type of an object.
func (r repository) kind(ctx context.Context, o store.OID) (string, error) {
	return r.output(ctx, []git.Opt{"cat-file", "-t"}, string(o))
}

// ancestor says whether new contains old.
func (r repository) ancestor(ctx context.Context, old, new store.OID) (bool, error) {
	_, err := r.output(ctx, []git.Opt{"merge-base", "--is-ancestor"}, string(old), string(new))
	if git.ExitStatus(err) == 1 {
		return false, nil
	}
	return err == nil, err
}

// whole says whether every commit that the push adds is there. Those of a
// shallow clone end where the clone does, which is fine where we have the rest.
func (r repository) whole(ctx context.Context, u update) error {
	args := []git.Opt{"rev-list", "--count"}
	data := []string{string(u.new)}
	if u.old != store.ZeroOID {
		data = append(data, "^"+string(u.old))
	}
	_, err := git.Cmd{Dir: r.dir, Env: r.unshallowed(), Args: args, Data: data}.Output(ctx)
	var run *git.RunError
	if errors.As(err, &run) && run.Status > 0 && ctx.Err() == nil {
		return config.Errorf(config.Failed, "git fetch --unshallow, then push again",
			"the push comes from a shallow clone and lacks history")
	}
	return err
}

// unshallowed is the environment without the list of where a shallow client's
// history ends, so that git looks for what lies behind.
func (r repository) unshallowed() map[string]string {
	env := map[string]string{}
	for k, v := range r.env {
		if k != "GIT_SHALLOW_FILE" {
			env[k] = v
		}
	}
	env["GIT_SHALLOW_FILE"] = "/dev/null"
	return env
}

// commitInfo is what people see of a commit.
func (r repository) title(ctx context.Context, o store.OID) (string, error) {
	s, err := r.output(ctx, []git.Opt{"log", "-1", "--no-show-signature", "--format=%s"}, string(o))
	if len(s) > 200 {
		s = s[:200]
	}
	return s, err
}
