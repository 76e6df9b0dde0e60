package main

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"slipway/config"
	"slipway/receiver/web"
)

// window opens the web listener, nil if it is off.
func (s *system) window(cfg *config.Server) (*web.Server, error) {
	if cfg.Web.Listen == "" {
		return nil, nil
	}
	figures := prometheus.NewRegistry()
	err := errors.Join(
		s.hooks.Register(figures),
		figures.Register(collectors.NewGoCollector()),
		figures.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	if err != nil {
		return nil, err
	}
	return web.New(web.Options{
		Listen: cfg.Web.Listen, Pprof: cfg.Web.Pprof, Store: s.store, Running: s.hooks.Running, Metrics: figures, Log: s.log, Now: time.Now,
	})
}
