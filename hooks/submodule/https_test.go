package submodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/builder/sshclient/sshdtest"
	"slipway/config"
	"slipway/store"
)

// httpsSource is git http-backend behind TLS with an authority of its own, and
// basic authentication.
type httpsSource struct {
	t      testing.TB
	root   string
	ca     string // PEM file
	server *httptest.Server
	addr   string

	mu       sync.Mutex
	requests []string // method and path, and "auth" if there was a credential
	answer   func(w http.ResponseWriter, r *http.Request) bool
	dumb     bool
}

const login, token = "oauth2", "s3cr3t-token-value"

func newHTTPSSource(t testing.TB) *httpsSource {
	t.Helper()
	s := &httpsSource{t: t, root: t.TempDir()}
	execPath := runGit(t, "/", "", "--exec-path")
	backend := &cgi.Handler{
		Path: filepath.Join(execPath, "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "HOME=/nonexistent", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, pass, has := r.BasicAuth()
		s.mu.Lock()
		line := r.Method + " " + r.URL.Path
		if has {
			line += " auth"
		}
		s.requests = append(s.requests, line)
		answer, dumb := s.answer, s.dumb
		s.mu.Unlock()
		if answer != nil && answer(w, r) {
			return
		}
		if name != login || pass != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		if dumb {
			http.FileServer(http.Dir(s.root)).ServeHTTP(w, r)
			return
		}
		if v := r.Header.Get("Git-Protocol"); v != "" {
			h := *backend
			h.Env = append(h.Env[:len(h.Env):len(h.Env)], "GIT_PROTOCOL="+v)
			h.ServeHTTP(w, r)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	s.server.Config.ErrorLog = nil
	cert, ca := newAuthority(t, time.Now().Add(time.Hour))
	s.ca = ca
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.server.StartTLS()
	s.addr = s.server.Listener.Addr().String()
	t.Cleanup(s.server.Close)
	return s
}

// newAuthority makes a CA, and a certificate of it for 127.0.0.1.
func newAuthority(t testing.TB, until time.Time) (tls.Certificate, string) {
	t.Helper()
	caKey := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Corp"}, NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER := must[[]byte](t)(x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey))
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "git"}, NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey))
	path := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

func (s *httpsSource) url(path string) string { return "https://" + s.addr + path }

func (s *httpsSource) source(prefix string) config.Source {
	return config.Source{URL: parseURL(s.t, s.url(prefix)), Username: login, Token: config.NewSecret(token), CA: s.ca}
}

func (s *httpsSource) lib() (repo, store.OID) {
	r := newRepo(s.t, filepath.Join(s.root, "team", "lib.git"))
	return r, r.commit(files{"l": "1"})
}

func (s *httpsSource) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	s := newHTTPSSource(t)
	r, first := s.lib()
	w := newWorld(t, s.source("/team/"))
	wantStates(t, w.resolve(w.lone(s.url("/team/lib.git"), first)), "lib fetched\n")
	second := r.commit(files{"l": "2"})
	r.commit(files{"l": "3"})
	wantStates(t, w.resolve(w.lone(s.url("/team/lib.git"), second)), "lib fetched\n") // not a tip
	if left, _ := filepath.Glob(filepath.Join(w.opts.Temp, "ca-*")); len(left) > 0 {
		waitFor(t, func() bool { left, _ := filepath.Glob(filepath.Join(w.opts.Temp, "ca-*")); return len(left) == 0 })
	}
	_, err := w.refused(w.lone(s.url("/team/lib.git"), store.OID(strings.Repeat("5", 40))))
	wantText(t, err, "is not on "+s.addr+"/team/lib.git: it was never pushed")
	_, err = w.refused(w.lone(s.url("/team/none.git"), first))
	wantText(t, err, "team/none.git is missing, or no access")
}

func TestHTTPSDumb(t *testing.T) {
	t.Parallel()
	s := newHTTPSSource(t)
	r, first := s.lib()
	r.commit(files{"l": "2"})
	runGit(t, r.dir, "", "update-server-info")
	s.dumb = true
	w := newWorld(t, s.source("/"))
	wantStates(t, w.resolve(w.lone(s.url("/team/lib.git"), first)), "lib fetched\n")
}

func TestHTTPSCredential(t *testing.T) {
	t.Parallel()
	s := newHTTPSSource(t)
	_, id := s.lib()
	none := s.source("/team/")
	none.Token = config.Secret{}
	w := newWorld(t, none)
	_, err := w.refused(w.lone(s.url("/team/lib.git"), id))
	wantText(t, err, "no credential for https://"+s.addr+"/team")
	wrong := s.source("/team/")
	wrong.Token = config.NewSecret("wr0ng-token")
	w = newWorld(t, wrong)
	res, err := w.refused(w.lone(s.url("/team/lib.git"), id))
	wantText(t, err, "lib: "+s.addr+"/team/lib.git is missing, or no access")
	if strings.Contains(err.Error()+config.Hint(err)+strings.Join(res.Reports[0].Said, ""), "wr0ng") {
		t.Errorf("a token is shown: %v", err)
	}
}

