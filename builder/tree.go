package builder

import (
	"context"
	"io"

	"slipway/builder/content"
)

// Tree is a tree to be laid out in a target: what is in it, and where its bytes
// come from. It may be used concurrently.
type Tree interface {
	// Lay writes all of it into dir, an empty directory that nobody else can
	// enter. It need not be on disk yet when it returns.
	Lay(ctx context.Context, dir string) error

	// List is what is in it.
	List() (*content.List, error)

	// Base is what was in the tree that is live, nil if that is not known:
	// what a target has of it need not be said again.
	Base() (*content.List, error)

	// Contents calls got for each of some files of the list, by their places
	// in it, in an order of its own. r is what the file holds, size bytes of
	// it, and is of no use after got has returned.
	Contents(ctx context.Context, which []int, got func(i int, size int64, r io.Reader) error) error
}

// Sent is what it took to have a tree on other machines.
type Sent struct {
	Hosts    int   // 0 where nothing had to be sent
	Contents int   // that one of them lacked, the most of all
	Bytes    int64 // on the wire, to all of them together
}
