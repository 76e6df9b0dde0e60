// Package guard makes an error of a panic, so that a mistake in one deploy ends
// that deploy and not the server. It knows nothing of what it guards.
package guard

import (
	"fmt"
	"runtime/debug"
)

// Panic is a panic that was recovered. What it says is for the log alone: the
// value may hold what others must not see.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return "internal error" }

// Detail is the value in words.
func (p *Panic) Detail() string { return fmt.Sprintf("panic: %v", p.Value) }

// Run runs f, and returns its error, or its panic as one.
func Run(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{v, debug.Stack()}
		}
	}()
	return f()
}
