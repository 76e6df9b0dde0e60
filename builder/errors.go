package builder

import "fmt"

func (e *ExitError) Error() string {
	s := e.Step
	if e.Host != "" {
		s += " on " + e.Host
	}
	if e.Signal != "" {
		return fmt.Sprintf("%s was ended by signal %s", s, e.Signal)
	}
	return fmt.Sprintf("%s exited %d", s, e.Status)
}

func (e *TimeoutError) Error() string {
	s := e.Step
	if e.Host != "" {
		s += " on " + e.Host
	}
	return fmt.Sprintf("%s ran out of time (%s) and was ended", s, e.After)
}
