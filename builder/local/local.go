// Package local is the target of this very host: a release root, in process.
package local

import (
	"context"

	"github.com/rs/zerolog"

	"slipway/builder"
	"slipway/builder/host"
	"slipway/config"
)

// Options wire the target. All fields are required.
type Options struct {
	Root   string // absolute
	Env    *config.Environment
	Limits config.Limits
	Hidden []string // directories that code which was pushed must not see
	UID    func(context.Context, config.AppEnv) (int, error)
	Log    zerolog.Logger
}

// Target is this host.
type Target struct{ *host.Host }

// New returns the target.
func New(o Options) (builder.Target, error) {
	return &Target{host.New(host.Options{
		Root: o.Root, Hidden: o.Hidden, Limits: o.Limits, User: o.Env.User, UID: o.UID,
	})}, nil
}

// Describe is how a pusher sees the place.
func (t *Target) Describe() string { return "local" }
