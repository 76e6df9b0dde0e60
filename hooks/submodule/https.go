package submodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"slipway/builder/sshclient"
	"slipway/config"
)

// systemCAs are where systems keep the authorities that they trust.
var systemCAs = [...]string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
}

// https prepares git's own transport: the credential comes from us, for this
// repository alone, the source's authorities are trusted beside the system's,
// and the name is looked up once, here. What it makes goes when ctx ends.
func (r *Resolver) https(ctx context.Context, cfg map[string]string, src *config.Source, url config.SourceURL) error {
	cfg["credential.helper"] = "!" + shellQuote(r.o.Executable) + " " + CredentialCommand
	cfg["credential.useHttpPath"] = "true"
	addrs, err := lookup(ctx, url)
	if err != nil {
		return err
	}
	if len(addrs) > 0 {
		cfg["http.curloptResolve"] = fmt.Sprintf("%s:%d:%s", url.Host(), url.Port(), strings.Join(addrs, ","))
	}
	if src.CA == "" {
		return nil
	}
	bundle, err := authorities(src)
	if err != nil {
		return err
	}
	name := filepath.Join(r.o.Temp, "ca-"+rand.Text()+".pem")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = os.Remove(name) }) // else at the next start
	_, err = f.Write(bundle)
	cfg["http.sslCAInfo"] = name
	return errors.Join(err, f.Close())
}

// authorities are the system's and the source's own, in PEM.
func authorities(src *config.Source) ([]byte, error) {
	own, err := os.ReadFile(src.CA)
	if err != nil {
		return nil, &sourceError{err: config.Errorf(config.Usage, "slipway config check", "the ca of %s: %w", address(src.URL), err)}
	}
	for _, path := range systemCAs {
		if system, err := os.ReadFile(path); err == nil {
			return append(append(system, '\n'), own...), nil
		}
	}
	return own, nil
}

// lookup finds the addresses of a source that may be dialled. It finds none,
// without an error, where the URL has an address already.
func lookup(ctx context.Context, url config.SourceURL) (addrs []string, err error) {
	if _, err := netip.ParseAddr(url.Host()); err == nil {
		return nil, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", url.Host())
	if err != nil {
		return nil, &unreachableError{url.Addr(), sshclient.Reason(err)}
	}
	for _, a := range found {
		switch a = a.Unmap(); {
		case forbidden(a):
		case a.Is6():
			addrs = append(addrs, "["+a.String()+"]")
		default:
			addrs = append(addrs, a.String())
		}
	}
	if len(addrs) == 0 {
		return nil, noAddress(url)
	}
	return addrs, nil
}

// forbidden says whether a name may not lead to an address: link-local ones are
// where clouds answer with credentials, and no git server has one.
func forbidden(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
}

func noAddress(url config.SourceURL) error {
	return &sourceError{err: config.Errorf(config.Denied, "an admin looks at what the name resolves to",
		"the name %s leads to an address that no source may have", url.Host())}
}

// dialer dials nothing that a name must not lead to.
func dialer(url config.SourceURL) *net.Dialer {
	d := &net.Dialer{Timeout: dialTime}
	if _, err := netip.ParseAddr(url.Host()); err == nil {
		return d
	}
	d.Control = func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if forbidden(a.Addr()) {
			return noAddress(url)
		}
		return nil
	}
	return d
}
