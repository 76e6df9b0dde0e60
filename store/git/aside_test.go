package git_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"slipway/store/git"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == git.AsideCommand {
		os.Exit(git.AsideMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// TestAside has git run in nobody's way, and asks how that went.
func TestAside(t *testing.T) {
	t.Parallel()
	dir, hash := newRepository(t)
	id := hash("x")
	var out strings.Builder
	nice := git.Cmd{Dir: dir, Args: []git.Opt{"priority"}, Config: map[string]string{"alias.priority": "!nice"}, Stdout: &out}
	if err := nice.RunAside(t.Context()); err != nil || strings.TrimSpace(out.String()) != strconv.Itoa(git.Behind) {
		t.Errorf("its nice value is %q, %v", out.String(), err)
	}
	if err := (git.Cmd{Dir: dir, Args: []git.Opt{"cat-file", "-e"}, Data: []string{id.String()}}).RunAside(t.Context()); err != nil {
		t.Error(err)
	}
	err := git.Cmd{Dir: dir, Args: []git.Opt{"rev-parse", "--verify"}, Data: []string{"nothing"}}.RunAside(t.Context())
	var failed *git.RunError
	if !errors.As(err, &failed) || failed.Status != 128 || !strings.Contains(failed.Stderr, "fatal: ") {
		t.Errorf("what fails says %v", err)
	}
	// What goes on for ever ends with the context, and what it has started too.
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("nobody wants it")
	begun := &begins{cancel: func() { cancel(why) }}
	endless := git.Cmd{Dir: dir, Args: []git.Opt{"endless"}, Config: map[string]string{"alias.endless": "!echo; exec sleep 600"}, Stdout: begun}
	if err := endless.RunAside(ctx); !errors.Is(err, why) {
		t.Errorf("what was ended says %v", err)
	}
	if git.AsideMain(nil) != 2 {
		t.Error("nothing is run")
	}
}

// begins calls cancel at the first output.
type begins struct{ cancel func() }

func (b *begins) Write(p []byte) (int, error) {
	b.cancel()
	return len(p), nil
}
