package config

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure an Error is. Its number is the exit status
// that a command ends with (CONTRACT: 1 failed, 2 wrong usage, 3 not allowed,
// 4 not found).
type Kind int

const (
	Failed   Kind = 1
	Usage    Kind = 2
	Denied   Kind = 3
	NotFound Kind = 4
)

// String names the kind as the "code" of an error in JSON.
func (k Kind) String() string {
	switch k {
	case Usage:
		return "usage"
	case Denied:
		return "denied"
	case NotFound:
		return "not_found"
	default:
		return "failed"
	}
}

// Error is what people read: what was attempted (Op), on what (On), why it
// failed (Err) and, where the reader can act, what to type next (Hint).
type Error struct {
	Kind   Kind
	Op, On string
	Err    error
	Hint   string
}

// Error joins the parts that are set with colons, on one line.
func (e *Error) Error() string {
	var parts []string
	switch {
	case e.Op != "" && e.On != "":
		parts = append(parts, e.Op+" "+e.On)
	case e.Op != "" || e.On != "":
		parts = append(parts, e.Op+e.On)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a kind from a format; the wrapped error, if the
// format has a %w, stays reachable for errors.Is and errors.As.
func Errorf(kind Kind, hint, format string, a ...any) *Error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, a...), Hint: hint}
}

// Hint returns the innermost hint in err's chain: the layer nearest the cause
// knows best what to do. It is "" where no layer has one.
func Hint(err error) (hint string) {
	for e := (*Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Hint != "" {
			hint = e.Hint
		}
	}
	return hint
}

// KindOf returns the innermost kind in err's chain, and Failed for an error
// that carries none.
func KindOf(err error) Kind {
	kind := Failed
	for e := (*Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Kind != 0 {
			kind = e.Kind
		}
	}
	return kind
}
