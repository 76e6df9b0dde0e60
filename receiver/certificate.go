package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"slipway/config"
)

// sourceAddress is the one critical option of a certificate that the door
// understands. Any other, force-command among them, makes it refuse.
const sourceAddress = "source-address"

// The reasons for which a certificate is refused, beside those with figures.
var (
	errNoAuthority = errors.New("certificates are not taken: server.toml has no [ssh] user_ca")
	errAuthority   = errors.New("its authority is not one of [ssh] user_ca")
	errHostCert    = errors.New("it is a certificate of a host")
	errSHA1        = errors.New("its authority has signed by SHA-1")
	errPrincipals  = errors.New("it names no principal")
	errExpired     = errors.New("it has expired")
	errEarly       = errors.New("it is not valid yet")
)

// certificateError is why a certificate is refused.
type certificateError struct{ why error }

func (e *certificateError) Error() string { return "the certificate is refused: " + e.why.Error() }
func (e *certificateError) Unwrap() error { return e.why }

// checkCertificate says whether cert lets anybody in now, from that address,
// by one of the authorities: nil, or a certificateError. As whom is not said.
func checkCertificate(cert *gossh.Certificate, authorities []gossh.PublicKey, from net.Addr, now time.Time) error {
	if err := refusedFor(cert, authorities, from, now); err != nil {
		return &certificateError{err}
	}
	return nil
}

func refusedFor(cert *gossh.Certificate, authorities []gossh.PublicKey, from net.Addr, now time.Time) error {
	signer := cert.SignatureKey.Marshal()
	trusted := func(key gossh.PublicKey) bool { return bytes.Equal(key.Marshal(), signer) }
	switch {
	case len(authorities) == 0:
		return errNoAuthority
	case !slices.ContainsFunc(authorities, trusted):
		return errAuthority
	case cert.CertType != gossh.UserCert:
		return errHostCert
	case cert.Signature.Format == gossh.KeyAlgoRSA:
		return errSHA1
	case len(cert.ValidPrincipals) == 0: // to OpenSSH's clients that means everybody
		return errPrincipals
	}
	for _, key := range []gossh.PublicKey{cert.Key, cert.SignatureKey} {
		if err := config.CheckPublicKey(key); err != nil {
			return err
		}
	}
	for option, value := range cert.CriticalOptions {
		if option != sourceAddress {
			return fmt.Errorf("its critical option %s has no meaning here", plainWord(option))
		}
		if !withinSources(from, value) {
			return fmt.Errorf("it is not valid from %s", addressOf(from))
		}
	}
	return verify(cert, now)
}

// verify checks the signature and the times.
func verify(cert *gossh.Certificate, now time.Time) error {
	at := uint64(max(now.Unix(), 0))
	if at < cert.ValidAfter {
		return errEarly
	}
	if cert.ValidBefore != gossh.CertTimeInfinity && at >= cert.ValidBefore {
		return errExpired
	}
	checker := gossh.CertChecker{
		SupportedCriticalOptions: []string{sourceAddress}, Clock: func() time.Time { return now },
	}
	// Which principal counts is decided by the names of keys; an empty one is
	// never a name.
	for _, principal := range cert.ValidPrincipals {
		if principal != "" {
			return checker.CheckCert(principal, cert)
		}
	}
	return errPrincipals
}

// withinSources says whether an address is in a list of addresses and CIDR
// ranges. A list that is wrong in any place holds nobody.
func withinSources(from net.Addr, list string) bool {
	addr := addressOf(from)
	found := false
	for _, s := range strings.Split(list, ",") {
		if one, err := netip.ParseAddr(s); err == nil {
			found = found || one.Unmap() == addr
			continue
		}
		network, err := netip.ParsePrefix(s)
		if err != nil {
			return false
		}
		found = found || network.Contains(addr)
	}
	return found && addr.IsValid()
}

func addressOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return t.AddrPort().Addr().Unmap().WithZone("")
}

// describeCertificate is a certificate as the audit log and people read it.
// Its text is the authority's, or that of whoever calls himself one, so no
// more than plain letters of it are shown.
func describeCertificate(cert *gossh.Certificate) string {
	return fmt.Sprintf("certificate %s serial %d", plainWord(cert.KeyId), cert.Serial)
}

// describeStranger is a certificate that was refused, as "key attempts" shows
// it behind the key.
func describeStranger(cert *gossh.Certificate, why error) string {
	var principals []string
	for _, p := range cert.ValidPrincipals[:min(len(cert.ValidPrincipals), 4)] {
		principals = append(principals, plainWord(p))
	}
	reason := why
	if refused := (*certificateError)(nil); errors.As(why, &refused) {
		reason = refused.why
	}
	return fmt.Sprintf("%s for %s by CA %s: %s", describeCertificate(cert), strings.Join(principals, ","),
		gossh.FingerprintSHA256(cert.SignatureKey), notPlain.ReplaceAllString(reason.Error(), "_"))
}

var (
	notWord  = regexp.MustCompile(`[^A-Za-z0-9._@+:/=-]`)
	notPlain = regexp.MustCompile(`[^A-Za-z0-9._@+:/=\[\] -]`)
)

// plainWord shows foreign text as one word that no shell or terminal acts
// upon.
func plainWord(s string) string {
	if s == "" {
		return "-"
	}
	if len(s) > 64 {
		s = s[:64]
	}
	return notWord.ReplaceAllString(s, "_")
}
