package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"slipway/config"
	"slipway/receiver"
	"slipway/store"
)

func initCommand(ctx context.Context, dir string, args []string) error {
	if len(args) > 0 {
		return config.Errorf(config.Usage, "slipway init [--home DIR]", "init takes no %s", quoted(args[0]))
	}
	return runInit(ctx, dir, os.Stdout)
}

// runInit makes what DIR lacks and says so on out; it never overwrites
// anything.
func runInit(ctx context.Context, dir string, out io.Writer) (err error) {
	if err := makeDir(dir); err != nil {
		return config.Errorf(config.Failed, "choose another with --home DIR", "make %s: %w", dir, err)
	}
	held, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	said := &strings.Builder{}
	made := func(name, what string, fresh bool) {
		word := "kept"
		if fresh {
			word = "made"
		}
		fmt.Fprintf(said, "%s  %-12s  %s\n", word, name, what)
	}

	fresh := missing(filepath.Join(dir, keysDir))
	if err := os.MkdirAll(filepath.Join(dir, keysDir), 0o700); err != nil {
		return err
	}
	made(keysDir+"/", "credentials: for sources, hosts, and what the database encrypts", fresh)
	if fresh, err = writeNew(filepath.Join(dir, config.ServerFile), config.ServerTemplate()); err != nil {
		return err
	}
	made(config.ServerFile, "settings, each with its default", fresh)
	key, fresh, err := receiver.LoadHostKey(filepath.Join(dir, hostKeyFile))
	if err != nil {
		return err
	}
	made(hostKeyFile, "the server's SSH host key", fresh)
	fresh = missing(filepath.Join(dir, store.File))
	db, err := store.Open(ctx, dir, time.Now)
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	made(store.File, "keys, releases, vars, audit log", fresh)

	_, err = fmt.Fprintf(out, "%s\n\n%s\nhost key  %s\n\n%s", dir, said, gossh.FingerprintSHA256(key.PublicKey()), next(dir))
	return err
}

// makeDir makes DIR so that builds of other accounts get through it to their
// releases, and nobody can list it. A directory that holds something keeps its
// mode: it is somebody's already.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	empty, err := isEmpty(dir)
	if err != nil || !empty {
		return err
	}
	return os.Chmod(dir, 0o711) // whatever the umask says
}

// writeNew writes a file that all may read, whole or not at all, unless there
// is one.
func writeNew(path, text string) (fresh bool, err error) {
	if !missing(path) {
		return false, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return false, err
	}
	if err := os.Link(f.Name(), path); errors.Is(err, os.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return false, err
	}
	return true, errors.Join(d.Sync(), d.Close())
}

// next is the three commands that lead to the first push.
func next(dir string) string {
	slipway := "slipway --home " + shellWord(dir)
	if usual, _, err := home(nil); err == nil && usual == dir {
		slipway = "slipway"
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	remote := "deploy@" + host + ":2222"
	env := "dev"
	if cfg, err := config.LoadServer(dir); err == nil { // else config check says what is wrong with it
		remote, env = remoteOf(cfg, host), firstEnv(cfg)
	}
	return "next\n" +
		"  " + slipway + " key add NAME --admin < ~/.ssh/id_ed25519.pub\n" +
		"  " + slipway + " serve\n" +
		"  git remote add deploy ssh://" + remote + "/APP/" + env + "\n"
}

// remoteOf is user, host and port as a git remote names them.
func remoteOf(cfg *config.Server, host string) string {
	if a := cfg.SSH.Address; a != "" {
		if !strings.Contains(a, "@") {
			a = "deploy@" + a
		}
		return a
	}
	on, port, err := net.SplitHostPort(cfg.SSH.Listen)
	if err != nil {
		return "deploy@" + host + ":2222"
	}
	if ip := net.ParseIP(on); on != "" && (ip == nil || !ip.IsUnspecified()) {
		host = on
	}
	if port == "22" {
		return "deploy@" + host
	}
	if port == "0" {
		port = "PORT"
	}
	return "deploy@" + net.JoinHostPort(host, port)
}

func firstEnv(cfg *config.Server) string {
	var names []string
	for e := range cfg.Environments {
		names = append(names, e.String())
	}
	if len(names) == 0 || slices.Contains(names, "dev") {
		return "dev"
	}
	return slices.Min(names)
}

var plainWord = config.NewPattern(`^[A-Za-z0-9_./:@%+,=-]+$`)

// shellWord quotes a word for a shell where it must be.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
