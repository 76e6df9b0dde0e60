package builder

import (
	"fmt"
	"strings"
)

// LogError is a build log that could not be written: that ends the deploy, and
// is nobody's wish.
type LogError struct{ Err error }

func (e *LogError) Error() string { return "write the build log: " + e.Err.Error() }
func (e *LogError) Unwrap() error { return e.Err }

func (e *ExitError) Error() string {
	s := e.Step
	if e.Host != "" {
		s += " on " + e.Host
	}
	over := ""
	if e.Over != "" {
		over = ", over its " + e.Over
	}
	if e.Signal != "" {
		return fmt.Sprintf("%s was ended by signal %s%s", s, e.Signal, over)
	}
	return fmt.Sprintf("%s exited %d%s", s, e.Status, over)
}

func (e *TimeoutError) Error() string {
	s := e.Step
	if e.Host != "" {
		s += " on " + e.Host
	}
	return fmt.Sprintf("%s ran out of time (%s) and was ended", s, e.After)
}

// HostError is what went wrong on one host.
type HostError struct {
	Host string
	Err  error
}

func (e *HostError) Error() string {
	text := e.Err.Error()
	if strings.Contains(text, e.Host) {
		return text
	}
	return e.Host + ": " + text
}

func (e *HostError) Unwrap() error { return e.Err }

// HostsError is something that not every host of a target has done.
type HostsError struct {
	Failed []HostError
	Done   []string // the hosts that have
}

func (e *HostsError) Error() string {
	var parts []string
	for i := range e.Failed {
		parts = append(parts, e.Failed[i].Error())
	}
	return strings.Join(parts, "; ")
}

// Unwrap gives the errors of the hosts.
func (e *HostsError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}

// Names lists the hosts that failed.
func (e *HostsError) Names() []string {
	names := make([]string, len(e.Failed))
	for i, f := range e.Failed {
		names[i] = f.Host
	}
	return names
}
