package main

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"slipway/config"
	"slipway/store"
	"slipway/store/disk"
)

// writable is what nobody but the owner of a place may do there: whoever can
// change what the server reads decides what it runs.
const writable = 0o022

// checkPlace refuses a DIR that others could change, or read where it is secret,
// or that this process cannot work in. What is not there yet is made later.
func checkPlace(dir string) error {
	if err := checkDirectory(dir); err != nil {
		return err
	}
	for _, name := range []string{keysDir, "repos", "hooks", "logs", "manifests", "cache", "tmp", "apps"} {
		// What is in keys is looked at file by file: mkdir makes such a directory
		// that others may list, and doctor speaks of that.
		if err := checkDirectory(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{config.ServerFile, hostKeyFile, store.File, "slipway.lock"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		forbidden := fs.FileMode(private)
		if name == config.ServerFile { // its own reader knows when it holds a secret
			forbidden = writable
		}
		if err == nil {
			err = checkOwner(path, info, forbidden)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loadServer reads server.toml, and looks at the roots that it names.
func loadServer(dir string, log zerolog.Logger) (*config.Server, error) {
	cfg, err := config.LoadServer(dir)
	if err == nil {
		err = checkRoots(cfg, log)
	}
	return cfg, err
}

// checkRoots refuses local roots that others could change. One that is of no use
// is said in the log, and holds up no other environment.
func checkRoots(cfg *config.Server, log zerolog.Logger) error {
	var names []config.Env
	for name, e := range cfg.Environments {
		if e.Target == "local" {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b config.Env) int { return strings.Compare(a.String(), b.String()) })
	for _, name := range names {
		root := cfg.Environments[name].Root
		if info, err := os.Stat(root); err == nil && info.IsDir() {
			if err := checkOwner(root, info, writable); err != nil {
				return &config.Error{Op: "use the root of", On: name.String(), Err: err}
			}
		}
		err := checkDirectory(root)
		if err == nil && missing(root) {
			err = checkAbove(root)
		}
		if err != nil {
			log.Error().Err(err).Str("env", name.String()).Str("hint", config.Hint(err)).Msg("nothing can be deployed there")
		}
	}
	return nil
}

// checkAbove refuses a path that is not there and cannot be made.
func checkAbove(path string) error {
	above := filepath.Dir(path)
	for missing(above) {
		above = filepath.Dir(above)
	}
	err := unix.Faccessat(unix.AT_FDCWD, above, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	switch {
	case errors.Is(err, syscall.EACCES):
		return config.Errorf(config.Failed, "mkdir -p "+shellWord(path)+" && chown "+account(os.Geteuid())+": "+shellWord(path),
			"%s is not there, and %s cannot make it in %s", path, account(os.Geteuid()), above)
	case err != nil:
		return disk.Explain(&os.PathError{Op: "write to", Path: above, Err: err}, above)
	}
	return nil
}

// checkDirectory refuses a path that is no directory, that belongs to somebody
// else, in which others can write, or in which this process can make nothing.
func checkDirectory(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		return config.Errorf(config.Failed, "look at what leads there: namei -l "+shellWord(path), "%s cannot be reached: %w", path, err)
	case err != nil:
		return err
	case !info.IsDir():
		return config.Errorf(config.Failed, "move it away: mv "+shellWord(path)+" "+shellWord(path+".old"), "%s is not a directory", path)
	}
	if err := checkOwner(path, info, writable); err != nil {
		return err
	}
	err = unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	switch {
	case errors.Is(err, syscall.EACCES) && uidOf(info) != os.Geteuid():
		return config.Errorf(config.Failed, "chown "+account(os.Geteuid())+": "+shellWord(path),
			"%s belongs to %s, and %s cannot write there: mode %04o", path, account(uidOf(info)), account(os.Geteuid()), info.Mode().Perm())
	case errors.Is(err, syscall.EACCES):
		return config.Errorf(config.Failed, "chmod u+rwx "+shellWord(path), "%s cannot be written: mode %04o", path, info.Mode().Perm())
	case err != nil:
		return disk.Explain(&os.PathError{Op: "write to", Path: path, Err: err}, path)
	}
	return nil
}

// checkOwner takes what belongs to this account, or to root, who can do all.
func checkOwner(path string, info fs.FileInfo, forbidden fs.FileMode) error {
	if owner := uidOf(info); owner != 0 && owner != os.Geteuid() {
		return config.Errorf(config.Failed, takeOver(path, owner),
			"%s belongs to %s, and this is %s", path, account(owner), account(os.Geteuid()))
	}
	mode := info.Mode().Perm()
	switch {
	case mode&forbidden&writable != 0:
		return config.Errorf(config.Failed, chmod(path, forbidden), "%s can be changed by others: mode %04o", path, mode)
	case mode&forbidden != 0:
		return config.Errorf(config.Failed, chmod(path, forbidden), "%s can be read by others: mode %04o", path, mode)
	}
	return nil
}

func chmod(path string, forbidden fs.FileMode) string {
	if forbidden == private {
		return "chmod go= " + shellWord(path)
	}
	return "chmod go-w " + shellWord(path)
}

// takeOver is what to type where somebody else owns a path. A DIR that is in use
// is not to change hands: what is in it belongs to many accounts.
func takeOver(path string, owner int) string {
	me := account(os.Geteuid())
	switch {
	case missing(filepath.Join(path, store.File)) && missing(filepath.Join(filepath.Dir(path), store.File)):
		return "chown " + me + ": " + shellWord(path)
	case missing(filepath.Join(path, store.File)):
		return "chown -R " + me + ": " + shellWord(path)
	case os.Geteuid() == 0:
		return "runuser -u " + account(owner) + " -- slipway --home " + shellWord(path) + " serve"
	}
	return "sudo -u " + account(owner) + " slipway --home " + shellWord(path) + " serve"
}

func uidOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// account names an account as chown takes it.
func account(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}
