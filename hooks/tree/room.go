package tree

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"slipway/store/disk"
	"slipway/store/git"
)

// needs estimates from above what files and directories of a tree take: whole
// blocks, a block a directory, and git's indexes while it writes.
func needs(files []Entry, dirs int, block int64) disk.Room {
	r := disk.Room{Files: int64(len(files) + dirs + 2)}
	for _, e := range files {
		r.Bytes += int64(len(e.Path)) + 80 // in the index
		if e.Mode != Link || e.Size >= 60 {
			r.Bytes += (e.Size + block - 1) / block * block
		}
	}
	r.Bytes += int64(dirs+2) * block
	return r
}

// goesTo are files of a tree as something that goes to dir.
func goesTo(files []Entry, dirs int, dir string, block int64) disk.Write {
	return disk.Write{Path: dir, What: "the tree", Need: needs(files, dirs, block)}
}

// checkRoom refuses before the first byte is written what cannot fit.
func checkRoom(files []Entry, dirs int, dir string) error {
	_, block, err := disk.Left(dir)
	if err != nil {
		return err
	}
	return goesTo(files, dirs, dir, block).Check()
}

// Ample says whether a file system can take a tree that is good to have but
// not needed: as much again stays free, and a tenth of the whole.
func Ample(m *Manifest, dir string) (bool, error) {
	free, block, err := disk.Left(dir)
	if err != nil {
		return false, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	need := needs(m.Entries, m.Dirs, block)
	keep := disk.Room{Bytes: max(need.Bytes, int64(st.Blocks)/10*block), Files: max(need.Files, int64(st.Files)/10)}
	return free.Bytes-need.Bytes >= keep.Bytes && free.Files-need.Files >= keep.Files, nil
}

// explainWrite says which file system was full, and by how much, where that is
// why writing failed.
func explainWrite(m *Manifest, dir string, err error) error {
	if err == nil {
		return nil
	}
	free, block, errLeft := disk.Left(dir)
	if errLeft != nil {
		return errors.Join(err, errLeft)
	}
	w := goesTo(m.Entries, m.Dirs, dir, block)
	var run *git.RunError
	// Git does not always say why: then the file system has to.
	if disk.Cause(err) == 0 && errors.As(err, &run) && strings.Contains(run.Stderr, "unable to write") &&
		(free.Files == 0 || free.Bytes < largest(m, block)) {
		return w.Refused(syscall.ENOSPC, err)
	}
	return w.Explain(err)
}

// largest is what the largest file of the tree takes.
func largest(m *Manifest, block int64) int64 {
	most := int64(0)
	for _, e := range m.Entries {
		most = max(most, e.Size)
	}
	return most + block
}
