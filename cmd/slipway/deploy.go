package main

import (
	"context"
	"strings"

	"github.com/spf13/pflag"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks"
	"slipway/store"
)

// deploy runs a request; what a pusher would see goes to standard error.
func (c *call) deploy(ctx context.Context, r hooks.Request) error {
	r.Caller, r.AppEnv = c.caller, c.ae
	rel, err := c.app.hooks.Deploy(ctx, r, c.io.Err)
	if err != nil {
		return err
	}
	c.detail = strings.TrimSpace(c.detail + " release " + itoa(rel.Number))
	if !c.flag("json") {
		return nil
	}
	now, err := c.app.store.Release(ctx, rel.AppEnv, rel.Number) // as it stands now that it is live
	if err != nil {
		return err
	}
	if now != nil {
		rel = *now
	}
	return writeJSON(c.io.Out, c.asJSON(rel))
}

func rollbackCommand() command {
	return command{
		name: "rollback", args: "APP/ENV [N] [--keep-vars]", complete: []completer{appEnvs, about(releaseNumbers)}, short: "Make an earlier build and its vars live again, as a new release",
		long: "N is a release's number; without it, the one that was good before the live one. Nothing is built.",
		who:  deployer, changes: true, min: 1, max: 2,
		flags: func(f *pflag.FlagSet) { f.Bool("keep-vars", false, "with the vars of now, not those of then") },
		run: func(ctx context.Context, c *call) error {
			n, err := c.number(1)
			if err != nil {
				return err
			}
			if n > 0 {
				c.detail = "to " + itoa(n)
			}
			if c.flag("keep-vars") {
				c.detail = strings.TrimSpace(c.detail + " --keep-vars")
			}
			return c.deploy(ctx, hooks.Request{Reason: store.Rollback, Number: n, KeepVars: c.flag("keep-vars")})
		},
	}
}

func redeployCommand() command {
	return command{
		name: "redeploy", args: "APP/ENV [--commit COMMIT] [--no-cache]", short: "Build the live commit again, as a new release",
		who: deployer, changes: true, min: 1, max: 1,
		flags: func(f *pflag.FlagSet) {
			f.String("commit", "", "another one that was deployed: its name, a branch or a tag")
			f.Bool("no-cache", false, "neither cached submodules nor build caches")
		},
		run: func(ctx context.Context, c *call) error {
			if commit := c.text("commit"); commit != "" {
				c.detail = "--commit " + show(commit)
			} else if c.flags.Changed("commit") {
				return config.Errorf(config.Usage, "releases "+c.ae.String()+" shows the commits that were deployed", "--commit names no commit")
			}
			return c.deploy(ctx, hooks.Request{Reason: store.Redeploy, Commit: c.text("commit"), NoCache: c.flag("no-cache")})
		},
	}
}

func promoteCommand() command {
	return command{
		name: "promote", args: "APP/FROM TO", complete: []completer{appEnvs, about(otherEnvironments)}, short: "Deploy FROM's live plan to APP/TO: the same commits, to the submodules",
		who: deployer, changes: true, min: 2, max: 2, names: fromAndTo,
		run: func(ctx context.Context, c *call) error {
			all, err := fromAndTo(c.args)
			if err != nil {
				return err
			}
			c.detail = "from " + all[0].String()
			return c.deploy(ctx, hooks.Request{Reason: store.Promote, From: all[0]})
		},
	}
}

// fromAndTo reads APP/FROM and TO, which may be written APP/TO.
func fromAndTo(args []string) ([]config.AppEnv, error) {
	from, err := config.ParseAppEnv(args[0])
	if err != nil {
		return nil, err
	}
	to, err := config.ParseEnv(strings.TrimPrefix(args[1], from.App().String()+"/"))
	if err != nil {
		return nil, err
	}
	return []config.AppEnv{from, from.App().In(to)}, nil
}

func cancelCommand() command {
	return command{
		name: "cancel", args: "APP/ENV", short: "Stop the running deploy", who: deployer, changes: true, min: 1, max: 1,
		run: func(ctx context.Context, c *call) error {
			if err := c.app.hooks.Cancel(ctx, c.caller, c.ae); err != nil {
				return err
			}
			return c.say("the deploy to %s is cancelled", c.ae)
		},
	}
}

// maxReason bounds why something is locked, in bytes.
const maxReason = 500

func lockCommand() command {
	return command{
		name: "lock", args: "APP/ENV [--reason TEXT]", short: "Refuse every deploy until unlock", who: deployer, changes: true, min: 1, max: 1,
		flags: func(f *pflag.FlagSet) { f.String("reason", "", "shown to whoever is refused") },
		run: func(ctx context.Context, c *call) error {
			reason := strings.TrimSpace(builder.Clean(c.text("reason")))
			if len(reason) > maxReason {
				return config.Errorf(config.Usage, "say it shorter", "the reason is longer than %d bytes", maxReason)
			}
			c.detail = reason
			if err := c.app.store.SetLock(ctx, c.ae, store.Lock{By: c.caller.Name, Reason: reason, Since: c.app.now()}); err != nil {
				return err
			}
			return c.say("%s is locked; unlock %s ends it", c.ae, c.ae)
		},
	}
}

func unlockCommand() command {
	return command{
		name: "unlock", args: "APP/ENV", short: "Allow deploys again", who: deployer, changes: true, min: 1, max: 1,
		run: func(ctx context.Context, c *call) error {
			was, err := c.app.store.Unlock(ctx, c.ae)
			switch {
			case err != nil:
				return err
			case !was:
				return config.Errorf(config.NotFound, "lock "+c.ae.String()+" locks it", "%s is not locked", c.ae)
			}
			return c.say("%s is unlocked", c.ae)
		},
	}
}
