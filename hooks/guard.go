package hooks

import (
	"crypto/rand"
	"errors"

	"slipway/config"
	"slipway/store/guard"
)

// Guarded runs a part of a deploy, or a call. A panic in it is logged, and comes
// back as an error that people may see: a deploy is then taken back as after
// any other failure.
func (s *Server) Guarded(f func() error) error { return s.internal(guard.Run(f)) }

// internal logs the panic that an error may be, and gives people an id to ask
// for.
func (s *Server) internal(err error) error {
	var p *guard.Panic
	if !errors.As(err, &p) {
		return err
	}
	id := rand.Text()[:12]
	s.o.Log.Error().Str("id", id).Str("error", p.Detail()).Bytes("stack", p.Stack).Msg("internal error")
	return config.Errorf(config.Failed, "an admin finds what happened in the server's log by that id", "internal error, id %s", id)
}
