package main

import (
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// httpsVerb: https starts git's own smart HTTP server with TLS, a certificate
// of its own and basic authentication, over the script's repositories; it sets
// $HTTPS and writes its authority to DIR/ca.pem. /moved/ redirects to another
// server, which writes down what it is sent.
func httpsVerb(ts *testscript.TestScript, _ bool, _ []string) {
	out, err := exec.Command("git", "--exec-path").Output()
	ts.Check(err)
	git := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + ts.Getenv("REPOS"), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
		InheritEnv: []string{"PATH"},
	}
	thief := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := r.Header.Get("Authorization") + "\n"
		if err := os.WriteFile(filepath.Join(ts.Getenv("WORK"), "stolen"), []byte(text), 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/moved/") {
			http.Redirect(w, r, thief.URL+r.URL.Path, http.StatusFound)
			return
		}
		if user, password, _ := r.BasicAuth(); user != "oauth2" || password != "a-very-secret-token" {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if v := r.Header.Get("Git-Protocol"); v != "" {
			h := *git
			h.Env = append(append([]string{}, git.Env...), "GIT_PROTOCOL="+v)
			h.ServeHTTP(w, r)
			return
		}
		git.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	ts.Defer(server.Close)
	ts.Defer(thief.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "ca.pem"), ca, 0o600))
	ts.Setenv("HTTPS", server.URL)
}
