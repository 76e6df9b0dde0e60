package submodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/config"
)

// dial makes a connection whose host key is the pinned one, proved before
// anything of ours is sent.
func dial(ctx context.Context, src *config.Source, url config.SourceURL, now func() time.Time) (*ssh.Client, error) {
	signers, err := identity(src.Identity)
	if err != nil {
		return nil, &sourceError{err: &config.Error{Kind: config.Usage, Err: fmt.Errorf("the identity of %s: %w", address(src.URL), err), Hint: config.Hint(err)}}
	}
	known, err := readKnownHosts(src.KnownHosts)
	if err != nil {
		return nil, &sourceError{err: config.Errorf(config.Usage, "an admin mends the file", "the known_hosts of %s: %w", address(src.URL), err)}
	}
	client, err := handshake(ctx, src, url, signers, known, known.algorithms(url), now)
	var none *ssh.AlgorithmNegotiationError
	if errors.As(err, &none) && len(known.algorithms(url)) > 0 {
		// The host has no key of a kind that is pinned. What it has cannot be
		// right, but its fingerprint is what an admin wants to see.
		return handshake(ctx, src, url, signers, known, nil, now)
	}
	return client, err
}

func handshake(ctx context.Context, src *config.Source, url config.SourceURL, signers []ssh.Signer, known *knownHosts, algorithms []string, now func() time.Time) (*ssh.Client, error) {
	conn, err := dialer(url).DialContext(ctx, "tcp", url.Addr())
	if err != nil {
		var source *sourceError
		if errors.As(err, &source) {
			return nil, source
		}
		return nil, &unreachableError{url.Addr(), reason(err)}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var refused error
	proved := false
	user := url.User()
	if user == "" {
		user = "git"
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, url.Addr(), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			refused = known.check(url, key, now)
			proved = refused == nil
			return refused
		},
		ClientVersion: "SSH-2.0-Slipway",
	})
	var none *ssh.AlgorithmNegotiationError
	switch {
	case err == nil:
		return ssh.NewClient(c, chans, reqs), nil
	case refused != nil:
		err = refused
	case errors.As(err, &none):
		err = &sourceError{err: config.Errorf(config.Denied, "an admin brings that server up to date",
			"%s has no algorithm in common with us: %w", url.Addr(), none)}
	case ctx.Err() != nil:
		err = &unreachableError{url.Addr(), "timed out"}
	case proved && strings.Contains(err.Error(), "unable to authenticate"): // the library has no type for it
		err = &sourceError{err: config.Errorf(config.Denied, "an admin adds "+filepath.Base(src.Identity)+".pub to that server, for user "+user,
			"%s does not take the key of source %s (%s)", url.Addr(), address(src.URL), ssh.FingerprintSHA256(signers[len(signers)-1].PublicKey()))}
	default:
		err = &unreachableError{url.Addr(), reason(err)}
	}
	_ = conn.Close() // it is closed already, or the error above says more
	return nil, err
}

// reason says in a few words why a connection failed.
func reason(err error) string {
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
	}
	text := show(err.Error())
	if text == "EOF" || strings.HasSuffix(text, ": EOF") {
		return "the connection was cut"
	}
	return strings.TrimPrefix(text, "ssh: handshake failed: ")
}

// identity reads a private key, and the certificate of it where one lies
// beside it; the certificate is offered first.
func identity(path string) ([]ssh.Signer, error) {
	if path == "" {
		return nil, config.Errorf(config.Usage, `an admin sets identity = "keys/NAME" in that [[sources]]`, "none is set")
	}
	name := filepath.Base(path)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, config.Errorf(config.Usage, "ssh-keygen -p -N '' -f "+shellWord(path), "%s has a passphrase", name)
	case err != nil:
		return nil, fmt.Errorf("%s is not a private key that can be read", name)
	}
	text, err = os.ReadFile(path + "-cert.pub")
	if errors.Is(err, os.ErrNotExist) {
		return []ssh.Signer{signer}, nil
	}
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s-cert.pub: %w", name, err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || !bytes.Equal(cert.Key.Marshal(), signer.PublicKey().Marshal()) {
		return nil, fmt.Errorf("%s-cert.pub is not a certificate of %s", name, name)
	}
	certified, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		return nil, fmt.Errorf("%s-cert.pub: %w", name, err)
	}
	return []ssh.Signer{certified, signer}, nil
}
