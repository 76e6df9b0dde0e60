package builder

import "fmt"

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
