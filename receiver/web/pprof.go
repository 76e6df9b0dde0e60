package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/http/pprof"
	"time"

	"slipway/config"
)

// longestProfile bounds what is asked for by ?seconds=.
const longestProfile = 5 * time.Minute

// profiles are what Go's own profiler says of the server, for whoever has the
// password: stacks and counts, no contents of memory.
func profiles(password config.Secret) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	want := sha256.Sum256([]byte(password.Reveal()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, _ := r.BasicAuth()
		got := sha256.Sum256([]byte(given)) // so that equal lengths tell nothing either
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="Slipway profiles"`)
			http.Error(w, "profiles are for admins: give the password of [web] pprof", http.StatusUnauthorized)
			return
		}
		// The window's own bound is shorter than a profile may take.
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(longestProfile)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
