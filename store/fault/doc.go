// Package fault marks the places of a deploy at which a test lets the server
// die, fail or wait. Without the build tag "faults" a mark does nothing and the
// compiler drops it. It knows nothing of what goes on at the places.
package fault
