package git

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"slipway/config"
)

// The oldest git that can serve: cat-file --batch-command came with 2.36, after
// proc-receive hooks (2.29) and GIT_CONFIG_COUNT (2.31).
const (
	oldestMajor = 2
	oldestMinor = 36
)

var version = regexp.MustCompile(`^git version (\d+)\.(\d+)`)

// Version returns git's version, if that has all that we rely on.
func Version(ctx context.Context) (string, error) {
	out, err := Cmd{Args: []Opt{"version"}}.Output(ctx)
	if err != nil {
		return "", config.Errorf(config.Failed, "apt-get install git", "git cannot be started: %w", err)
	}
	m := version.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("git does not say its version: %q", out)
	}
	major, errMajor := strconv.Atoi(string(m[1]))
	minor, errMinor := strconv.Atoi(string(m[2]))
	if errMajor != nil || errMinor != nil || major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return "", config.Errorf(config.Failed, "install git 2.36 or newer",
			"git %s.%s lacks cat-file --batch-command", m[1], m[2])
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "git version "), nil
}
