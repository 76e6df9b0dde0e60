package main

import (
	"context"
	"strconv"

	"github.com/spf13/pflag"

	"slipway/receiver"
)

func logsCommand() command {
	return command{
		name: "logs", args: "APP/ENV [N] [-f]", complete: []completer{appEnvs, about(releaseNumbers)}, short: "Print a release's build log, the newest by default", who: deployer, min: 1, max: 2,
		flags: func(f *pflag.FlagSet) { f.BoolP("follow", "f", false, "go on until the deploy ends") },
		run: func(ctx context.Context, c *call) error {
			n, err := c.number(1)
			if err != nil {
				return err
			}
			return c.app.hooks.FollowLog(ctx, c.ae, n, c.flag("follow"), c.io.Out)
		},
	}
}

func runCommand() command {
	return command{
		name: "run", args: "APP/ENV -- COMMAND ...", short: "Run a command in the live release's environment", who: deployer, changes: true, min: 2, max: -1,
		long: "The exit status is the command's own. The audit log keeps the command's name, not its arguments.",
		run: func(ctx context.Context, c *call) (err error) {
			argv := c.args[1:]
			c.detail = argv[0]
			stdio := c.io
			if c.tty != nil { // the command has a terminal of its own: bytes pass as they are
				stdio.In, stdio.Out = receiver.RawIn(stdio.In), receiver.RawOut(stdio.Out)
			}
			c.status, err = c.app.hooks.Run(ctx, c.caller, c.ae, argv, stdio, c.tty)
			return err
		},
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