func TestHTTPSTrust(t *testing.T) {
	t.Parallel()
	s := newHTTPSSource(t)
	_, id := s.lib()
	without := s.source("/")
	without.CA = ""
	w := newWorld(t, without)
	_, err := w.refused(w.lone(s.url("/team/lib.git"), id))
	wantText(t, err, "the certificate of "+s.addr+" is not trusted: unknown authority")
	if !strings.Contains(config.Hint(err), "ca = ") {
		t.Errorf("hint %q", config.Hint(err))
	}
	_, other := newAuthority(t, time.Now().Add(time.Hour))
	with := s.source("/")
	with.CA = other
	w = newWorld(t, with)
	_, err = w.refused(w.lone(s.url("/team/lib.git"), id))
	wantText(t, err, "is not trusted")
	for _, r := range s.asked() {
		t.Errorf("something was sent: %s", r)
	}

	cert, ca := newAuthority(t, time.Now().Add(-time.Hour))
	s.server.TLS.Certificates[0] = cert
	old := s.source("/")
	old.CA = ca
	w = newWorld(t, old)
	_, err = w.refused(w.lone(s.url("/team/lib.git"), id))
	wantText(t, err, "expired on ")
}

// A redirect is not followed, with a credential or without.
func TestHTTPSRedirect(t *testing.T) {
	t.Parallel()
	thief := newHTTPSSource(t)
	thief.answer = func(http.ResponseWriter, *http.Request) bool { return false }
	s := newHTTPSSource(t)
	_, id := s.lib()
	for _, code := range []int{301, 302, 307, 308} {
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, thief.url(r.URL.Path)+"?"+r.URL.RawQuery, code)
			return true
		}
		w := newWorld(t, s.source("/"))
		res, err := w.refused(w.lone(s.url("/team/lib.git"), id))
		wantText(t, err, "team/lib.git redirects to https://"+thief.addr+"/team/lib.git/info/refs; no credential was sent on")
		if res.Reports[0].State != Refused {
			t.Errorf("%d: %s", code, res.Reports[0].State)
		}
	}
	if asked := thief.asked(); len(asked) > 0 {
		t.Errorf("the other host was asked: %q", asked)
	}
}

func TestHTTPSFaults(t *testing.T) {
	t.Parallel()
	s := newHTTPSSource(t)
	_, id := s.lib()
	count := 0
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		count++
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return true
	}
	w := newWorld(t, s.source("/"))
	q := w.lone(s.url("/team/lib.git"), id)
	res, err := w.refused(q)
	wantText(t, err, "cannot reach source "+s.addr+": answered 503, 3 tries in ")
	if res.Reports[0].State != Failed || count != 6 { // git and we, three times
		t.Errorf("%s, %d requests", res.Reports[0].State, count)
	}
	// The answer to the fetch itself breaks off twice.
	count = 0
	s.mu.Lock()
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if _, _, has := r.BasicAuth(); r.Method != http.MethodPost || !has {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if count++; count > 2 {
			return false
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("000dpackfile\n"))
		panic(http.ErrAbortHandler)
	}
	s.mu.Unlock()
	wantStates(t, w.resolve(q), "lib fetched\n")
}

// The credential is in no argument and no environment of what git starts, and
// goes to nothing but the fetch's own repository.
func TestHTTPSCredentialStaysIn(t *testing.T) {
	t.Parallel()
	s := newHTTPSSource(t)
	_, id := s.lib()
	seen := make(chan string, 100)
	s.answer = func(http.ResponseWriter, *http.Request) bool {
		out, err := exec.Command("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true").Output()
		if err == nil && strings.Contains(string(out), token) {
			seen <- "a process shows the token"
		}
		return false
	}
	w := newWorld(t, s.source("/"))
	wantStates(t, w.resolve(w.lone(s.url("/team/lib.git"), id)), "lib fetched\n")
	select {
	case text := <-seen:
		t.Error(text)
	default:
	}
	check(t, filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), token) {
			t.Errorf("%s has the token", path)
		}
		return err
	}))
}

func TestCheckSources(t *testing.T) {
	t.Parallel()
	web, src := newHTTPSSource(t), newSSHSource(t)
	web.lib()
	good, wrong, none, untrusted := web.source("/team/"), web.source("/team/"), web.source("/team/"), web.source("/team/")
	wrong.Token, none.Token, untrusted.CA = config.NewSecret("x"), config.Secret{}, ""
	ssh, unknown, other := src.source("/", "ed25519"), src.source("/", "ed25519"), src.source("/", "ed25519")
	check(t, os.WriteFile(unknown.KnownHosts, nil, 0o600))
	sshdtest.WriteKey(t, other.Identity, sshdtest.NewKey(t, "ed25519"))
	w := newWorld(t)
	for _, c := range []struct {
		src  config.Source
		want string
	}{
		{good, ""},
		{wrong, "does not take the token"},
		{none, "no credential for"},
		{untrusted, "is not trusted"},
		{ssh, ""},
		{unknown, "is not in known_hosts"},
		{other, "does not take the key"},
	} {
		err := w.r.Check(t.Context(), &c.src)
		if c.want == "" {
			check(t, err)
		} else {
			wantText(t, err, c.want)
		}
	}
	web.server.Close()
	src.stop()
	for _, s := range []config.Source{good, unknown} {
		wantText(t, w.r.Check(t.Context(), &s), "cannot reach source")
	}
}

func TestForbiddenAddresses(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"169.254.169.254": true, "fe80::1": true, "0.0.0.0": true, "::": true, "224.0.0.1": true, "::ffff:169.254.169.254": true,
		"10.0.0.1": false, "127.0.0.1": false, "2001:db8::1": false,
	} {
		if forbidden(netip.MustParseAddr(s)) != want {
			t.Errorf("%s", s)
		}
	}
}
