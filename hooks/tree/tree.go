// Package tree turns a plan into files: it reads every tree object of a commit
// and of the submodules below it, checks all of it against the rules of safe
// paths and against the limits before anything is written, and has git lay it
// out as a recursive clone would. It knows nothing of URLs, sources or targets.
package tree

import (
	"slipway/store"
	"slipway/store/git"
)

// Part is one repository's commit at one place of the tree.
type Part struct {
	Path   string            // from the root of the tree, "" for the app itself
	Dir    string            // GIT_DIR, absolute
	Env    map[string]string // quarantine of a push, nil otherwise
	Commit store.OID
}

// Limits bound a tree. A zero Bytes or Blob is no limit, a zero Files is
// 500,000; PathBytes and Depth are at most, and by default, 4095 and 256.
type Limits struct {
	Bytes     int64 // of all files together
	Files     int   // files and links; as many directories are allowed beside
	Blob      int64 // bytes of one file
	PathBytes int
	Depth     int    // directories above a file
	Links     string // "inside" refuses symbolic links that lead out of the tree
	LFS       string // "pointers" lets Git LFS pointers pass
}

// Mode is the mode of an entry as git spells it. Values that git never writes
// do not become a Mode.
type Mode uint32

// The modes that a tree may have.
const (
	Regular    Mode = 0o100644
	Executable Mode = 0o100755
	Link       Mode = 0o120000
	Gitlink    Mode = 0o160000
	Directory  Mode = 0o040000
)

// Hash is a git object's name.
type Hash = git.Hash

// Entry is one file or link of a tree.
type Entry struct {
	Path string
	Mode Mode // Regular, Executable or Link
	Hash Hash
	Size int64 // of the blob, before attributes such as eol
	Part int   // index of the Part that it comes from
}

// Mount is one gitlink of a tree: the directory that a submodule fills.
type Mount struct {
	Path    string
	Commit  Hash
	Skipped bool // the directory stays empty
}

// Manifest is a whole tree as a list.
type Manifest struct {
	ID      string // SHA-256 of the canonical list: equal trees have equal ids
	Files   int
	Bytes   int64
	Dirs    int     // directories, the root not counted
	Entries []Entry // sorted by path
	Mounts  []Mount // sorted by path
}

// Info says what the tree is, in figures.
func (m *Manifest) Info() store.TreeInfo {
	return store.TreeInfo{ID: m.ID, Files: m.Files, Bytes: m.Bytes}
}
