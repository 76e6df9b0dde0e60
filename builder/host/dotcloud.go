package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"slipway/builder"
)

// dataDir, below shared, is ~/data: what dotCloud moved from push to push.
const dataDir = "data"

// makeDotCloud makes of a new home what apps of dotCloud's time know it as:
// code and current lead to the release, data is kept across releases, volatile
// goes with it, and env is a Python environment, whose programs come first in
// PATH. All links are relative, so that they lead on through /home/dotcloud and
// through the home of another release of the same build.
func makeDotCloud(home *os.Root, s builder.Stage) error {
	release := filepath.Join("..", strconv.Itoa(s.Number))
	err := errors.Join(
		home.Symlink(release, "code"),
		home.Symlink(filepath.Join(release, s.App.DotCloud.Approot), "current"),
		home.Symlink(filepath.Join("..", "..", "shared", dataDir), "data"),
		home.Mkdir("volatile", 0o755),
	)
	if err != nil {
		return err
	}
	return makePython(home)
}

// makePython makes ~/env with python in it, as a machine may have python3
// alone. It sees the system's packages, and what is installed into it stays
// with the release. It has no pip of its own: python -m pip is the system's.
func makePython(home *os.Root) error {
	python := ""
	for _, dir := range filepath.SplitList(searchPath) {
		path := filepath.Join(dir, "python3")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			python = path
			break
		}
	}
	if python == "" { // an app in another language misses nothing
		return nil
	}
	if err := home.MkdirAll("env/bin", 0o755); err != nil {
		return err
	}
	for _, name := range []string{"python", "python3"} {
		if err := home.Symlink(python, filepath.Join("env/bin", name)); err != nil {
			return err
		}
	}
	config := fmt.Sprintf("home = %s\ninclude-system-site-packages = true\n", filepath.Dir(python))
	return home.WriteFile("env/pyvenv.cfg", []byte(config), 0o644)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
