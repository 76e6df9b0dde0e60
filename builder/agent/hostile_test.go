package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"slipway/builder"
	"slipway/builder/content"
	"slipway/builder/targettest"
	"slipway/config"
)

// hostile is a host of which somebody else has taken hold: answer serves one
// call, whose request it gets.
func hostile(t *testing.T, answer func(st *stream, q request)) Remote {
	t.Helper()
	ours, theirs := net.Pipe()
	over := make(chan struct{})
	go func() {
		defer close(over)
		if _, err := fmt.Fprintf(theirs, "motd\n%s %d abc\n", Greeting, Protocol); err != nil {
			return
		}
		mux, err := yamux.Server(theirs, settings())
		if err != nil {
			return
		}
		defer mux.Close()
		for {
			conn, err := mux.Accept()
			if err != nil {
				return
			}
			st := &stream{conn: conn}
			k, text, err := st.receive()
			if err != nil || k != kindRequest {
				continue // a body
			}
			var q request
			if json.Unmarshal(text, &q) == nil {
				answer(st, q)
			}
		}
	}()
	c, err := Connect(ours, ours)
	check(t, err)
	t.Cleanup(func() { _ = c.Close(); <-over }) // it may have ended
	return Remote{Client: c, Name: "app1", At: Place{Root: "/srv/apps"}}
}

// A host can make its own deploy fail, with a text, and no more.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	tree := &targettest.Tree{Files: map[string]string{"a": "1", "b": "2"}}
	place := func(ctx context.Context, m Remote) error {
		_, err := m.Place(ctx, builder.Ref{AppEnv: ae, Number: 1}, tree)
		return err
	}
	wants := func(b ...byte) func(*stream, request) {
		return func(st *stream, _ request) {
			_ = st.send(kindAnswer, b)
			_ = st.send(kindEnd, nil)
			for k, _, err := st.receive(); k != kindCancel && err == nil; k, _, err = st.receive() {
			}
			_ = st.sendJSON(kindResult, result{Error: &failure{Kind: config.Failed, Text: "not what I wanted"}})
		}
	}
	raw := func(head ...byte) func(*stream, request) {
		return func(st *stream, _ request) { _, _ = st.conn.Write(head); st.conn.Close() }
	}
	for name, c := range map[string]struct {
		answer func(*stream, request)
		do     func(context.Context, Remote) error
		text   string
	}{
		"wants what is not there": {wants(2*5, 0), place, "asks for what is not in the tree"},
		"wants before the first":  {wants(1, 0), place, "asks for what is not in the tree"},
		"wants one twice":         {wants(0, 0, 0, 0), place, "asks for what is not in the tree"},
		"wants from behind":       {wants(0, 9), place, "asks for what is not in the tree"},
		"wants far away":          {wants(0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0), place, "asks for what is not in the tree"},
		"wants half":              {wants(0), place, "cannot be read"},
		"says too much": {func(st *stream, _ request) {
			for range maxAnswer/maxFrame + 1 {
				_ = st.send(kindAnswer, make([]byte, maxFrame))
			}
		}, place, "says too much"},
		"answers twice": {func(st *stream, _ request) {
			for range 3 {
				_ = st.send(kindEnd, nil)
			}
		}, place, "answers twice"},
		"never answers":   {func(st *stream, _ request) { _ = st.sendJSON(kindResult, result{}) }, place, ""},
		"no such base":    {func(st *stream, _ request) { _ = st.sendJSON(kindResult, result{NoBase: true}) }, place, "does not take a whole list"},
		"a huge message":  {raw(byte(kindOutput), 0xff, 0xff, 0xff, 0xff), place, "sends a message of 4294967295 bytes"},
		"half a message":  {raw(byte(kindResult), 0, 0), place, "cut"},
		"no JSON":         {func(st *stream, _ request) { _ = st.send(kindResult, []byte("{")) }, place, "sends a result that cannot be read"},
		"nothing is live": {func(st *stream, _ request) { _ = st.sendJSON(kindResult, result{}) }, func(ctx context.Context, m Remote) error { _, err := m.Status(ctx, ae); return err }, "says nothing of what is live"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.do(within(t), hostile(t, c.answer))
			if c.text == "" && err == nil {
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("it says %v, not %q", err, c.text)
			}
		})
	}
}

