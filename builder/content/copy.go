package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	wholeUpTo = 128 << 10 // contents up to this size are read and written whole
	copyStep  = 16 << 20  // how much the kernel copies before somebody may cancel
)

// copier makes files of contents; it belongs to one worker.
type copier struct {
	from *sources
	buf  []byte
}

// batch makes files of one directory.
func (c *copier) batch(ctx context.Context, top directory, files []*File) (err error) {
	d, err := top.below(parent(files[0].Path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, f := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		at := c.from.places[f.key()]
		if f.Mode == Link {
			err = c.link(d, f, at)
		} else {
			err = c.file(ctx, d, f, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) link(d directory, f *File, at place) error {
	if at.size == 0 || at.size > maxLink {
		return fmt.Errorf("%s is a link of %d bytes", show(f.Path), at.size)
	}
	b, err := c.whole(f, at)
	if err != nil {
		return err
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return fmt.Errorf("%s is a link with a NUL in it", show(f.Path))
	}
	name := base(f.Path)
	return d.explain("symlink", name, unix.Symlinkat(string(b), d.fd, name))
}

// whole reads a content that is not large.
func (c *copier) whole(f *File, at place) ([]byte, error) {
	if c.buf == nil {
		c.buf = make([]byte, wholeUpTo+crcSize)
	}
	return c.from.read(f, at, c.buf)
}

func (c *copier) file(ctx context.Context, d directory, f *File, at place) (err error) {
	name, perm := base(f.Path), f.Mode.perm()
	var small []byte
	if at.size <= wholeUpTo {
		if small, err = c.whole(f, at); err != nil {
			return err
		}
	}
	fd, err := retry(func() (int, error) {
		return unix.Openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
	})
	if err != nil {
		return d.explain("create", name, err)
	}
	defer func() { err = errors.Join(err, d.explain("close", name, unix.Close(fd))) }()
	if at.size <= wholeUpTo {
		err = writeAt(fd, small, 0)
	} else {
		err = c.copy(ctx, fd, at)
	}
	if err != nil {
		return d.explain("write", name, err)
	}
	// The umask, or an access list of a directory above, may have had its say.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return d.explain("stat", name, err)
	}
	if st.Mode&0o7777 != perm {
		return d.explain("chmod", name, unix.Fchmod(fd, perm))
	}
	return nil
}

func writeAt(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := retry(func() (int, error) { return unix.Pwrite(fd, b, off) })
		if err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// copy fills a file with a large content in the cheapest way there is: by
// sharing its blocks, by the kernel, or by hand. What one way leaves undone the
// next one does.
func (c *copier) copy(ctx context.Context, fd int, at place) error {
	done, err := c.clone(fd, at)
	if err == nil && done < at.size {
		done, err = c.copyRange(ctx, fd, at, done)
	}
	if err == nil && done < at.size {
		err = c.copyBytes(ctx, fd, at, done)
	}
	return err
}

// clone shares the whole blocks.
func (c *copier) clone(fd int, at place) (done int64, err error) {
	n := at.size &^ (block - 1)
	if c.from.noClone.Load() || at.at%block != 0 || n == 0 {
		return 0, nil
	}
	_, err = retry(func() (int, error) {
		return 0, unix.IoctlFileCloneRange(fd, &unix.FileCloneRange{
			Src_fd: int64(at.pack.f.Fd()), Src_offset: uint64(at.at), Src_length: uint64(n),
		})
	})
	if err != nil {
		c.from.noClone.Store(true)
		return 0, notHere(err)
	}
	return n, nil
}

// notHere drops the errors of a kernel or a file system that cannot do it.
func notHere(err error) error {
	for _, e := range []error{unix.EOPNOTSUPP, unix.ENOTTY, unix.ENOSYS, unix.EXDEV, unix.EINVAL, unix.EPERM, unix.ETXTBSY} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

func (c *copier) copyRange(ctx context.Context, fd int, at place, done int64) (int64, error) {
	for done < at.size && !c.from.noRange.Load() {
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		in, out := at.at+done, done
		n, err := retry(func() (int, error) {
			return unix.CopyFileRange(int(at.pack.f.Fd()), &in, fd, &out, int(min(copyStep, at.size-done)), 0)
		})
		if err != nil || n == 0 { // some file systems say 0 for "not here"
			c.from.noRange.Store(true)
			return done, notHere(err)
		}
		done += int64(n)
	}
	return done, nil
}

func (c *copier) copyBytes(ctx context.Context, fd int, at place, done int64) error {
	if c.buf == nil {
		c.buf = make([]byte, wholeUpTo+crcSize)
	}
	for done < at.size {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := c.buf[:min(int64(len(c.buf)), at.size-done)]
		n, err := at.pack.f.ReadAt(b, at.at+done)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := writeAt(fd, b[:n], done); err != nil {
			return err
		}
		done += int64(n)
	}
	return nil
}
