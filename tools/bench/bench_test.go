package main

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestSameData(t *testing.T) {
	t.Parallel()
	sum := func(seed uint64) [32]byte {
		var stream bytes.Buffer
		if err := history(&stream, 50, 5, seed, []module{{"vendor/lib", "ssh://host/lib.git", strings.Repeat("a", 40)}}); err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(stream.Bytes())
	}
	once, again, other := sum(1), sum(1), sum(2)
	if once != again || once == other {
		t.Error("the same seed must give the same data, and another one other data")
	}
}

func TestWire(t *testing.T) {
	t.Parallel()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		conn, err := echo.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()

	const delay = 50 * time.Millisecond
	w, err := newWire(echo.Addr().String(), delay)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	conn, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	if _, err := io.WriteString(conn, "there"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "there" {
		t.Fatalf("got %q, %v", got, err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("there and back took %s, less than twice %s", took, delay)
	}
	if n := w.bytes.Load(); n != 10 {
		t.Errorf("counted %d bytes of 10", n)
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	r := &results{out: io.Discard}
	for _, seconds := range []float64{3, 1, 2} {
		r.add("one file", slip, "s", seconds)
		r.add("one file", "dokku", "s", 9*seconds)
	}
	var text strings.Builder
	r.tables(&text)
	for _, want := range []string{
		"| one file | dokku | 18.000 s | 9.000 s | 27.000 s | 9.00 |",
		"| one file: dokku / Slipway | at least 10.00 | 9.00 | missed |",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "cold") {
		t.Error("a figure stands there that was not measured")
	}
}
