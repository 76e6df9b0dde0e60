package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"slipway/config"
)

const (
	// keepLogs is how many of an APP/ENV's newest build logs stay, whatever
	// became of the releases.
	keepLogs = 50

	// keepEntries is how many entries of its journal stay once they are closed.
	keepEntries = 20
)

// KeptTrees are the ids of the trees of releases that are on their targets or
// on their way there.
func (s *Store) KeptTrees(ctx context.Context) (map[string]bool, error) {
	scan := func(scan scanner) (id string, err error) { return id, scan(&id) }
	all, err := read(ctx, s, scan, `SELECT DISTINCT coalesce(json_extract(tree, '$.id'), '') FROM releases
		WHERE pruned = 0 AND state IN (?, ?, ?)`, Live, Retired, Building)
	kept := make(map[string]bool, len(all))
	for _, id := range all {
		kept[id] = true
	}
	return kept, err
}

// PruneLogs removes the build logs of ae but the newest, and those of the
// releases that keep lists.
func (s *Store) PruneLogs(ae config.AppEnv, keep []int) error {
	dir := filepath.Dir(s.logPath(ae, 0))
	entries, err := os.ReadDir(dir)
	if err != nil && !missing(err) {
		return fmt.Errorf("list the build logs: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".log")); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	err = nil
	for _, n := range numbers[:max(0, len(numbers)-keepLogs)] {
		if !slices.Contains(keep, n) {
			err = errors.Join(err, os.Remove(s.logPath(ae, n)))
		}
	}
	return err
}
