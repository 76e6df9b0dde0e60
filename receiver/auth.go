package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	gossh "golang.org/x/crypto/ssh"

	"slipway/config"
	"slipway/store"
)

// maxAuthTries is how many signatures, and beside them how many mere offers of
// a key, may fail on one connection.
const maxAuthTries = 6

// keyAlgorithms are those that a key may be proved by: no DSA, no SHA-1.
func keyAlgorithms() []string {
	return []string{
		gossh.KeyAlgoED25519, gossh.KeyAlgoSKED25519,
		gossh.KeyAlgoECDSA256, gossh.KeyAlgoECDSA384, gossh.KeyAlgoECDSA521, gossh.KeyAlgoSKECDSA256,
		gossh.KeyAlgoRSASHA256, gossh.KeyAlgoRSASHA512,
	}
}

var errUnknownKey = errors.New("the key is not known")

// identity is who a key stands for. It is made from a key that was proved and
// travels in the connection's Permissions alone.
type identity struct {
	name        string // as it was when the key was proved; rights are read anew
	key         gossh.PublicKey
	fingerprint string // of the key; with a certificate, of the one that it certifies
}

// certificate is nil for a key that stands for itself.
func (id identity) certificate() *gossh.Certificate {
	cert, _ := id.key.(*gossh.Certificate)
	return cert
}

// identify is the one place that turns a public key into an identity, and
// into the row that has its rights. A key stands for itself; a user certificate
// for the key's name that is the first of its principals to be one.
func (s *Server) identify(ctx context.Context, key gossh.PublicKey, from net.Addr) (identity, *store.Key, error) {
	id := identity{key: key, fingerprint: fingerprint(key)}
	var k *store.Key
	var err error
	if cert := id.certificate(); cert != nil {
		k, err = s.principal(ctx, cert, from)
	} else if err = config.CheckPublicKey(key); err == nil {
		k, err = s.o.Keys.KeyByBlob(ctx, key.Marshal())
	}
	refused := (*certificateError)(nil)
	switch {
	case errors.As(err, &refused), config.KindOf(err) == config.Usage:
		return identity{}, nil, err
	case err != nil:
		return identity{}, nil, fmt.Errorf("look up a key: %w", err)
	case k == nil:
		return identity{}, nil, errUnknownKey
	}
	id.name = k.Name
	return id, k, nil
}

// principal finds whom a certificate lets in.
func (s *Server) principal(ctx context.Context, cert *gossh.Certificate, from net.Addr) (*store.Key, error) {
	var authorities []gossh.PublicKey
	if s.o.Authorities != nil {
		authorities = s.o.Authorities()
	}
	if err := checkCertificate(cert, authorities, from, s.o.Now()); err != nil {
		return nil, err
	}
	for _, name := range cert.ValidPrincipals {
		if k, err := s.o.Keys.KeyByName(ctx, name); k != nil || err != nil {
			return k, err
		}
	}
	return nil, &certificateError{errors.New("no principal of it is the name of a key")}
}

// fingerprint is that of a key; a certificate has that of what it certifies,
// as ssh-keygen -l shows it.
func fingerprint(key gossh.PublicKey) string {
	if cert, ok := key.(*gossh.Certificate); ok {
		key = cert.Key
	}
	return gossh.FingerprintSHA256(key)
}

// identityKey finds an identity in gossh.Permissions.ExtraData.
type identityKey struct{}

// proven makes the Permissions of a connection whose client has proved key.
// They are new each time: those of the offers before are one object for all.
func proven(id identity) *gossh.Permissions {
	return &gossh.Permissions{ExtraData: map[any]any{identityKey{}: id}}
}

// identityOf reads back what proven wrote.
func identityOf(sc *gossh.ServerConn) (identity, error) {
	if sc.Permissions != nil {
		if id, ok := sc.Permissions.ExtraData[identityKey{}].(identity); ok && id.key != nil && id.name != "" {
			return id, nil
		}
	}
	return identity{}, errors.New("the connection has proved no key")
}

// caller reads the rights of an identity as they are now, so that a change
// holds in open connections too.
func (s *Server) caller(ctx context.Context, id identity, from net.Addr) (store.Caller, error) {
	now, k, err := s.identify(ctx, id.key, from)
	refused := (*certificateError)(nil)
	switch {
	case errors.As(err, &refused):
		return store.Caller{}, config.Errorf(config.Denied, "get another certificate, then connect again", "%w", err)
	case errors.Is(err, errUnknownKey):
		return store.Caller{}, config.Errorf(config.Denied, "an admin can add it again: key add "+id.name+" < key.pub",
			"the key %s was removed", quote(id.name))
	case err != nil:
		return store.Caller{}, err
	}
	who := store.Caller{Name: k.Name, Fingerprint: now.fingerprint, Addr: from.String(), Admin: k.Admin, Allow: k.Allow}
	if cert := now.certificate(); cert != nil {
		who.Certificate = describeCertificate(cert)
	}
	return who, nil
}

var plainUser = config.NewPattern(`^[A-Za-z0-9._@-]{1,64}$`)

// shownUser is a user name as it is logged and kept: at most 64 bytes of it,
// quoted unless it is plain.
func shownUser(user string) string {
	if plainUser.MatchString(user) {
		return user
	}
	if len(user) > 48 {
		user = user[:48] + "..."
	}
	s := strconv.QuoteToASCII(user)
	return s[:min(len(s), 64)]
}

// turnedAway logs and keeps the keys that a connection showed in vain, for an
// admin to add the right one of them.
func (s *Server) turnedAway(ctx context.Context, c *conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	c.mu.Lock()
	offers := c.offers
	c.mu.Unlock()
	addr := c.RemoteAddr().String()
	certified := map[string]bool{} // clients show a certificate's key by itself as well
	for _, o := range offers {
		if _, ok := o.key.(*gossh.Certificate); ok {
			certified[fingerprint(o.key)] = true
		}
	}
	for _, o := range offers {
		key, about := o.key, ""
		mark := fingerprint(key)
		if cert, ok := key.(*gossh.Certificate); ok {
			key, about = cert.Key, " "+describeStranger(cert, o.why)
		} else if certified[mark] {
			continue
		}
		if !s.failures.Allow() {
			s.suppressed.Add(1)
			continue
		}
		s.o.Log.Warn().Str("key", mark).Str("user", shownUser(o.user)).Str("addr", addr).
			Str("why", o.why.Error()).Func(s.sayGap).Func(func(e *zerolog.Event) {
			if about != "" {
				e.Str("certificate", strings.TrimSpace(about))
			}
		}).Msg("a key was turned away")
		if about == "" && !errors.Is(o.why, errUnknownKey) {
			continue
		}
		err := s.o.Keys.AddAttempt(ctx, store.Attempt{
			Fingerprint: mark, User: shownUser(o.user), Addr: addr, Count: 1, Last: s.o.Now(),
			AuthorizedKey: strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key))) + about,
		})
		if err != nil {
			s.o.Log.Error().Err(err).Str("key", mark).Msg("cannot keep a refused login")
		}
	}
}

// sayGap adds how many lines of its kind were left out before this one.
func (s *Server) sayGap(e *zerolog.Event) {
	if n := s.suppressed.Swap(0); n > 0 {
		e.Int64("left_out", n)
	}
}
