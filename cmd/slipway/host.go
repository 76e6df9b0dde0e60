package main

import (
	"context"
	"fmt"

	"slipway/builder"
	"slipway/store"
)

func hostCommands() command {
	return command{name: "host", short: "Hosts of an environment", sub: []command{
		{
			name: "list", args: "APP/ENV", short: "List the hosts and what is live on each", who: deployer, min: 1, max: 1, run: hostList,
		},
		{
			name: "sync", args: "APP/ENV", short: "Bring the live release to the hosts that do not run it", who: deployer, changes: true, min: 1, max: 1,
			long: "A host that was away when a release went live, or that is new in server.toml, gets it built there and is switched to it.",
			run:  hostSync,
		},
	}}
}

// hostJSON is what one host says.
type hostJSON struct {
	Host       string `json:"host"`
	Live       int    `json:"live"`
	Generation int64  `json:"generation"`
	Error      string `json:"error"`
}

func hostsJSON(all []builder.Status) []hostJSON {
	out := []hostJSON{}
	for _, s := range all {
		h := hostJSON{Host: s.Host, Live: s.Live, Generation: s.Generation}
		if s.Err != nil {
			h.Error = sentence(s.Err)
		}
		out = append(out, h)
	}
	return out
}

func hostList(ctx context.Context, c *call) error {
	all, err := c.app.hooks.Hosts(ctx, c.caller, c.ae)
	if err != nil {
		return err
	}
	live, err := c.app.store.LiveRelease(ctx, c.ae)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, s := range all {
		rows = append(rows, []string{s.Host, releaseText(s.Live), lagText(s, live)})
	}
	return c.list(hostsJSON(all), []string{"HOST", "RELEASE", "STATE"}, rows)
}

func releaseText(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// lagText says how a host stands to the live release.
func lagText(s builder.Status, live *store.Release) string {
	want := 0
	if live != nil {
		want = live.Number
	}
	switch {
	case s.Err != nil:
		return sentence(s.Err)
	case s.Live != want:
		return fmt.Sprintf("lags: release %s is live", releaseText(want))
	case want == 0:
		return "ready"
	}
	return "live"
}

func hostSync(ctx context.Context, c *call) error {
	return c.app.hooks.SyncHosts(ctx, c.caller, c.ae, c.io.Out)
}
