package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"

	"slipway/builder/content"
	"slipway/builder/targettest"
	"slipway/config"
)

// FuzzWants reads what a host lacks.
func FuzzWants(f *testing.F) {
	tree := &targettest.Tree{Files: map[string]string{"a": "1", "b/c": "22", "b/d": "333"}}
	l, err := tree.List()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packWants([]content.Want{{Index: 0}, {Index: 2}, {Index: 1, Offset: 1}}))
	f.Add([]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Add([]byte{0, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		want, err := unpackWants(b, l)
		if err != nil {
			return
		}
		for _, w := range want {
			if f := l.Files()[w.Index]; w.Offset < 0 || w.Offset > f.Size {
				t.Errorf("%+v of %+v", w, f)
			}
		}
		again, err := unpackWants(packWants(want), l)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(want) {
			t.Errorf("%v, then %v, %v", want, again, err)
		}
	})
}

// bytesConn is a connection from which some bytes come.
type bytesConn struct {
	net.Conn
	in *bytes.Reader
}

func (b bytesConn) Read(p []byte) (int, error) { return b.in.Read(p) }

// FuzzAnswer reads what comes from a host in a call.
func FuzzAnswer(f *testing.F) {
	frame := func(k kind, text string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(len(text))), text...)
	}
	f.Add(frame(kindResult, `{"Error":{"Kind":1,"Text":"no","Exit":{"Step":"postinstall","Status":3}},"Clock":"2026-01-02T03:04:05Z"}`))
	f.Add(frame(kindResult, `{"Status":[{"Live":3,"Err":{}}]}`))
	f.Add(append(frame(kindAnswer, "\x00\x00"), frame(kindEnd, "")...))
	f.Add(append(frame(kindOutput, "x"), 'e', 1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := exchange{out: io.Discard}
		r, err := x.listen(&stream{conn: bytesConn{in: bytes.NewReader(b)}}, make(chan []byte, 1))
		if err != nil {
			return
		}
		if err := r.Error.unpack("app1"); err != nil && (config.KindOf(err) < config.Failed || config.KindOf(err) > config.NotFound) {
			t.Errorf("kind %d", config.KindOf(err))
		}
	})
}

// FuzzRequest has an agent read what comes from a server: nothing ends it.
func FuzzRequest(f *testing.F) {
	for _, q := range []request{
		{Method: status, Place: Place{Root: "/nonexistent/apps"}, AppEnv: "shop/prod"},
		{Method: stage, Place: Place{Root: "/nonexistent/apps"}, AppEnv: "shop/prod", Stage: &stageSpec{}},
		{Method: activate, Switch: &switchSpec{}},
	} {
		text, err := json.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := &call{server: &server{}}
		if json.Unmarshal(text, &c.request) != nil {
			return
		}
		c.request.Method = status // which changes nothing, wherever its root is
		_, _ = guarded(func() (result, error) { return c.run(t.Context()) })
		if c.request.Stage != nil {
			c.request.Stage.unpack(c.ref())
		}
		p := c.request.Place
		if c.host != nil && (!filepath.IsAbs(p.Root) || filepath.Clean(p.Root) != p.Root) {
			t.Errorf("a host at %q", p.Root)
		}
	})
}
