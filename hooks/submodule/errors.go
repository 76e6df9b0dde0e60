package submodule

import (
	"errors"
	"fmt"
	"time"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

// unreachableError is a source that did not answer, or broke off: worth another
// try.
type unreachableError struct {
	addr string
	why  string
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("cannot reach source %s: %s", e.addr, e.why)
}

// slowError is a fetch that did not end in time, with all its tries.
type slowError struct {
	addr  string
	limit time.Duration
}

func (e *slowError) Error() string {
	return fmt.Sprintf("source %s: no end after %s", e.addr, builder.Whole(e.limit))
}

// sourceError is about a source as a whole: it needs no module before it.
type sourceError struct {
	err    error
	detail []string
}

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// declinedError is a source that answered, and did not give what was asked.
type declinedError struct {
	git string // what git said
	cut bool   // or the answer was cut off: nobody can tell
}

func (e *declinedError) Error() string { return cause(e.git) }

func aboutSource(err error) bool {
	var s *sourceError
	var u *unreachableError
	var slow *slowError
	return errors.As(err, &s) || errors.As(err, &u) || errors.As(err, &slow)
}

func detailOf(err error) []string {
	var s *sourceError
	if errors.As(err, &s) {
		return s.detail
	}
	return nil
}

// noAccess is what a server says that will not tell whether there is such a
// repository.
func noAccess(src *config.Source, url config.SourceURL) error {
	return config.Errorf(config.Denied, "an admin checks what the credential of "+address(src.URL)+" may read",
		"%s is missing, or no access", url.Short())
}

func neverPushed(url config.SourceURL, commit store.OID) error {
	return config.Errorf(config.Usage, "git push --recurse-submodules=on-demand, then push again",
		"pinned commit %s is not on %s: it was never pushed, or its branch was rewritten", commit.Short(), url.Short())
}

// address shows a URL without its user.
func address(url config.SourceURL) string { return url.Scheme() + "://" + url.Short() }
