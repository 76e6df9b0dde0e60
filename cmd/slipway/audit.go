package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"slipway/config"
	"slipway/store"
)

func auditCommands() command {
	return command{
		name: "audit", args: "[APP/ENV] [--limit N]", short: "List who did what, when, from where, with which key; newest first", who: auditor, max: 1,
		flags: func(f *pflag.FlagSet) { f.Int("limit", 200, "events at most") }, run: auditList,
		sub: []command{{name: "verify", short: "Prove that no event was changed or removed", who: admin, run: auditVerify}},
	}
}

type eventJSON struct {
	Seq         int64      `json:"seq"`
	Time        *time.Time `json:"time"`
	By          string     `json:"by"`
	Fingerprint string     `json:"fingerprint"`
	Certificate string     `json:"certificate"`
	Address     string     `json:"address"`
	AppEnv      string     `json:"app_env"`
	Action      string     `json:"action"`
	Detail      string     `json:"detail"`
	Result      string     `json:"result"`
	Hash        string     `json:"hash"`
}

func asEvent(e store.Event) eventJSON {
	fingerprint, certificate, _ := strings.Cut(e.Fingerprint, " ")
	return eventJSON{e.Seq, jsonTime(e.Time), e.By, fingerprint, certificate, e.Addr, e.AppEnv, e.Action, e.Detail, e.Result, e.Hash}
}

func auditList(ctx context.Context, c *call) error {
	limit, err := c.flags.GetInt("limit")
	if err != nil || limit < 1 {
		return config.Errorf(config.Usage, "audit --limit 50", "--limit takes a number from 1 on")
	}
	events, err := c.app.store.Events(ctx, c.ae.String(), limit)
	if err != nil {
		return err
	}
	out := []eventJSON{}
	var rows [][]string
	for _, e := range events {
		out = append(out, asEvent(e))
		rows = append(rows, []string{minute(e.Time), e.By, e.Addr, e.Fingerprint, e.AppEnv, e.Action, e.Result, e.Detail})
	}
	return c.list(out, []string{"TIME", "BY", "ADDRESS", "FINGERPRINT", "APP/ENV", "ACTION", "RESULT", "DETAIL"}, rows)
}

func auditVerify(ctx context.Context, c *call) error {
	n, err := c.app.store.VerifyAudit(ctx)
	if err != nil {
		return err
	}
	if c.flag("json") {
		return writeJSON(c.io.Out, map[string]int64{"events": n})
	}
	return c.print("ok: %s events, none changed\n", strconv.FormatInt(n, 10))
}
