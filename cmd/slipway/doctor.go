package main

import (
	"context"
	"fmt"
	"strings"

	"slipway/builder"
	"slipway/config"
)

// The levels of a check.
const (
	levelOK   = "ok"
	levelWarn = "warn"
	levelFail = "fail"
)

func doctorCommand() command {
	return command{
		name: "doctor", short: "Check the installation and say what to mend", who: admin, run: doctor,
		long: "One line per check: ok, warn or fail, what, and the measured value. Any fail makes the exit status 1.",
	}
}

type checkJSON struct {
	Level string `json:"level"`
	What  string `json:"what"`
	Text  string `json:"text"`
	Hint  string `json:"hint"`
}

func doctor(ctx context.Context, c *call) error {
	checks := c.app.checks(ctx, c.environments())
	count := map[string]int{}
	out := []checkJSON{}
	width := 0
	for _, k := range checks {
		count[k.Level]++
		width = max(width, len(k.What))
		if k.Level == levelOK {
			k.Hint = ""
		}
		out = append(out, checkJSON(k))
	}
	if count[levelFail] > 0 {
		c.status = int(config.Failed)
	}
	if c.flag("json") {
		return writeJSON(c.io.Out, out)
	}
	var b strings.Builder
	for _, k := range out {
		fmt.Fprintf(&b, "%-4s  %-*s  %s\n", k.Level, width, k.What, builder.Clean(k.Text))
		if k.Hint != "" {
			fmt.Fprintf(&b, "hint: %s\n", builder.Clean(k.Hint))
		}
	}
	fmt.Fprintf(&b, "%d checks: %d ok, %d warn, %d fail\n", len(out), count[levelOK], count[levelWarn], count[levelFail])
	return c.print("%s", b.String())
}

// checks looks at everything that a deploy hangs on: what is here first, then
// what is elsewhere.
func (a *app) checks(ctx context.Context, envs []config.Env) []builder.Check {
	all := []builder.Check{a.checkConfig()}
	all = append(all, a.checkModes()...)
	all = append(all, a.checkHostKey(), a.checkDatabase(ctx), a.checkAudit(ctx), checkGit(ctx), a.checkDisk(), a.checkLeft(), a.checkDeploys(ctx))
	all = append(all, a.checkKeys(ctx), a.checkAttempts(ctx))
	all = append(all, checkSources(ctx, a.resolver, a.config().Sources)...)
	all = append(all, checkServices(ctx, a.config(), envs)...)
	return append(all, a.checkTargets(ctx, envs)...)
}

// checked is the check of something that is either well or not.
func checked(what, text string, err error, hint string) builder.Check {
	if err == nil {
		return builder.Check{Level: levelOK, What: what, Text: text}
	}
	if h := config.Hint(err); h != "" {
		hint = h
	}
	return builder.Check{Level: levelFail, What: what, Text: sentence(err), Hint: hint}
}

// checkTargets asks every environment's target. Those that are of one machine
// say the same of it, which is shown once.
func (a *app) checkTargets(ctx context.Context, envs []config.Env) []builder.Check {
	var all []builder.Check
	seen := map[builder.Check]bool{}
	for _, e := range envs {
		what := "target " + e.String()
		t, err := a.target(ctx, e)
		if err != nil {
			all = append(all, checked(what, "", err, "config check, then look at [environments."+e.String()+"]"))
			continue
		}
		for _, k := range t.Doctor(ctx) {
			if !seen[k] {
				seen[k] = true
				all = append(all, k)
			}
		}
		all = append(all, checked(what, t.Describe(), t.Close(), ""))
		all = append(all, a.checkLags(ctx, e, t)...)
	}
	return all
}

// checkLags finds hosts of an environment that do not run what is live.
func (a *app) checkLags(ctx context.Context, env config.Env, t builder.Target) []builder.Check {
	names, err := a.store.AppEnvs(ctx)
	if err != nil {
		return []builder.Check{checked("hosts", "", err, "")}
	}
	var all []builder.Check
	for _, ae := range names {
		if ae.Env() != env {
			continue
		}
		live, err := a.store.LiveRelease(ctx, ae)
		if err != nil {
			return append(all, checked("hosts", "", err, ""))
		}
		if live == nil {
			continue
		}
		status, err := t.Status(ctx, ae)
		if err != nil {
			return append(all, checked("hosts", "", err, ""))
		}
		for _, s := range status {
			if s.Err != nil || s.Live == live.Number { // who does not answer is told already
				continue
			}
			all = append(all, builder.Check{
				Level: levelWarn, What: "hosts",
				Text: strings.TrimSpace(fmt.Sprintf("%s runs release %s of %s; release %d is live", s.Host, releaseText(s.Live), ae, live.Number)),
				Hint: "host sync " + ae.String(),
			})
		}
	}
	return all
}
