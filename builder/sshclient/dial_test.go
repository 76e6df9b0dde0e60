package sshclient

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
)

// What a machine shows decides before it learns who we are.
func TestHostKeys(t *testing.T) {
	t.Parallel()
	s := sshdtest.Start(t, sshdtest.Options{})
	ep, addr, own := login(t, s), s.Host.Addr(), s.Key.PublicKey()
	client, err := Dial(t.Context(), ep, nil, Options{})
	check(t, err)
	if v := string(client.ClientVersion()); v != "SSH-2.0-Slipway" {
		t.Error(v)
	}
	works(t, client)
	before := strings.Count(readFile(t, s.Log), "publickey")

	other := sshdtest.Signer(t, sshdtest.NewKey(t, "ed25519")).PublicKey()
	rsa := sshdtest.Signer(t, sshdtest.NewKey(t, "rsa")).PublicKey()
	for _, c := range []struct{ known, text, hint string }{
		{"", "the host key of " + addr + " is not in known_hosts", "an admin compares the fingerprint, then adds it to known_hosts"},
		{"\n" + sshdtest.Known("", s.Name(), other), "host key of " + addr + " CHANGED; no credential was sent", "an admin must find out why before replacing known_hosts line 2"},
		{sshdtest.Known("", s.Name(), rsa), "host key of " + addr + " CHANGED; no credential was sent", "an admin must find out why before replacing known_hosts line 1"},
		{s.Known() + sshdtest.Known("@revoked", "*", own), "the host key of " + addr + " is revoked; no credential was sent", "an admin must find out why; known_hosts line 2 revokes it"},
	} {
		no := refused(t, ep.pinned(t, c.known), nil, Options{})
		want(t, no, config.Denied, c.text, c.hint)
		if len(no.Detail) != 2 || no.Detail[0] != addr+" offered ssh-ed25519" || no.Detail[1] != ssh.FingerprintSHA256(own) {
			t.Errorf("detail %q", no.Detail)
		}
		if no.Unreachable() || no.Addr != addr {
			t.Errorf("%+v", no)
		}
	}
	none := ep
	none.KnownHosts = ""
	want(t, refused(t, none, nil, Options{}), config.Denied, "the host key of "+addr+" is not in known_hosts", "an admin compares the fingerprint, then adds it to known_hosts")
	none.KnownHosts = filepath.Join(t.TempDir(), "missing")
	if no := refused(t, none, nil, Options{}); !errors.Is(no, os.ErrNotExist) || !strings.HasPrefix(no.Error(), "the known_hosts of environment prod: ") || config.KindOf(no) != config.Usage {
		t.Error(no)
	}
	if after := strings.Count(readFile(t, s.Log), "publickey"); after != before {
		t.Errorf("a key was offered to a machine that proved nothing:\n%s", readFile(t, s.Log))
	}
}

