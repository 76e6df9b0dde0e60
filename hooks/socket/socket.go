// Package socket carries one call over the server's Unix socket: a greeting in
// JSON, then standard input, output and errors as frames, then an exit status.
// The clients are what git runs as hooks and the commands that an admin types
// on the server; neither does more than to relay bytes.
package socket

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Name is the socket's file name in DIR.
const Name = "slipway.sock"

// Hello is a call's greeting.
type Hello struct {
	Hook    string            `json:"hook,omitempty"`    // pre-receive, proc-receive, post-receive
	Token   string            `json:"token,omitempty"`   // which push the hook belongs to
	Env     map[string]string `json:"env,omitempty"`     // git's variables about the quarantine and the push options
	Command []string          `json:"command,omitempty"` // a command line of an admin
	Term    string            `json:"term,omitempty"`    // the terminal's type, if there is one
	Rows    int               `json:"rows,omitempty"`
	Columns int               `json:"columns,omitempty"`
}

// A frame is a byte that says what it is, the length of the payload as four
// bytes, most significant first, and the payload.
const (
	frameHello  = 'h'
	frameInput  = '0' // an empty payload is the end of the input
	frameOutput = '1'
	frameErrors = '2'
	frameExit   = 'x' // one byte, the exit status
	frameSize   = 'w' // rows and columns, two bytes each

	maxFrame = 1 << 20
	chunk    = 32 << 10
)

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	b := make([]byte, 5+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:5], uint32(len(payload)))
	copy(b[5:], payload)
	_, err := w.Write(b)
	return err
}

func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes", n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return head[0], payload, nil
}

// shortly calls f with a path of the socket that fits into the 108 bytes of a
// sockaddr_un however long dir is.
func shortly(dir string, f func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), Name))
}

// Listen makes dir's socket, replacing one that a dead server left; the caller
// holds the lock of dir.
func Listen(dir string) (net.Listener, error) {
	if err := os.Remove(filepath.Join(dir, Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var l net.Listener
	err := shortly(dir, func(path string) (err error) {
		l, err = net.Listen("unix", path)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(filepath.Join(dir, Name), 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Dial connects to dir's server.
func Dial(dir string) (conn *net.UnixConn, err error) {
	err = shortly(dir, func(path string) error {
		c, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		conn = c.(*net.UnixConn)
		return nil
	})
	return conn, err
}

// Call sends the greeting, relays the streams and returns the exit status. It
// does not wait for in to end; sizes, which may be nil, delivers the terminal's
// later rows and columns.
func Call(conn io.ReadWriteCloser, hello Hello, in io.Reader, out, errs io.Writer, sizes <-chan [2]int) (int, error) {
	defer conn.Close()
	greeting, err := json.Marshal(hello)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	send := func(kind byte, b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		return writeFrame(conn, kind, b)
	}
	if err := send(frameHello, greeting); err != nil {
		return 0, err
	}
	go func() { // ends with the process at the latest: a read of a terminal cannot be interrupted
		buf := make([]byte, chunk)
		for {
			n, err := in.Read(buf)
			if n > 0 && send(frameInput, buf[:n]) != nil {
				return
			}
			if err != nil {
				_ = send(frameInput, nil) // the server sees a closed connection just as well
				return
			}
		}
	}()
	go func() {
		if sizes == nil {
			return
		}
		for s := range sizes {
			b := binary.BigEndian.AppendUint16(nil, uint16(s[0]))
			if send(frameSize, binary.BigEndian.AppendUint16(b, uint16(s[1]))) != nil {
				return
			}
		}
	}()
	for {
		kind, b, err := readFrame(conn)
		if err != nil {
			return 0, fmt.Errorf("the server ended the call: %w", err)
		}
		switch kind {
		case frameOutput:
			if _, err := out.Write(b); err != nil {
				return 0, err
			}
		case frameErrors:
			if _, err := errs.Write(b); err != nil {
				return 0, err
			}
		case frameExit:
			if len(b) != 1 {
				return 0, errors.New("the server's exit frame is malformed")
			}
			return int(b[0]), nil
		}
	}
}

// peerUID is who is at the other end of a Unix socket.
func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, inner); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
