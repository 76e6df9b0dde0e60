package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"slipway/config"
)

// said is what a person reads of an error.
func said(err error) string {
	var b bytes.Buffer
	report(&b, err)
	return b.String()
}

// TestPlaceOfAnother looks at a DIR, and a root, that belong to another account
// than the one that serves, or that it cannot write.
func TestPlaceOfAnother(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a dir")
	repos, root := filepath.Join(dir, "repos"), filepath.Join(dir, "root")
	check(t, errors.Join(os.MkdirAll(repos, 0o700), os.Mkdir(root, 0o700), os.Chmod(dir, 0o711)))
	dev, err := config.ParseEnv("dev")
	check(t, err)
	check(t, checkPlace(dir))
	cfg := &config.Server{Environments: map[config.Env]*config.Environment{dev: {Target: "local", Root: root}}}
	roots := func() error { return checkRoots(cfg, zerolog.Nop()) }
	var log bytes.Buffer
	check(t, roots())
	me := account(os.Geteuid())
	for _, c := range []struct {
		name       string
		as         int // who serves: 0 root, 1 an ordinary user
		make, undo func() error
		run        func() error
		want       string
	}{
		{
			"DIR of another", 0, func() error { return os.Chown(dir, 4321, -1) }, func() error { return os.Chown(dir, 0, -1) },
			func() error { return checkPlace(dir) },
			fmt.Sprintf("error: %s belongs to 4321, and this is root\nhint: chown root: '%s'\n", dir, dir),
		},
		{
			"repositories of another", 0, func() error { return os.Chown(repos, 4321, -1) }, func() error { return os.Chown(repos, 0, -1) },
			func() error { return checkPlace(dir) },
			fmt.Sprintf("error: %s belongs to 4321, and this is root\nhint: chown root: '%s'\n", repos, repos),
		},
		{
			"a root of another", 0, func() error { return os.Chown(root, 4321, -1) }, func() error { return os.Chown(root, 0, -1) }, roots,
			fmt.Sprintf("error: use the root of dev: %s belongs to 4321, and this is root\nhint: chown root: '%s'\n", root, root),
		},
		{
			"DIR that is not ours to write", 1, func() error { return os.Chmod(dir, 0o511) }, func() error { return os.Chmod(dir, 0o711) },
			func() error { return checkPlace(dir) },
			fmt.Sprintf("error: %s cannot be written: mode 0511\nhint: chmod u+rwx '%s'\n", dir, dir),
		},
		{
			"DIR of root", 1, nil, nil, func() error { return checkPlace("/usr") },
			fmt.Sprintf("error: /usr belongs to root, and %s cannot write there: mode 0755\nhint: chown %s: /usr\n", me, me),
		},
		{
			"a root of root", 1, nil, nil, func() error {
				cfg := &config.Server{Environments: map[config.Env]*config.Environment{dev: {Target: "local", Root: "/usr/none/apps"}}}
				return errors.Join(checkRoots(cfg, zerolog.New(&log)), errors.New(strings.TrimSpace(log.String())))
			},
			fmt.Sprintf(`error: {"level":"error","error":"/usr/none/apps is not there, and %s cannot make it in /usr","env":"dev",`+
				`"hint":"mkdir -p /usr/none/apps && chown %s: /usr/none/apps","message":"nothing can be deployed there"}`+"\n", me, me),
		},
		{
			"DIR behind a closed door", 1, func() error { return os.Chmod(dir, 0) }, func() error { return os.Chmod(dir, 0o711) },
			func() error { return checkPlace(repos) },
			fmt.Sprintf("error: %s cannot be reached: stat %s: permission denied\nhint: look at what leads there: namei -l '%s'\n", repos, repos, repos),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if root := os.Geteuid() == 0; root != (c.as == 0) {
				t.Skip("the account that serves is to be another")
			}
			if c.make != nil {
				check(t, c.make())
				defer func() { check(t, c.undo()) }()
			}
			if got := said(c.run()); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
	// A DIR that is in use is not to change hands.
	check(t, os.WriteFile(filepath.Join(dir, "slipway.db"), nil, 0o600))
	for path, want := range map[string]string{dir: " slipway --home '" + dir + "' serve", repos: "chown -R " + me + ": '" + repos + "'"} {
		if got := takeOver(path, 4321); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", path, got)
		}
	}
}
