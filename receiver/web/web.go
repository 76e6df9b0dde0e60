// Package web is the window: what is live where, for people, and figures for
// machines. It only reads, and knows no secrets.
package web

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"slipway/config"
	"slipway/hooks"
	"slipway/store"
)

// Options wire a Server. All fields but Pprof are required.
type Options struct {
	Listen  string        // host:port
	Pprof   config.Secret // the password of profiles; none turns them off
	Store   Store
	Running func(config.AppEnv) *hooks.Running
	Metrics prometheus.Gatherer
	Log     zerolog.Logger
	Now     func() time.Time
}

// Store is what the window reads.
type Store interface {
	AppEnvs(ctx context.Context) ([]config.AppEnv, error)
	Releases(ctx context.Context, ae config.AppEnv) ([]store.Release, error)
	Check(ctx context.Context) (version int, err error)
}

// Server is the window.
type Server struct {
	o        Options
	listener net.Listener
	http     *http.Server
}

//go:embed page.html
var files embed.FS

// New opens the listener.
func New(o Options) (*Server, error) {
	page, err := template.New("page.html").Funcs(template.FuncMap{"time": func(t time.Time) string {
		return t.UTC().Format("2006-01-02 15:04")
	}}).ParseFS(files, "page.html")
	if err != nil {
		return nil, err
	}
	s := &Server{o: o}
	if s.listener, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, config.Errorf(config.Failed, "set [web] listen in server.toml", "listen for the web on %s: %w", o.Listen, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{}))
	if !o.Pprof.IsZero() {
		mux.Handle("GET /debug/pprof/", profiles(o.Pprof))
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.page(w, r, page) })
	s.http = &http.Server{
		Handler: guard(mux), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	return s, nil
}

// Addr is where the window listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve serves until Shutdown.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown lets requests end, at most until ctx does.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// guard keeps the page from being framed, sniffed or fed with scripts.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// health says whether the database answers.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.o.Store.AppEnvs(ctx); err != nil {
		s.o.Log.Error().Err(err).Msg("the database does not answer")
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// row is one APP/ENV on the page.
type row struct {
	AppEnv  config.AppEnv
	Live    *store.Release
	Last    store.Release
	Running *hooks.Running
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, page *template.Template) {
	all, err := s.o.Store.AppEnvs(r.Context())
	if err != nil {
		s.o.Log.Error().Err(err).Msg("cannot show the page")
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	var rows []row
	for _, ae := range all {
		releases, err := s.o.Store.Releases(r.Context(), ae)
		if err != nil || len(releases) == 0 {
			continue
		}
		one := row{AppEnv: ae, Last: releases[0], Running: s.o.Running(ae)}
		for i := range releases {
			if releases[i].State == store.Live {
				one.Live = &releases[i]
			}
		}
		rows = append(rows, one)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, map[string]any{"Rows": rows, "Now": s.o.Now()}); err != nil {
		s.o.Log.Warn().Err(err).Msg("cannot write the page")
	}
}
