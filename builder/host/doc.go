// Package host is a release root on one machine: it lays releases out, builds
// them in a sandbox, switches, runs and removes them. It knows nothing of where
// trees come from, nor of how its caller reaches the machine.
//
// What an app's account may write, it may also change while we look at it:
// below such a directory nothing is ever reached by a path, but only by
// descriptors that follow no link (os.Root, openat).
package host