func TestHostCertificate(t *testing.T) {
	t.Parallel()
	ca := sshdtest.Signer(t, sshdtest.NewKey(t, "ecdsa"))
	key := sshdtest.NewKey(t, "ed25519")
	cert := &ssh.Certificate{
		Key: sshdtest.Signer(t, key).PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"},
		ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	}
	check(t, cert.SignCert(rand.Reader, ca))
	path := filepath.Join(t.TempDir(), "host-cert.pub")
	check(t, os.WriteFile(path, ssh.MarshalAuthorizedKey(cert), 0o600))
	s := sshdtest.Start(t, sshdtest.Options{HostKey: key, Config: "HostCertificate " + path})
	ep := login(t, s).pinned(t, sshdtest.Known("@cert-authority", s.Name(), ca.PublicKey()))
	client, err := Dial(t.Context(), ep, nil, Options{})
	check(t, err)
	works(t, client)
	no := refused(t, ep, nil, Options{Now: func() time.Time { return time.Now().Add(2 * time.Hour) }})
	if !strings.HasPrefix(no.Error(), "the host certificate of "+s.Host.Addr()+" is not valid: ") {
		t.Error(no)
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	ca := sshdtest.Signer(t, sshdtest.NewKey(t, "ed25519"))
	trusted := filepath.Join(t.TempDir(), "ca.pub")
	check(t, os.WriteFile(trusted, ssh.MarshalAuthorizedKey(ca.PublicKey()), 0o600))
	s := sshdtest.Start(t, sshdtest.Options{Config: "TrustedUserCAKeys " + trusted})
	ep := login(t, s)
	for _, kind := range []string{"ecdsa", "rsa"} {
		sshdtest.WriteKey(t, ep.Identity, sshdtest.NewKey(t, kind))
		s.Allow(t, ep.Identity, "")
		client, err := Dial(t.Context(), ep, nil, Options{})
		check(t, err)
		works(t, client)
	}

	key := sshdtest.NewKey(t, "ed25519")
	public := sshdtest.Signer(t, key).PublicKey()
	sshdtest.WriteKey(t, ep.Identity, key)
	fingerprint := " (" + ssh.FingerprintSHA256(public) + ")"
	no := refused(t, ep, nil, Options{})
	want(t, no, config.Denied, s.Host.Addr()+" does not take the key of environment prod"+fingerprint,
		"an admin adds prod.pub to ~/.ssh/authorized_keys of "+s.Host.User+" on that machine")
	if no.Unreachable() {
		t.Errorf("%+v", no)
	}
	own := ep
	own.Key, own.NotTaken, own.NoIdentity = "this key", "ask", "set it"
	want(t, refused(t, own, nil, Options{}), config.Denied, s.Host.Addr()+" does not take this key"+fingerprint, "ask")
	own.Identity = ""
	want(t, refused(t, own, nil, Options{}), config.Usage, "the identity of environment prod: none is set", "set it")

	cert := &ssh.Certificate{Key: public, CertType: ssh.UserCert, ValidPrincipals: []string{s.Host.User}, ValidBefore: ssh.CertTimeInfinity}
	check(t, cert.SignCert(rand.Reader, ca))
	check(t, os.WriteFile(ep.Identity+"-cert.pub", ssh.MarshalAuthorizedKey(cert), 0o600))
	client, err := Dial(t.Context(), ep, nil, Options{})
	check(t, err)
	works(t, client)
	for _, text := range [][]byte{ssh.MarshalAuthorizedKey(ca.PublicKey()), ssh.MarshalAuthorizedKey(s.Key.PublicKey())} {
		check(t, os.WriteFile(ep.Identity+"-cert.pub", text, 0o600))
		want(t, refused(t, ep, nil, Options{}), config.Usage, "the identity of environment prod: prod-cert.pub is not a certificate of prod", "")
	}
	check(t, os.WriteFile(ep.Identity, []byte("no key"), 0o600))
	want(t, refused(t, ep, nil, Options{}), config.Usage, "the identity of environment prod: prod is not a private key that can be read", "")

	locked := filepath.Join(t.TempDir(), "it's")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %s", out)
	}
	ep.Identity = locked
	want(t, refused(t, ep, nil, Options{}), config.Usage, "the identity of environment prod: it's has a passphrase",
		"ssh-keygen -p -N '' -f '"+filepath.Dir(locked)+`/it'\''s'`)
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := sshdtest.Start(t, sshdtest.Options{})
	ep := login(t, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	closed := ep.at(t, l.Addr(), s.Key.PublicKey())
	l.Close()
	no := refused(t, closed, nil, Options{})
	want(t, no, config.Failed, "cannot reach host "+closed.Host.Addr()+": connection refused", "")
	if !no.Unreachable() || no.Why != "connection refused" || no.Addr != closed.Host.Addr() {
		t.Errorf("%+v", no)
	}

	// What the caller's dialer says stays there for the caller.
	guard := errors.New("not there")
	d := &net.Dialer{Control: func(string, string, syscall.RawConn) error { return guard }}
	if no := refused(t, ep, nil, Options{Dialer: d}); !errors.Is(no, guard) {
		t.Error(no)
	}

	// However far it gets: cut, or silent, it ends, and as what it is.
	for limit := int64(0); limit < 1600; limit += 400 {
		cut := ep.at(t, newRelay(t, s.Host.Addr(), limit, true).Addr(), s.Key.PublicKey())
		if no := refused(t, cut, nil, Options{}); !no.Unreachable() || no.Why != "the connection was cut" && no.Why != "connection reset by peer" && no.Why != "broken pipe" {
			t.Errorf("cut after %d bytes: %v", limit, no)
		}
		silent := ep.at(t, newRelay(t, s.Host.Addr(), limit, false).Addr(), s.Key.PublicKey())
		began := time.Now()
		want(t, refused(t, silent, nil, Options{Timeout: 200 * time.Millisecond}), config.Failed, "cannot reach host "+silent.Host.Addr()+": timed out", "")
		if d := time.Since(began); d < 200*time.Millisecond || d > 10*time.Second {
			t.Errorf("silent after %d bytes: ended after %s", limit, d)
		}
	}
}

// What does not speak SSH is shown as it is, and no more of it than a line.
func TestForeignText(t *testing.T) {
	t.Parallel()
	s := sshdtest.Start(t, sshdtest.Options{})
	ep := login(t, s)
	for _, say := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-x\r\n\x1b[2J\x00\x00\x00\x00", "SSH-1.5-old\r\n", strings.Repeat("\xff\n", 9000)} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		over := make(chan struct{})
		go func() {
			defer close(over)
			if c, err := l.Accept(); err == nil {
				_, _ = c.Write([]byte(say))
				c.Close()
			}
		}()
		no := refused(t, ep.at(t, l.Addr(), s.Key.PublicKey()), nil, Options{Timeout: 5 * time.Second})
		if !no.Unreachable() || len(no.Why) > 250 || strings.ContainsFunc(no.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: %q", say, no)
		}
		l.Close()
		<-over
	}
}

// Who cancels reads the own reason, not that of the network.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := sshdtest.Start(t, sshdtest.Options{})
	ep := login(t, s)
	r := newRelay(t, s.Host.Addr(), 30, false)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("cancelled by ana")
	ep = ep.at(t, r.Addr(), s.Key.PublicKey())
	go func() {
		<-r.opened
		cancel(reason)
	}()
	if _, err := Dial(ctx, ep, nil, Options{}); err != reason {
		t.Errorf("%v", err)
	}
	within(t, "end of the connection", r.closed)
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s := sshdtest.Start(t, sshdtest.Options{})
	r := newRelay(t, s.Host.Addr(), -1, false)
	client, err := Dial(t.Context(), login(t, s).at(t, r.Addr(), s.Key.PublicKey()), nil, Options{})
	check(t, err)
	over, returned := make(chan struct{}), make(chan struct{})
	go func() { _ = client.Wait(); close(over) }()
	const every = 400 * time.Millisecond
	go func() { KeepAlive(over, client, every); close(returned) }()
	for began := time.Now(); time.Since(began) < 3*every; { // it leaves one alone that answers
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		check(t, err)
	}
	r.frozen.Store(true)
	within(t, "KeepAlive", returned)
	within(t, "end of the connection", r.closed)

	client, err = Dial(t.Context(), login(t, s), nil, Options{})
	check(t, err)
	over, returned = make(chan struct{}), make(chan struct{})
	go func() { _ = client.Wait(); close(over) }()
	go func() { KeepAlive(over, client, time.Hour); close(returned) }()
	client.Close()
	within(t, "KeepAlive of a closed one", returned)
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := sshdtest.Start(t, sshdtest.Options{})
	ep := login(t, s)
	errs := make(chan error)
	for range 5 {
		go func() {
			client, err := Dial(t.Context(), ep, nil, Options{})
			if err == nil {
				err = client.Close()
			}
			errs <- err
		}()
	}
	for range 5 {
		if err := <-errs; err != nil {
			t.Error(fmt.Errorf("at once: %w", err))
		}
	}
}
