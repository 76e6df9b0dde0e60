package ssh

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway/builder"
	"slipway/builder/agent"
	"slipway/config"
)

// maxAhead is by how much a clock may be off before doctor speaks of it.
const maxAhead = 5 * time.Second

// Doctor checks every host.
func (t *Target) Doctor(ctx context.Context) []builder.Check {
	all := make([][]builder.Check, len(t.hosts))
	var g errgroup.Group
	for i, h := range t.hosts {
		g.Go(func() error { all[i] = t.check(ctx, h); return nil })
	}
	_ = g.Wait() // they have none
	return slices.Concat(all...)
}

func (t *Target) check(ctx context.Context, h *node) []builder.Check {
	what := "host " + h.name
	var checks []builder.Check
	var ahead time.Duration
	err := t.on(ctx, h, config.AppEnv{}, 1, func(m agent.Remote) (err error) {
		checks, ahead, err = m.Doctor(ctx)
		return err
	})
	if err != nil {
		return []builder.Check{{Level: "fail", What: what, Text: err.Error(), Hint: config.Hint(err)}}
	}
	all := []builder.Check{{Level: "ok", What: what, Text: h.ep.Host.Addr() + " answers, and takes the agent"}}
	all = append(all, checkClock(what, ahead)...)
	for _, c := range checks {
		c.What = what
		all = append(all, c)
	}
	return all
}

func checkClock(what string, ahead time.Duration) []builder.Check {
	if ahead.Abs() <= maxAhead {
		return nil
	}
	return []builder.Check{{
		Level: "warn", What: what, Text: fmt.Sprintf("its clock is %s off", ahead.Abs().Round(time.Second)),
		Hint: "have it set by NTP: certificates and logs depend on it",
	}}
}
