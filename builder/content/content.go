// Package content ships trees by what is in them: a list names the content of
// every file, a store keeps contents by that name, and of a new tree only what
// the store lacks crosses the wire. It knows neither releases nor connections,
// and nothing of git but how it names a blob.
package content

import "encoding/hex"

// ID names a content: git's hash of the blob where File.Exact says so, else a
// key that whoever made the list has chosen.
type ID [20]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Mode is what a path of a list is. Its numbers are part of what goes over the
// wire and onto disks.
type Mode uint8

const (
	Regular    Mode = iota // a file, 0644
	Executable             // a file, 0755
	Link                   // a symbolic link; its content is where it leads
	Directory              // a directory that is there even if it is empty
)

// File is one path of a list. Size is -1 where it is not known beforehand. A
// Directory has no content: its ID and Size are zero.
type File struct {
	Path  string
	Mode  Mode
	Exact bool
	ID    ID
	Size  int64
}

// key is what a store finds a content by: a chosen key never stands for
// content that was proved to have its git hash.
type key struct {
	id    ID
	exact bool
}

func (f *File) key() key { return key{f.ID, f.Exact} }

// Want is a content that a store lacks: that of the list's file at Index, from
// Offset on.
type Want struct {
	Index  int
	Offset int64
}
