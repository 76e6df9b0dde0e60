package receiver

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"regexp"
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

// CheckKey says whether a public key is of a kind that the door takes: nil, or
// an Error of kind Usage. What it refuses is of no use in the store.
func CheckKey(key gossh.PublicKey) error {
	const hint = "make one with: ssh-keygen -t ed25519"
	switch key.Type() {
	case gossh.KeyAlgoED25519, gossh.KeyAlgoSKED25519, gossh.KeyAlgoSKECDSA256,
		gossh.KeyAlgoECDSA256, gossh.KeyAlgoECDSA384, gossh.KeyAlgoECDSA521:
		return nil
	case gossh.KeyAlgoRSA:
		k, ok := key.(gossh.CryptoPublicKey)
		if !ok {
			break
		}
		if r, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok {
			if n := r.N.BitLen(); n < 2048 || n > 4096 {
				return config.Errorf(config.Usage, hint, "an RSA key has 2048 to 4096 bits, not %d", n)
			}
			return nil
		}
	}
	return config.Errorf(config.Usage, hint, "keys of type %s are not taken", quote(key.Type()))
}

// identity is who a key stands for. It is made from a key that was proved and
// travels in the connection's Permissions alone.
type identity struct {
	name        string // as it was when the key was proved; rights are read anew
	blob        []byte
	fingerprint string
}

// identityKey finds an identity in gossh.Permissions.ExtraData.
type identityKey struct{}

// identify is the one place that turns a public key into an identity. A user
// certificate arrives as a *gossh.Certificate; as no authority is declared for
// those, CheckKey turns it away by its type.
func identify(ctx context.Context, keys KeyStore, key gossh.PublicKey) (identity, error) {
	if err := CheckKey(key); err != nil {
		return identity{}, err
	}
	blob := key.Marshal()
	k, err := keys.KeyByBlob(ctx, blob)
	if err != nil {
		return identity{}, fmt.Errorf("look up a key: %w", err)
	}
	if k == nil {
		return identity{}, errUnknownKey
	}
	return identity{name: k.Name, blob: blob, fingerprint: gossh.FingerprintSHA256(key)}, nil
}

// proven makes the Permissions of a connection whose client has proved key.
// They are new each time: those of the offers before are one object for all.
func proven(id identity) *gossh.Permissions {
	return &gossh.Permissions{ExtraData: map[any]any{identityKey{}: id}}
}

// identityOf reads back what proven wrote.
func identityOf(sc *gossh.ServerConn) (identity, error) {
	if sc.Permissions != nil {
		if id, ok := sc.Permissions.ExtraData[identityKey{}].(identity); ok && len(id.blob) > 0 {
			return id, nil
		}
	}
	return identity{}, errors.New("the connection has proved no key")
}

// caller reads the rights of an identity as they are now, so that a change
// holds in open connections too.
func caller(ctx context.Context, keys KeyStore, id identity, addr string) (store.Caller, error) {
	k, err := keys.KeyByBlob(ctx, id.blob)
	if err != nil {
		return store.Caller{}, fmt.Errorf("look up a key: %w", err)
	}
	if k == nil {
		return store.Caller{}, config.Errorf(config.Denied, "an admin can add it again: key add "+id.name+" < key.pub",
			"the key %s was removed", quote(id.name))
	}
	return store.Caller{
		Name: k.Name, Fingerprint: id.fingerprint, Addr: addr, Admin: k.Admin, Allow: k.Allow,
	}, nil
}

var plainUser = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)

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
	for _, o := range offers {
		if !s.failures.Allow() {
			s.suppressed.Add(1)
			continue
		}
		fingerprint := gossh.FingerprintSHA256(o.key)
		s.o.Log.Warn().Str("key", fingerprint).Str("user", shownUser(o.user)).Str("addr", addr).
			Str("why", o.why.Error()).Func(s.sayGap).Msg("a key was turned away")
		if !errors.Is(o.why, errUnknownKey) {
			continue
		}
		err := s.o.Keys.AddAttempt(ctx, store.Attempt{
			Fingerprint: fingerprint, User: shownUser(o.user), Addr: addr, Count: 1, Last: s.o.Now(),
			AuthorizedKey: strings.TrimSpace(string(gossh.MarshalAuthorizedKey(o.key))),
		})
		if err != nil {
			s.o.Log.Error().Err(err).Str("key", fingerprint).Msg("cannot keep a refused login")
		}
	}
}

// sayGap adds how many lines of its kind were left out before this one.
func (s *Server) sayGap(e *zerolog.Event) {
	if n := s.suppressed.Swap(0); n > 0 {
		e.Int64("left_out", n)
	}
}
