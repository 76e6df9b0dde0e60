package sshclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
)

func TestJump(t *testing.T) {
	t.Parallel()
	s, bastion := sshdtest.Start(t, sshdtest.Options{}), sshdtest.Start(t, sshdtest.Options{IP: "127.0.0.2"})
	ep, jump := login(t, s), login(t, bastion)
	jump.What = "jump host"
	r := newRelay(t, bastion.Host.Addr(), -1, false)
	via := jump.at(t, r.Addr(), bastion.Key.PublicKey())
	client, err := Dial(t.Context(), ep, &via, Options{})
	check(t, err)
	works(t, client) // and closes it
	within(t, "end of the jump host's connection", r.closed)
	if log := readFile(t, bastion.Log); !strings.Contains(log, "Accepted publickey") {
		t.Errorf("not through the jump host:\n%s", log)
	}

	// The jump host's end is the client's.
	client, err = Dial(t.Context(), ep, &via, Options{})
	check(t, err)
	over := make(chan struct{})
	go func() { _ = client.Wait(); close(over) }()
	r.frozen.Store(true)
	KeepAlive(over, client, 20*time.Millisecond)
	within(t, "end of a silent jump host", r.closed)
	r.frozen.Store(false)

	// Each has to prove itself, and is named where it does not.
	no := refused(t, ep.pinned(t, ""), &via, Options{})
	want(t, no, config.Denied, "the host key of "+s.Host.Addr()+" is not in known_hosts", "an admin compares the fingerprint, then adds it to known_hosts")
	within(t, "end of the jump host's connection", r.closed)
	kind := ep.pinned(t, sshdtest.Known("", s.Name(), sshdtest.Signer(t, sshdtest.NewKey(t, "rsa")).PublicKey()))
	want(t, refused(t, kind, &via, Options{}), config.Denied, "host key of "+s.Host.Addr()+" CHANGED; no credential was sent", "an admin must find out why before replacing known_hosts line 1")
	within(t, "end of the first try's", r.closed)
	within(t, "end of the second try's", r.closed)

	reached := strings.Count(readFile(t, s.Log), "Connection from")
	unproved := jump.pinned(t, "")
	if no := refused(t, ep, &unproved, Options{}); no.Addr != bastion.Host.Addr() || !strings.HasPrefix(no.Error(), "the host key of "+bastion.Host.Addr()) || len(no.Detail) != 2 {
		t.Error(no)
	}
	stranger := jump
	stranger.Identity = ep.Identity
	if no := refused(t, ep, &stranger, Options{}); no.Addr != bastion.Host.Addr() || !strings.HasPrefix(no.Error(), bastion.Host.Addr()+" does not take the key") || no.Unreachable() {
		t.Error(no)
	}
	if strings.Count(readFile(t, s.Log), "Connection from") != reached {
		t.Error("the target was reached through a jump host that proved nothing")
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	closed := ep.at(t, l.Addr(), s.Key.PublicKey())
	l.Close()
	no = refused(t, closed, &jump, Options{})
	want(t, no, config.Failed, "cannot reach host "+closed.Host.Addr()+": Connection refused (from "+bastion.Host.Addr()+")", "")
	if !no.Unreachable() || no.Addr != closed.Host.Addr() {
		t.Errorf("%+v", no)
	}
	away := jump.at(t, l.Addr(), bastion.Key.PublicKey())
	want(t, refused(t, ep, &away, Options{}), config.Failed, "cannot reach jump host "+away.Host.Addr()+": connection refused", "")
}

func TestJumpNotAllowed(t *testing.T) {
	t.Parallel()
	bastion := sshdtest.Start(t, sshdtest.Options{Config: "AllowTcpForwarding no"})
	jump := login(t, bastion)
	ep := jump
	ep.Host.Name, ep.Host.Port = "10.99.0.1", 22
	no := refused(t, ep, &jump, Options{})
	if no.Error() != bastion.Host.Addr()+" does not let "+bastion.Host.User+" through to 10.99.0.1:22" || no.Unreachable() || config.KindOf(no) != config.Denied || !strings.Contains(config.Hint(no), "AllowTcpForwarding") {
		t.Errorf("%v, hint %q", no, config.Hint(no))
	}
}

// A jump host that falls silent, or a target behind it, takes no longer than
// the time there is.
func TestSilentJump(t *testing.T) {
	t.Parallel()
	s, bastion := sshdtest.Start(t, sshdtest.Options{}), sshdtest.Start(t, sshdtest.Options{IP: "127.0.0.2"})
	ep, jump := login(t, s), login(t, bastion)
	in := 200 * time.Millisecond
	behind := ep.at(t, newRelay(t, s.Host.Addr(), 30, false).Addr(), s.Key.PublicKey())
	no := refused(t, behind, &jump, Options{Timeout: 10 * in}) // enough for a login to the jump host
	want(t, no, config.Failed, "cannot reach host "+behind.Host.Addr()+": timed out", "")
	for limit := int64(0); limit <= 3600; limit += 600 {
		via := jump.at(t, newRelay(t, bastion.Host.Addr(), limit, false).Addr(), bastion.Key.PublicKey())
		via.What = "jump host"
		client, err := Dial(t.Context(), ep, &via, Options{Timeout: in})
		if err == nil {
			client.Close() // the limit is beyond a login
			continue
		}
		var no *Error
		if !errors.As(err, &no) || no.Why != "timed out" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d bytes: %v", limit, err)
		}
	}
}
