package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"

	"slipway/config"
	"slipway/store/git"
)

// Write is something that is written to a file system.
type Write struct {
	Path    string // where, or below where
	What    string // in words: "the tree"; "" lets the error of the write speak
	Need    Room   // what it takes, as far as is known
	AtLeast bool   // it may take more than Need
}

// Error is a write that a file system did not take.
type Error struct {
	Mount string        // where the file system begins
	Cause syscall.Errno // ENOSPC, EDQUOT or EROFS
	Of    Write         // what failed
	Free  Room          // at that moment
	Err   error         // of the write; nil if none was tried
}

// Error is one line: WHICH file system, how much was needed, how much is free.
func (e *Error) Error() string {
	s := ""
	if e.Err != nil && e.Of.What == "" {
		s = plain(e.Err) + ": "
	}
	switch e.Cause {
	case syscall.EROFS:
		return s + "the file system " + e.Mount + " is read-only"
	case syscall.EDQUOT:
		s += "the quota on the file system " + e.Mount + " is used up"
	default:
		s += "the file system " + e.Mount + " is full"
	}
	switch {
	case e.Of.What == "":
		return s + ": " + e.free()
	case e.Of.Need.Files > e.Free.Files && e.Of.Need.Bytes <= e.Free.Bytes:
		return fmt.Sprintf("%s: %s needs %s files, it can take %s", s, e.Of.What, humanize.Comma(e.Of.Need.Files), humanize.Comma(e.Free.Files))
	case e.Of.Need.Bytes > 0:
		least := ""
		if e.Of.AtLeast {
			least = "at least "
		}
		need, free := humanize.IBytes(uint64(e.Of.Need.Bytes)), e.free()
		if strings.HasPrefix(free, need) { // they differ by less than is shown
			need, free = humanize.Comma(e.Of.Need.Bytes)+" bytes", humanize.Comma(e.Free.Bytes)+" are free"
		}
		return fmt.Sprintf("%s: %s needs %s%s, %s", s, e.Of.What, least, need, free)
	}
	return fmt.Sprintf("%s: no room for %s, %s", s, e.Of.What, e.free())
}

// free says what is left: the files where there are none.
func (e *Error) free() string {
	if e.Free.Files == 0 {
		return "it can take no more files"
	}
	return humanize.IBytes(uint64(max(0, e.Free.Bytes))) + " are free"
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes the cause findable, also where git or SQLite said it in words.
func (e *Error) Is(target error) bool { return target == e.Cause }

func (e *Error) hint() string {
	switch e.Cause {
	case syscall.EROFS:
		return "an admin mounts it for writing; the kernel's log may say why it is read-only"
	case syscall.EDQUOT:
		return "an admin makes room there, or raises the quota of the server's account; then do the same again"
	}
	return "an admin makes room there (keep and cache_bytes in server.toml bound what stays); then do the same again"
}

// plain is an error without what the line goes on to say.
func plain(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Op + " " + at.Path
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Op + " " + link.New
	}
	var run *git.RunError
	if errors.As(err, &run) {
		word, _, _ := strings.Cut(run.Args, " ")
		return "git " + word
	}
	return err.Error()
}

// Check refuses what cannot fit before the first byte of it is written.
func (w Write) Check() error {
	free, _, err := Left(w.Path)
	if err == nil && !w.Need.Fits(free) {
		return w.Refused(syscall.ENOSPC, nil)
	}
	return err
}

// Refused is what people are told of a file system that does not take w; err is
// that of the write, nil if none was tried.
func (w Write) Refused(cause syscall.Errno, err error) error {
	free, _, failed := Left(w.Path)
	if failed != nil {
		return errors.Join(err, failed)
	}
	e := &Error{Mount: Mount(w.Path), Cause: cause, Of: w, Free: free, Err: err}
	return &config.Error{Kind: config.Failed, Err: e, Hint: e.hint()}
}

// Explain adds to the error of a write which file system was full, out of quota
// or read-only, what was needed and what is left there. Any other error comes
// back as it is, and so does one that is explained already.
func (w Write) Explain(err error) error {
	cause := Cause(err)
	var run *git.RunError
	if cause == 0 && errors.As(err, &run) {
		cause = Said(run.Stderr, w.Path)
	}
	var known *Error
	if cause == 0 || errors.As(err, &known) {
		return err
	}
	var at *fs.PathError
	var link *os.LinkError
	switch { // the error's own path is nearer
	case errors.As(err, &at) && filepath.IsAbs(at.Path):
		w.Path = at.Path
	case errors.As(err, &link) && filepath.IsAbs(link.New):
		w.Path = link.New
	}
	return w.Refused(cause, err)
}

// Explain is Write.Explain where nothing is known but a path.
func Explain(err error, path string) error { return Write{Path: path}.Explain(err) }

// Cause is ENOSPC, EDQUOT or EROFS where that is why a write failed, else 0.
func Cause(err error) syscall.Errno {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		if errors.Is(err, no) {
			return no
		}
	}
	var run *git.RunError
	if errors.As(err, &run) {
		return inWords(run.Stderr)
	}
	return 0
}

// Said is the cause that git gives in words for what it could not write below
// path. It does not always say why it could not: then the file system has to.
// It is 0 if git speaks of something else.
func Said(text, path string) syscall.Errno {
	cause := inWords(text)
	for _, word := range []string{"unable to", "couldn't", "could not", "failed to", "cannot"} {
		if cause == 0 && strings.Contains(text, word) {
			cause = State(path)
		}
	}
	return cause
}

func inWords(text string) syscall.Errno {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		if strings.Contains(text, said[no]) {
			return no
		}
	}
	return 0
}

// said is how the C library spells them in its own language.
var said = map[syscall.Errno]string{
	syscall.ENOSPC: "No space left on device",
	syscall.EDQUOT: "Disk quota exceeded",
	syscall.EROFS:  "Read-only file system",
}
