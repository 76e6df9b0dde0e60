package sshclient

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"slipway/config"
)

// Error is a login that did not come about.
type Error struct {
	Err    *config.Error
	Addr   string   // host:port of the machine that it is about: the jump host's, if it ended there
	Why    string   // why it cannot be reached, in a few words; "" where one side refused the other
	Detail []string // lines to show with it: the key that the host offered
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Unreachable says that the machine did not answer, or broke off: worth another
// try.
func (e *Error) Unreachable() bool { return e.Why != "" }

func (ep Endpoint) fault(err *config.Error) *Error { return &Error{Err: err, Addr: ep.Host.Addr()} }

func (ep Endpoint) away(err error) *Error { return ep.awayFor(Reason(err), err) }

func (ep Endpoint) awayFor(why string, err error) *Error {
	return &Error{
		Err:  config.Errorf(config.Failed, "", "cannot reach %s %s: %w", ep.What, ep.Host.Addr(), &because{why, err}),
		Addr: ep.Host.Addr(), Why: why,
	}
}

// because says a cause in other words, and keeps it.
type because struct {
	why string
	err error
}

func (b *because) Error() string { return b.why }
func (b *because) Unwrap() error { return b.err }

// Reason says in a few words why a connection failed.
func Reason(err error) string {
	var timeout net.Error
	var dns *net.DNSError
	var sys *os.SyscallError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	case errors.As(err, &sys):
		return sys.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was cut"
	}
	return plain(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "))
}

// plain gives foreign text in ASCII on one line: as it is where it is plain,
// quoted where it is not.
func plain(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	if q := strconv.QuoteToASCII(s); len(q) != len(s)+2 {
		return q
	}
	return s
}
