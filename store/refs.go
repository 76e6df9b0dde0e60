package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"slipway/config"
	"slipway/store/disk"
	"slipway/store/git"
)

// inNamespace is the name in the repository of a ref of an environment.
func inNamespace(env config.Env, ref string) string {
	return "refs/namespaces/" + env.String() + "/" + ref
}

// Ref returns what a ref of ae points at, ZeroOID if it is not there. A ref
// that is there and cannot be read is an error, never ZeroOID.
func (s *Store) Ref(ctx context.Context, ae config.AppEnv, ref string) (OID, error) {
	if ok, err := s.RepoExists(ae.App()); err != nil || !ok {
		return ZeroOID, err
	}
	name := inNamespace(ae.Env(), ref)
	if at, ok := looseRef(s.RepoPath(ae.App()), name); ok {
		return at, nil
	}
	if strings.ContainsAny(name, "*?[\\") { // for-each-ref takes patterns, and no ref has these
		return ZeroOID, nil
	}
	var said strings.Builder // git only warns of a broken ref
	out, err := git.Cmd{
		Dir: s.RepoPath(ae.App()), Args: []git.Opt{"for-each-ref", "--format=%(objectname) %(refname)"},
		Data: []string{name}, Stderr: &said,
	}.Output(ctx)
	if err == nil && said.Len() > 0 {
		err = fmt.Errorf("git for-each-ref: %s", strings.TrimSpace(said.String()))
	}
	if err != nil {
		return ZeroOID, &config.Error{Op: "read " + ref + " of", On: ae.String(), Err: err}
	}
	for line := range strings.Lines(string(out)) {
		// for-each-ref takes a name as a prefix too.
		if at, found, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " "); found == name {
			return OID(at), nil
		}
	}
	return ZeroOID, nil
}

// looseRef reads a ref that has a file of its own, as those have that are written
// to; a git process would take much longer to say the same. Whatever is not
// plainly a commit there is left for git to judge.
func looseRef(repo, name string) (OID, bool) {
	if !filepath.IsLocal(name) {
		return "", false
	}
	text, err := os.ReadFile(filepath.Join(repo, name))
	if err != nil {
		return "", false
	}
	at, whole := strings.CutSuffix(string(text), "\n")
	if _, err := git.ParseHash(at); err != nil || !whole || OID(at) == ZeroOID {
		return "", false
	}
	return OID(at), true
}

// SetHead makes branch (main, without refs/heads/) the one that a clone of ae
// checks out, durably.
func (s *Store) SetHead(ctx context.Context, ae config.AppEnv, branch string) error {
	repo := s.RepoPath(ae.App())
	head, to := inNamespace(ae.Env(), "HEAD"), inNamespace(ae.Env(), "refs/heads/"+branch)
	path := filepath.Join(repo, head)
	if text, err := os.ReadFile(path); err == nil && string(text) == "ref: "+to+"\n" {
		return nil
	}
	set := git.Cmd{Dir: repo, Args: []git.Opt{"symbolic-ref"}, Data: []string{head, to}}
	err := set.Run(ctx)
	// git leaves it to the kernel when the file and its directories reach the disk.
	for dir := path; err == nil && dir != repo; dir = filepath.Dir(dir) {
		err = syncFile(dir)
	}
	if err != nil {
		return &config.Error{Op: "set HEAD of", On: ae.String(), Err: disk.Explain(err, repo)}
	}
	return nil
}
