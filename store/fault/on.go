//go:build faults

package fault

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// Enabled says whether this binary can be told to fail.
const Enabled = true

// Env names the variable with the faults: NAME:ACTION, separated by commas, or
// @FILE, a file that holds such a list and is read at every mark. A fault of a
// file happens once and is then taken out of it; the file goes with its last.
//
//	NAME:kill        the process kills itself
//	NAME:error       the mark returns an error
//	NAME:panic       the mark panics
//	NAME:pause=FILE  makes FILE and waits until it is gone
const Env = "SLIPWAY_FAULT"

// once lets one mark at a time read and change the list.
var once sync.Mutex

// Hit marks a place by its name. An error that it returns is to be treated as
// one of the work that stands there.
func Hit(name string) error {
	action, err := take(name)
	if err != nil {
		return fmt.Errorf("fault %s: %w", name, err)
	}
	what, file, _ := strings.Cut(action, "=")
	switch what {
	case "":
		return nil
	case "kill":
		err := syscall.Kill(os.Getpid(), syscall.SIGKILL)
		return fmt.Errorf("fault %s: %w", name, err) // not reached
	case "error":
		return fmt.Errorf("fault %s: %w", name, syscall.EIO)
	case "panic":
		panic("fault " + name)
	case "pause":
		return pause(file)
	}
	return fmt.Errorf("fault %s: unknown action %q", name, action)
}

// take returns what is to happen at a place, "" for nothing.
func take(name string) (string, error) {
	once.Lock()
	defer once.Unlock()
	list := os.Getenv(Env)
	path, isFile := strings.CutPrefix(list, "@")
	if isFile {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		list = strings.TrimSpace(string(text))
	}
	faults := strings.Split(list, ",")
	at := slices.IndexFunc(faults, func(f string) bool { return strings.HasPrefix(f, name+":") })
	if at < 0 {
		return "", nil
	}
	action := strings.TrimPrefix(faults[at], name+":")
	if !isFile {
		return action, nil
	}
	if faults = slices.Delete(faults, at, at+1); len(faults) == 0 {
		return action, os.Remove(path)
	}
	return action, renameio.WriteFile(path, []byte(strings.Join(faults, ",")), 0o600)
}

// pause waits until somebody removes file.
func pause(file string) error {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	return nil
}
