package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"slipway/config"
	"slipway/store"
)

func appCommands() command {
	return command{name: "app", short: "Apps", sub: []command{
		{name: "list", short: "List the apps that you may deploy, and what is live of them", run: appList},
		{
			name: "destroy", args: "APP --yes [--data]", complete: []completer{appNames}, short: "Remove an app for good: releases, shared files, services, repository",
			who: admin, changes: true, min: 1, max: 1,
			flags: func(f *pflag.FlagSet) {
				f.Bool("yes", false, "do it; nothing of the app can be had back")
				f.Bool("data", false, "its databases on PostgreSQL servers too, which stay else")
			},
			run: appDestroy,
		},
	}}
}

// liveJSON is what runs of an app in one environment.
type liveJSON struct {
	Env    string `json:"env"`
	Number int    `json:"number"`
	Commit string `json:"commit"`
}

type appJSON struct {
	App      string     `json:"app"`
	Upstream string     `json:"upstream"`
	Created  *time.Time `json:"created"`
	Live     []liveJSON `json:"live"`
}

func appList(ctx context.Context, c *call) error {
	apps, err := c.app.store.Apps(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(apps, func(a, b store.AppRow) int { return b.Created.Compare(a.Created) })
	out := []appJSON{}
	var rows [][]string
	for _, row := range apps {
		live, may, err := c.liveOf(ctx, row.App)
		if err != nil {
			return err
		}
		if !may && !c.caller.Admin {
			continue
		}
		var shown []string
		for _, l := range live {
			shown = append(shown, l.Env+"="+store.OID(l.Commit).Short())
		}
		out = append(out, appJSON{row.App.String(), row.Upstream, jsonTime(row.Created), live})
		rows = append(rows, []string{row.App.String(), minute(row.Created), strings.Join(shown, " ")})
	}
	return c.list(out, []string{"APP", "CREATED", "LIVE"}, rows)
}

// liveOf lists what is live of an app where the caller may deploy it; may says
// whether there is such a place at all.
func (c *call) liveOf(ctx context.Context, name config.App) (live []liveJSON, may bool, err error) {
	live = []liveJSON{}
	for _, e := range c.environments() {
		if c.app.hooks.May(c.caller, name.In(e)) != nil && !c.caller.Admin {
			continue
		}
		may = true
		r, err := c.app.store.LiveRelease(ctx, name.In(e))
		if err != nil {
			return nil, false, err
		}
		if r != nil {
			live = append(live, liveJSON{e.String(), r.Number, string(r.Commit)})
		}
	}
	return live, may, nil
}

func appDestroy(ctx context.Context, c *call) error {
	name, err := config.ParseApp(c.args[0])
	if err != nil {
		return err
	}
	c.detail = name.String()
	row, err := c.app.store.App(ctx, name)
	switch {
	case err != nil:
		return err
	case row == nil:
		return config.Errorf(config.NotFound, "app list names those that are", "there is no app %s", name)
	case !c.flag("yes"):
		return config.Errorf(config.Usage, "app destroy "+name.String()+" --yes",
			"this removes the releases, shared files, services and repository of %s for good", name)
	}
	databases, err := c.app.hooks.Databases(ctx, name)
	if err != nil {
		return err
	}
	if c.flag("data") {
		c.detail += " --data"
	}
	if err := c.app.hooks.DestroyApp(ctx, c.caller, name, c.flag("data")); err != nil {
		return err
	}
	if !c.flag("data") {
		for _, d := range databases {
			if err := c.say("note: the database %s on %s stays; who pushes the app again has it back", d.Database, cmp.Or(d.Server, "a server that server.toml has no more")); err != nil {
				return err
			}
		}
	}
	return c.say("app %s is destroyed", name)
}
