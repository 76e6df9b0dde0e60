package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"

	"slipway/builder/content"
)

// maxList bounds a list of contents on its way.
const maxList = 256 << 20

// place has a tree laid out. The body brings the list first, or what differs
// from one that is here; the answer says what is lacking; then the body brings
// that.
func (c *call) place(ctx context.Context) (r result, err error) {
	body, err := c.body(ctx)
	if err != nil {
		return r, err
	}
	defer body.Close()
	stop := context.AfterFunc(ctx, func() { body.Close() })
	defer stop()
	in := bufio.NewReaderSize(body, chunk)
	l, known, err := c.readTree(in)
	if err != nil || !known {
		return result{NoBase: !known && err == nil}, err
	}
	if c.claim, err = c.host.Claim(c.ref()); err != nil {
		return r, err
	}
	c.server.spares.stop(c.app())
	asked := false
	err = c.host.PlaceContents(ctx, c.ref(), l, func(ctx context.Context, store *content.Store, want []content.Want) error {
		asked = true
		if err := c.ask(want); err != nil {
			return err
		}
		limit := c.request.Place.Limits.TreeBytes
		if limit <= 0 {
			limit = math.MaxInt64
		}
		_, err := store.Receive(ctx, in, l, want, limit)
		return err
	})
	if err == nil && !asked {
		err = c.ask(nil)
	}
	return r, err
}

// ask tells the server what is lacking.
func (c *call) ask(want []content.Want) error {
	if _, err := c.stream.writer(kindAnswer).Write(packWants(want)); err != nil {
		return err
	}
	return c.stream.send(kindEnd, nil)
}

// readTree reads the list of a tree; known is false if it is told by what
// differs from a tree that is not here.
func (c *call) readTree(in io.Reader) (l *content.List, known bool, err error) {
	t := c.request.Tree
	if t == nil {
		return nil, false, errors.New("a place for nothing")
	}
	var length [4]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, false, fmt.Errorf("read the list of files: %w", err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxList {
		return nil, false, fmt.Errorf("a list of %d bytes", n)
	}
	var text bytes.Buffer
	if _, err := io.CopyN(&text, in, int64(n)); err != nil {
		return nil, false, fmt.Errorf("read the list of files: %w", err)
	}
	id, err := parseID(t.ID)
	if err != nil {
		return nil, false, err
	}
	var base *content.List
	if t.Base != "" {
		from, err := parseID(t.Base)
		if err != nil {
			return nil, false, err
		}
		if base, err = c.host.ContentList(c.ref(), from); err != nil || base == nil {
			return nil, false, err
		}
	}
	if l, err = base.Apply(text.Bytes()); err != nil {
		return nil, false, err
	}
	if l.ID() != id {
		return nil, false, errors.New("the list of files is not the one that was announced")
	}
	return l, true, nil
}

func parseID(s string) (id [32]byte, err error) {
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("%q is not the id of a list", s)
	}
	_, err = hex.Decode(id[:], []byte(s))
	return id, err
}

// sendTree writes what readTree reads.
func sendTree(out io.Writer, diff []byte) error {
	if len(diff) > maxList {
		return fmt.Errorf("a list of %d bytes is too long", len(diff))
	}
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(diff)))
	_, err := out.Write(append(length[:], diff...))
	return err
}

// packWants writes places as what differs from the one before, and offsets.
func packWants(want []content.Want) []byte {
	var b []byte
	last := 0
	for _, w := range want {
		b = binary.AppendVarint(b, int64(w.Index-last))
		b = binary.AppendUvarint(b, uint64(w.Offset))
		last = w.Index
	}
	return b
}

func unpackWants(b []byte, l *content.List) ([]content.Want, error) {
	var want []content.Want
	files, last := l.Files(), 0
	seen := make(map[int]bool)
	for len(b) > 0 {
		step, n := binary.Varint(b)
		if n <= 0 {
			return nil, errors.New("an answer that cannot be read")
		}
		offset, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return nil, errors.New("an answer that cannot be read")
		}
		b = b[n+m:]
		i := last + int(step)
		if i < 0 || i >= len(files) || seen[i] || files[i].Mode == content.Directory || int64(offset) < 0 ||
			files[i].Size >= 0 && int64(offset) > files[i].Size {
			return nil, errors.New("an answer that asks for what is not in the tree")
		}
		seen[i], last = true, i
		want = append(want, content.Want{Index: i, Offset: int64(offset)})
	}
	return want, nil
}
