package sshclient

import (
	"context"
	"errors"
	"net"

	"golang.org/x/crypto/ssh"

	"slipway/config"
)

// jumped is a connection that a jump host carries.
type jumped struct {
	net.Conn
	jump *ssh.Client
}

// Close ends the jump host's connection, and with it ours. Taking leave within
// it first could wait for a host that no longer reads.
func (j jumped) Close() error { return j.jump.Close() }

// through reaches ep by a login to via, one for each connection.
func (ep Endpoint) through(via Endpoint, o Options) opener {
	return func(ctx context.Context) (net.Conn, error) {
		jump, err := via.login(ctx, via.tcp(o), o)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		conn, err := jump.DialContext(ctx, "tcp", ep.Host.Addr())
		if err != nil {
			_ = jump.Close() // the error above says more
			return nil, ep.notThrough(via, err)
		}
		return jumped{conn, jump}, nil
	}
}

func (ep Endpoint) notThrough(via Endpoint, err error) error {
	var no *ssh.OpenChannelError
	switch {
	case !errors.As(err, &no):
		return ep.away(err)
	case no.Reason == ssh.Prohibited:
		return via.fault(config.Errorf(config.Denied, "an admin allows it there: AllowTcpForwarding and PermitOpen in sshd_config, no-port-forwarding and restrict in authorized_keys",
			"%s does not let %s through to %s", via.Host.Addr(), via.Host.User, ep.Host.Addr()))
	case no.Message == "":
		return ep.awayFor("no connection from "+via.Host.Addr(), err)
	}
	return ep.awayFor(plain(no.Message)+" (from "+via.Host.Addr()+")", err)
}
