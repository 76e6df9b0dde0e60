package hooks

import (
	"context"
	"fmt"
	"strings"

	"slipway/config"
	"slipway/store"
)

// checkRefs decides everything for which git, or we, would refuse the refs
// later, before any work is done: which refs, what they point at, whether
// history is whole, and whether they move forward.
func (s *Server) checkRefs(ctx context.Context, ae config.AppEnv, all []update, repo *repository) (pushed, error) {
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
	news := []store.OID{p.branch.new}
	for _, t := range p.tags {
		news = append(news, t.new)
	}
	kinds, err := repo.kinds(news)
	if err != nil {
		return p, err
	}
	if kinds[0] != "commit" {
		return p, config.Errorf(config.Usage, fmt.Sprintf("git push deploy 'HEAD^{commit}:%s'", p.branch.ref),
			"%s is to point at a %s, not at a commit", name, kinds[0])
	}
	forward, err := repo.forward(ctx, p.branch.old, p.branch.new)
	if err != nil {
		return p, err
	}
	for i, t := range p.tags {
		if kind := kinds[i+1]; kind != "tag" && kind != "commit" {
			return p, config.Errorf(config.Usage, leaveTag, "the tag %s points at a %s, not at a commit", quote(t.ref), kind)
		}
	}
	if err := s.stillAt(ctx, ae, p.branch, ""); err != nil {
		return p, err
	}
	if !forward && env.Protected {
		return p, config.Errorf(config.Denied, fmt.Sprintf("git pull --rebase deploy %s, then push again", name),
			"%s is protected, and this push would drop commits that are live there", ae.Env())
	}
	return p, nil // the client has refused what does not move forward, unless it was told --force
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
