package main

import (
	"context"
)

func serviceCommands() command {
	return command{name: "service", short: "The services of an APP/ENV: its databases", sub: []command{
		{name: "list", args: "APP/ENV", short: "List the services, and where each is", who: deployer, min: 1, max: 1, run: serviceList},
		{
			name: "rotate", args: "APP/ENV NAME", complete: []completer{appEnvs, about(serviceNames)}, short: "Give a service a new password", who: deployer, changes: true, min: 2, max: 2,
			long: "It makes a new release of the live build with the new password, at once. Until that has restarted the app, the old one can open no new connection.",
			run:  serviceRotate,
		},
	}}
}

// serviceJSON is one service; Server is null for a file.
type serviceJSON struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"`
	Server   *string `json:"server"`
	Database string  `json:"database"`
	Main     bool    `json:"main"` // DATABASE_URL names it
	Live     bool    `json:"live"` // the live release asks for it
}

func serviceList(ctx context.Context, c *call) error {
	all, err := c.app.hooks.Services(ctx, c.caller, c.ae)
	if err != nil {
		return err
	}
	out := []serviceJSON{}
	var rows [][]string
	for _, s := range all {
		v := serviceJSON{Name: s.Name, Type: s.Type, Database: s.Database, Main: s.Main, Live: s.Live}
		if s.Server != "" {
			v.Server = &s.Server
		}
		out = append(out, v)
		note := ""
		switch {
		case s.Main:
			note = "DATABASE_URL"
		case !s.Live:
			note = "kept; the live release does not ask for it"
		}
		rows = append(rows, []string{s.Name, s.Type, s.Server, s.Database, note})
	}
	return c.list(out, []string{"NAME", "TYPE", "SERVER", "DATABASE", "NOTE"}, rows)
}

func serviceRotate(ctx context.Context, c *call) error {
	c.detail = quoted(c.args[1])
	return c.app.hooks.RotateService(ctx, c.caller, c.ae, c.args[1], c.io.Err)
}
