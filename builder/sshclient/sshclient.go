// Package sshclient makes SSH connections whose host key is pinned, directly or
// through a jump host. It knows nothing of what they are for.
package sshclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/config"
)

const (
	usualTimeout = 15 * time.Second
	tcpAlive     = 15 * time.Second
)

// Endpoint is a machine to log in to, and how messages speak of it.
type Endpoint struct {
	Host       config.Host // its User must be set
	Identity   string      // path of a private key without passphrase; a certificate may lie beside it
	KnownHosts string      // path; "" pins nothing, so every host is refused

	What  string // such as host, jump host: "cannot reach WHAT ADDR"
	Whose string // whose Identity and KnownHosts these are: environment prod
	Key   string // how the key is called; "" is "the key of WHOSE"

	// Hints of the caller's own.
	NoIdentity string // Identity is ""
	NotTaken   string // the machine does not take the key; "" names the login's authorized_keys
}

// Options are how to dial. The zero value is good for any machine.
type Options struct {
	Dialer  *net.Dialer      // for TCP; nil has keepalive on
	Timeout time.Duration    // for each step: TCP, then the login; 0 is 15 s
	Now     func() time.Time // when certificates are valid; nil is time.Now
}

// Dial logs in to a machine that has proved its host key before anything of
// ours is sent. Where via is not nil the connection goes through that one,
// which has to prove itself as well, and is closed with the client. An error
// is an *Error, or the cause for which ctx was cancelled.
func Dial(ctx context.Context, ep Endpoint, via *Endpoint, o Options) (*ssh.Client, error) {
	if o.Timeout == 0 {
		o.Timeout = usualTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: tcpAlive, Interval: tcpAlive, Count: 4}}
	}
	open := ep.tcp(o)
	if via != nil {
		open = ep.through(*via, o)
	}
	client, err := ep.login(ctx, open, o)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, context.Cause(ctx)
	}
	return client, err
}

// opener makes the connection that a login then happens on.
type opener func(ctx context.Context) (net.Conn, error)

func (ep Endpoint) tcp(o Options) opener {
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		conn, err := o.Dialer.DialContext(ctx, "tcp", ep.Host.Addr())
		if err != nil {
			return nil, ep.away(err)
		}
		return conn, nil
	}
}

// login logs in on a connection of open's, and does so twice where that tells
// more.
func (ep Endpoint) login(ctx context.Context, open opener, o Options) (*ssh.Client, error) {
	signers, err := identity(ep.Identity, ep.NoIdentity)
	if err != nil {
		return nil, ep.fault(&config.Error{Kind: config.Usage, Err: fmt.Errorf("the identity of %s: %w", ep.Whose, err), Hint: config.Hint(err)})
	}
	known, err := readKnownHosts(ep.KnownHosts)
	if err != nil {
		return nil, ep.fault(config.Errorf(config.Usage, "an admin mends the file", "the known_hosts of %s: %w", ep.Whose, err))
	}
	pinned := known.algorithms(ep.Host)
	client, err := ep.handshake(ctx, open, signers, known, pinned, o)
	var none *ssh.AlgorithmNegotiationError
	if errors.As(err, &none) && len(pinned) > 0 {
		// The host has no key of a kind that is pinned. What it has cannot be
		// right, but its fingerprint is what an admin wants to see.
		return ep.handshake(ctx, open, signers, known, nil, o)
	}
	return client, err
}

func (ep Endpoint) handshake(ctx context.Context, open opener, signers []ssh.Signer, known *knownHosts, algorithms []string, o Options) (*ssh.Client, error) {
	conn, err := open(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var refused error
	proved := false
	c, chans, reqs, err := ssh.NewClientConn(conn, ep.Host.Addr(), &ssh.ClientConfig{
		User: ep.Host.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			refused = known.check(ep.Host, key, o.Now)
			proved = refused == nil
			return refused
		},
		ClientVersion: "SSH-2.0-Slipway",
	})
	inTime := stop()
	var none *ssh.AlgorithmNegotiationError
	switch {
	case err == nil && inTime:
		return ssh.NewClient(c, chans, reqs), nil
	case refused != nil:
		err = refused
	case errors.As(err, &none):
		err = ep.fault(config.Errorf(config.Denied, "an admin brings that server up to date",
			"%s has no algorithm in common with us: %w", ep.Host.Addr(), none))
	case ctx.Err() != nil:
		err = ep.away(ctx.Err())
	case proved && strings.Contains(err.Error(), "unable to authenticate"): // the library has no type for it
		err = ep.notTaken(signers[len(signers)-1].PublicKey())
	default:
		err = ep.away(err)
	}
	_ = conn.Close() // it is closed already, or the error above says more
	return nil, err
}

func (ep Endpoint) notTaken(key ssh.PublicKey) error {
	hint := ep.NotTaken
	if hint == "" {
		hint = fmt.Sprintf("an admin adds %s.pub to ~/.ssh/authorized_keys of %s on that machine", filepath.Base(ep.Identity), ep.Host.User)
	}
	name := ep.Key
	if name == "" {
		name = "the key of " + ep.Whose
	}
	return ep.fault(config.Errorf(config.Denied, hint, "%s does not take %s (%s)", ep.Host.Addr(), name, ssh.FingerprintSHA256(key)))
}
