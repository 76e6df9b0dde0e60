package agent

import (
	"context"
	"errors"
	"io"
	"slices"

	"slipway/builder"
	"slipway/builder/content"
)

// Sent is what it took to have a tree on one machine.
type Sent struct {
	Contents int
	Bytes    int64 // that went over the streams, compressed
}

// Place has the tree laid out there, and sends what is lacking for it. It may
// be repeated after a CutError: what has arrived is not sent again.
func (m Remote) Place(ctx context.Context, r builder.Ref, t builder.Tree) (Sent, error) {
	l, err := t.List()
	if err != nil {
		return Sent{}, err
	}
	base, err := t.Base()
	if err != nil {
		return Sent{}, err
	}
	sent, known, err := m.place(ctx, r, t, l, base)
	if err == nil && !known {
		sent, known, err = m.place(ctx, r, t, l, nil)
		if err == nil && !known {
			err = errors.New("the agent does not take a whole list")
		}
	}
	return sent, err
}

func (m Remote) place(ctx context.Context, r builder.Ref, t builder.Tree, l, base *content.List) (sent Sent, known bool, err error) {
	q := m.request(place, r.AppEnv, r.Number)
	q.Tree = &treeSpec{ID: formatID(l.ID())}
	if base != nil {
		q.Tree.Base = formatID(base.ID())
	}
	diff, err := content.Diff(base, l)
	if err != nil {
		return sent, false, err
	}
	count := &counter{}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := m.call(ctx, exchange{request: q, body: func(ctx context.Context, w io.WriteCloser, answer <-chan []byte) {
		defer close(ended)
		count.w = w
		n, err := sendAll(ctx, t, diff, l, count, answer)
		sent.Contents = n
		var wire *wireError
		if err != nil && ctx.Err() == nil && !errors.As(err, &wire) { // else the agent says why
			cancel(err)
		}
		w.Close()
	}})
	var cut *CutError
	if errors.As(err, &cut) && cut.early {
		return sent, false, err // the body never began
	}
	<-ended
	sent.Bytes = count.n
	return sent, !res.NoBase, err
}

// sendAll sends the list, waits for what is lacking, and sends that.
func sendAll(ctx context.Context, t builder.Tree, diff []byte, l *content.List, w io.Writer, answer <-chan []byte) (contents int, err error) {
	if err := sendTree(w, diff); err != nil {
		return 0, err
	}
	var text []byte
	select {
	case text = <-answer:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	want, err := unpackWants(text, l)
	if err != nil || len(want) == 0 {
		return 0, err
	}
	return len(want), send(ctx, t, want, l, w)
}

// send sends contents, each from where it is lacking.
func send(ctx context.Context, t builder.Tree, want []content.Want, l *content.List, w io.Writer) error {
	s, err := content.NewSender(w)
	if err != nil {
		return err
	}
	files := l.Files()
	from := make(map[int]int64, len(want))
	var begun, rest []int // what has begun to come goes on first
	for _, x := range want {
		from[x.Index] = x.Offset
		if x.Offset > 0 {
			begun = append(begun, x.Index)
		} else {
			rest = append(rest, x.Index)
		}
	}
	slices.Sort(rest)
	for _, which := range [][]int{begun, rest} {
		if len(which) == 0 {
			continue
		}
		err := t.Contents(ctx, which, func(i int, size int64, r io.Reader) error {
			return s.Send(files[i], from[i], size, r)
		})
		if err != nil {
			return err
		}
	}
	return s.Close()
}

// counter counts what goes through.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if err != nil {
		err = &wireError{err}
	}
	return n, err
}

// wireError is a stream that takes no more: why, the other side knows.
type wireError struct{ err error }

func (e *wireError) Error() string { return e.err.Error() }
func (e *wireError) Unwrap() error { return e.err }
