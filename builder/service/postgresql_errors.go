package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"slipway/config"
)

// SQLSTATE codes, by PostgreSQL's names.
const (
	invalidAuthorization  = "28000"
	invalidPassword       = "28P01"
	noSuchDatabase        = "3D000"
	insufficientPrivilege = "42501"
	diskFull              = "53100"
	tooManyConnections    = "53300"
	objectInUse           = "55006"
	cannotConnectNow      = "57P03"
)

// passing says whether an attempt to connect may succeed later without that
// anybody corrects anything: the server starts, restarts, or is full of guests.
func passing(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code == cannotConnectNow || e.Code == tooManyConnections || strings.HasPrefix(e.Code, "08") || strings.HasPrefix(e.Code, "57P")
	}
	var dial *net.OpError
	var name *net.DNSError
	return errors.As(err, &dial) || errors.As(err, &name) || late(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET)
}

func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || pgconn.Timeout(err)
}

// reason is what people read of an error: the server's word, or the system's,
// without what the driver puts around it.
func reason(err error) string {
	var e *pgconn.PgError
	var name *net.DNSError
	switch {
	case errors.As(err, &e):
		return fmt.Sprintf("%s (%s)", e.Message, e.Code)
	case errors.Is(err, unix.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, fs.ErrNotExist):
		return "no socket there"
	case errors.As(err, &name):
		return "no such host"
	case late(err):
		return "no answer"
	}
	var dial *net.OpError
	if errors.As(err, &dial) {
		return dial.Err.Error()
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

// explain makes what people read of an error of the server, with what they can
// do about it.
func (s *Server) explain(doing string, err error) error {
	hint := ""
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch e.Code {
		case invalidPassword:
			hint = "an admin corrects login and password of [services.postgresql] url in server.toml"
		case invalidAuthorization:
			hint = "an admin adds a line for it to the server's pg_hba.conf"
		case noSuchDatabase:
			hint = "an admin names one that is there in [services.postgresql] url, such as /postgres"
		case insufficientPrivilege:
			hint = "an admin gives Slipway's login the rights: ALTER ROLE " + s.admin.User + " CREATEDB CREATEROLE"
		case diskFull:
			hint = "an admin makes room on the disk of the server"
		case objectInUse:
			hint = "try again once nobody is connected to template1"
		}
	}
	return config.Errorf(config.Failed, hint, "postgresql at %s cannot %s: %s", s.Addr(), doing, reason(err))
}