// What a host says of itself counts for that host alone.
func TestHostileResults(t *testing.T) {
	t.Parallel()
	m := hostile(t, func(st *stream, q request) {
		r := result{Exit: 1 << 20, Removed: []int{1, 2, 7, -3, 7}}
		if q.Method == discard {
			r = result{Error: &failure{Kind: 77, Text: "no"}}
		}
		_ = st.sendJSON(kindResult, r)
	})
	removed, err := m.Prune(within(t), ae, []int{2, 7})
	if err != nil || fmt.Sprint(removed) != "[1]" {
		t.Errorf("it removed %v, %v: what is to be kept is not its to remove", removed, err)
	}
	exit, err := m.Run(within(t), builder.Stage{Ref: builder.Ref{AppEnv: ae, Number: 1}}, []string{"true"}, builder.Stdio{}, nil)
	if err == nil || exit != 0 {
		t.Errorf("the exit status is %d, %v", exit, err)
	}
	if err := m.Discard(within(t), builder.Ref{AppEnv: ae, Number: 1}); config.KindOf(err) != config.Failed {
		t.Errorf("the exit status would be %d", config.KindOf(err))
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{time.Hour, -time.Hour, 0} {
		m := hostile(t, func(st *stream, _ request) { _ = st.sendJSON(kindResult, result{Clock: time.Now().Add(ahead)}) })
		_, got, err := m.Doctor(within(t))
		if err != nil || (got-ahead).Abs() > time.Second {
			t.Errorf("a clock that is %s ahead is found %s ahead, %v", ahead, got, err)
		}
	}
}

// However much a host writes, little of it is kept. It is not parallel: it looks
// at the memory of all.
func TestFloodOfOutput(t *testing.T) {
	const frames = 2000
	m := hostile(t, func(st *stream, _ request) {
		for range frames {
			if st.send(kindOutput, make([]byte, chunk)) != nil {
				return
			}
		}
		_ = st.sendJSON(kindResult, result{})
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out := &countWriter{}
	check(t, m.Health(within(t), builder.Stage{Ref: builder.Ref{AppEnv: ae, Number: 1}}, out))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if out.n != frames*chunk {
		t.Errorf("%d bytes came", out.n)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d bytes are kept", grown)
	}
}

type countWriter struct{ n int }

func (c *countWriter) Write(b []byte) (int, error) { c.n += len(b); return len(b), nil }

// A body that lies about what it brings is refused, and what was right of it is
// kept.
func TestHostileBody(t *testing.T) {
	t.Parallel()
	m := connect(t)
	tree := &targettest.Tree{Files: map[string]string{"a": "1"}}
	l, err := tree.List()
	check(t, err)
	whole, err := content.Diff(nil, l)
	check(t, err)
	for name, c := range map[string]struct {
		id   string
		body []byte
		text string
	}{
		"nothing":      {formatID(l.ID()), nil, "read the list of files"},
		"huge":         {formatID(l.ID()), []byte{0xff, 0xff, 0xff, 0xff}, "a list of 4294967295 bytes"},
		"another list": {formatID([32]byte{1}), framed(whole), "not the one that was announced"},
		"no id":        {"zz", framed(whole), "not the id of a list"},
		"noise":        {formatID(l.ID()), framed([]byte(rand.Text())), "a difference of an unknown form"},
	} {
		q := m.request(place, ae, 1)
		q.Tree = &treeSpec{ID: c.id}
		r, err := m.Client.call(within(t), exchange{request: q, body: func(_ context.Context, w io.WriteCloser, _ <-chan []byte) {
			_, _ = w.Write(c.body) // it may not be read to its end
			w.Close()
		}})
		if err != nil || r.Error == nil || !strings.Contains(r.Error.Text, c.text) {
			t.Errorf("%s: %+v, %v", name, r.Error, err)
		}
	}
	if _, err := os.Stat(filepath.Join(m.At.Root, "shop/releases/1")); err == nil {
		t.Error("a release was made of it")
	}
}

func framed(list []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(list))), list...)
}
