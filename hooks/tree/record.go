package tree

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Record is what the file system said of a tree that Write had laid out, when
// nobody else could reach it. Update uses it to prove that the tree is still
// the same. The kernel alone sets the time of a change (ctime), at every change
// of content, mode, owner or names, so it and the number of the inode are the
// whole proof of a file or a directory.
type Record struct {
	by       string // versions of all that has a part in what a tree looks like
	manifest *Manifest
	parts    []string // their paths
	owner    Owner    // -1, -1 if it was left ours
	dev      uint64
	root     stamp // its time is that of its names: a rename of it changes the other
	dirs     []stamp
	files    []stamp
}

type stamp struct {
	inode uint64
	time  int64 // nanoseconds
}

// Survey makes the record of a tree that Write has just laid into dir with the
// same words, and that is on disk. by says what wrote it: a record of another
// by is of no use to Update.
func Survey(ctx context.Context, by string, m *Manifest, parts []Part, dir string, o Options) (*Record, error) {
	r := &Record{by: by, manifest: m, owner: ownerOf(o)}
	for _, p := range parts {
		r.parts = append(r.parts, p.Path)
	}
	dirs := m.directories()
	r.dirs, r.files = make([]stamp, len(dirs)), make([]stamp, len(m.Entries))
	err := below(dir, func(fd int) (err error) {
		if r.root, r.dev, err = stampRoot(fd); err != nil {
			return err
		}
		return each(ctx, len(dirs)+len(m.Entries), func(i int) (err error) {
			if i < len(dirs) {
				r.dirs[i], err = r.stamp(fd, dirs[i])
			} else {
				r.files[i-len(dirs)], err = r.stamp(fd, m.Entries[i-len(dirs)].Path)
			}
			return err
		})
	})
	return r, err
}

// Manifest is the list of the tree.
func (r *Record) Manifest() *Manifest { return r.manifest }

func ownerOf(o Options) Owner {
	if o.Owner == nil {
		return Owner{-1, -1}
	}
	return *o.Owner
}

func stampRoot(fd int) (s stamp, dev uint64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return s, 0, err
	}
	return stamp{st.Ino, st.Mtim.Nano()}, st.Dev, nil
}

func (r *Record) stamp(fd int, path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return stamp{}, fmt.Errorf("%s: %w", show(path), err)
	}
	if st.Dev != r.dev {
		return stamp{}, fmt.Errorf("%s is on another file system", show(path))
	}
	return stamp{st.Ino, st.Ctim.Nano()}, nil
}

// recordMagic begins every encoded record; its number is the form's version.
const recordMagic = "slipway-record 1\n"

// Encode returns a form for DecodeRecord.
func (r *Record) Encode() ([]byte, error) {
	list, err := r.manifest.Encode()
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, text := range append([]string{r.by, string(list)}, r.parts...) {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	head := binary.AppendUvarint(nil, uint64(len(r.parts)))
	b = append(head, b...)
	b = binary.AppendVarint(b, int64(r.owner.UID))
	b = binary.AppendVarint(b, int64(r.owner.GID))
	b = binary.AppendUvarint(b, r.dev)
	b = binary.AppendUvarint(b, uint64(len(r.dirs)))
	last := stamp{}
	for _, list := range [][]stamp{{r.root}, r.dirs, r.files} {
		for _, s := range list {
			b = binary.AppendVarint(b, int64(s.inode-last.inode))
			b = binary.AppendVarint(b, s.time-last.time)
			last = s
		}
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.EncodeAll(b, []byte(recordMagic)), nil
}

var errDamaged = errors.New("a damaged record of a tree")

// DecodeRecord reads what Encode wrote; what is damaged is an error.
func DecodeRecord(b []byte) (*Record, error) {
	packed, ok := bytes.CutPrefix(b, []byte(recordMagic))
	if !ok {
		return nil, errors.New("a record of an unknown form")
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxEncoded))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	d := &decoder{b: raw}
	parts := d.number()
	text := func() string { return string(d.take(d.number())) }
	r := &Record{by: text()}
	list := text()
	for ; parts > 0 && !d.bad; parts-- {
		r.parts = append(r.parts, text())
	}
	r.owner = Owner{int(d.signed()), int(d.signed())}
	r.dev = d.number()
	dirs := d.number()
	if d.bad {
		return nil, errDamaged
	}
	if r.manifest, err = Decode([]byte(list)); err != nil {
		return nil, err
	}
	last := stamp{}
	stamps := func(n uint64) (all []stamp) {
		for ; n > 0 && !d.bad; n-- {
			last = stamp{last.inode + uint64(d.signed()), last.time + d.signed()}
			all = append(all, last)
		}
		return all
	}
	if root := stamps(1); !d.bad {
		r.root = root[0]
	}
	r.dirs = stamps(dirs)
	r.files = stamps(uint64(len(r.manifest.Entries)))
	if d.bad || len(d.b) > 0 || len(r.dirs) != len(r.manifest.directories()) {
		return nil, errDamaged
	}
	for _, e := range r.manifest.Entries {
		if e.Part < 0 || e.Part >= len(r.parts) {
			return nil, errDamaged
		}
	}
	return r, nil
}

func (d *decoder) signed() int64 {
	n, size := binary.Varint(d.b)
	if size <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return n
}
