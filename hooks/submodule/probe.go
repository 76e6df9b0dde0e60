package submodule

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"slipway/builder/sshclient"
	"slipway/config"
)

// Check says whether a source can be reached and takes its credential: nil, or
// what a fetch from it would end with. Which repositories the credential may
// read is not asked.
func (r *Resolver) Check(ctx context.Context, src *config.Source) error {
	if src.URL.Scheme() == "https" {
		answer, err := ask(ctx, src, src.URL)
		switch {
		case err != nil:
			return err
		case answer.StatusCode == http.StatusUnauthorized && !src.Token.IsZero():
			return config.Errorf(config.Denied, "an admin renews token in that [[sources]]", "%s does not take the token", address(src.URL))
		case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode >= 500:
			return judge(src, src.URL, answer)
		}
		return nil
	}
	key := linkKey(src, src.URL)
	l, err := r.pool.link(ctx, key, src, src.URL)
	if err != nil {
		return err
	}
	r.pool.leave(key, l)
	return nil
}

// probe asks an https source for what git asks first, to learn in codes and not
// in words why a fetch failed. It returns nil if the answer is as it should be.
func probe(ctx context.Context, src *config.Source, u config.SourceURL) error {
	answer, err := ask(ctx, src, u)
	if err != nil {
		return err
	}
	return judge(src, u, answer)
}

// ask makes git's first request; of the answer only its head is there.
func ask(ctx context.Context, src *config.Source, u config.SourceURL) (*http.Response, error) {
	client, err := httpClient(src, u)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address(u)+"/info/refs?service=git-upload-pack", nil)
	if err != nil {
		return nil, err
	}
	if !src.Token.IsZero() {
		req.SetBasicAuth(src.Username, src.Token.Reveal())
	}
	answer, err := client.Do(req)
	if err != nil {
		return nil, httpError(ctx, src, u, err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // only the status matters
	_ = answer.Body.Close()
	return answer, nil
}

func judge(src *config.Source, u config.SourceURL, answer *http.Response) error {
	switch code := answer.StatusCode; {
	case code == http.StatusOK:
		return nil
	case code >= 300 && code < 400:
		return config.Errorf(config.Denied, "name the repository by its final URL in .gitmodules",
			"%s redirects to %s; no credential was sent on", u.Short(), redirect(answer))
	case code == http.StatusUnauthorized && src.Token.IsZero():
		return config.Errorf(config.Denied, "an admin sets token in that [[sources]]", "no credential for %s", address(src.URL))
	case code >= 500 || code == http.StatusTooManyRequests:
		return &unreachableError{u.Addr(), fmt.Sprintf("answered %d", code)}
	}
	return noAccess(src, u)
}

// httpClient follows no redirects, uses no proxy, and trusts what git would.
func httpClient(src *config.Source, u config.SourceURL) (*http.Client, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if src.CA != "" {
		own, err := authorities(src)
		if err != nil {
			return nil, err
		}
		pool.AppendCertsFromPEM(own)
	}
	return &http.Client{
		Timeout: 2 * dialTime,
		Transport: &http.Transport{
			DialContext: dialer(u).DialContext, TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func redirect(answer *http.Response) string {
	to, err := answer.Location()
	if err != nil {
		return "another place"
	}
	return show((&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String())
}

func httpError(ctx context.Context, src *config.Source, u config.SourceURL, err error) error {
	var bad *tls.CertificateVerificationError
	var source *sourceError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &source):
		return source
	case errors.As(err, &bad):
		hint := `an admin sets ca = "keys/corp-ca.pem" in that [[sources]]`
		if src.CA != "" {
			hint = "an admin renews the ca of that [[sources]], " + filepath.Base(src.CA)
		}
		return &sourceError{err: config.Errorf(config.Denied, hint, "the certificate of %s is not trusted: %s", u.Addr(), certReason(bad.Err))}
	}
	return &unreachableError{u.Addr(), sshclient.Reason(err)}
}

func certReason(err error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return "unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired on " + invalid.Cert.NotAfter.UTC().Format(time.DateOnly)
	case errors.As(err, &host):
		return "it is for another name"
	}
	return show(err.Error())
}
