package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks"
	"slipway/hooks/submodule"
	"slipway/store"
)

// app is what commands work with. Only what needs none of it (version, help,
// completion) runs without a store.
type app struct {
	dir      string
	config   func() *config.Server
	store    *store.Store
	hooks    *hooks.Server
	resolver *submodule.Resolver
	now      func() time.Time
	dropKey  func(name string) // ends that key's SSH sessions; nil without a server
	target   func(context.Context, config.Env) (builder.Target, error)
	command  func(words string) string // how a client types a command of ours
}

// who says who may run a command; call.admit is the one place that checks it.
type who int

const (
	everyone who = iota // who holds a key
	deployer            // who may deploy every APP/ENV that the command names
	auditor             // admins, and others for an APP/ENV that they may deploy
	admin
)

// command is one row of the table.
type command struct {
	name     string // one word
	args     string // what follows it, as the usage line says it
	short    string
	long     string // more, for help
	who      who
	local    bool        // on the server only
	changes  bool        // goes into the audit log, whether it ends well or not
	min, max int         // arguments; max -1 is any number
	complete []completer // what each argument can be, for shells; nil: an APP/ENV, where one is needed
	files    bool        // its arguments are files
	flags    func(*pflag.FlagSet)
	names    func(args []string) ([]config.AppEnv, error) // what it touches, the one it changes last; nil: the first argument
	run      func(context.Context, *call) error
	sub      []command
}

// call is one command line being run.
type call struct {
	app    *app
	caller store.Caller
	io     builder.Stdio
	tty    *builder.Terminal

	row      command
	path     string // the words that name the command: vars set
	admitted bool
	flags    *pflag.FlagSet
	args     []string
	ae       config.AppEnv // the one that the command changes or shows
	detail   string        // for the audit log, no secrets
	status   int           // exit status of a command that was run
}

// table is every command, for the shell and for SSH alike. Those without a run
// are started by the program itself, before it has anything to work with.
func table() []command {
	return []command{
		releasesCommand(), showCommand(), planCommand(), logsCommand(),
		rollbackCommand(), redeployCommand(), promoteCommand(), cancelCommand(), lockCommand(), unlockCommand(),
		varsCommands(), serviceCommands(), hostCommands(), runCommand(),
		appCommands(), keyCommands(), auditCommands(), doctorCommand(), cacheCommands(),
		{name: "init", short: "Create DIR: server.toml, host key, database; never overwrites", local: true},
		{name: "serve", short: "Serve until SIGTERM", local: true},
		{name: "config", short: "The configuration", local: true, sub: []command{
			{name: "check", short: "Say every mistake in server.toml at once", local: true},
		}},
		backupCommand(),
		{name: "restore", args: "FILE --home DIR", short: "Lay a backup into an empty DIR", local: true, files: true},
		completionCommand(), versionCommand(), helpCommand(),
	}
}

// flag returns a switch.
func (c *call) flag(name string) bool {
	v, err := c.flags.GetBool(name)
	return err == nil && v
}

// text returns a flag's text.
func (c *call) text(name string) string {
	v, err := c.flags.GetString(name)
	if err != nil {
		return ""
	}
	return v
}

// arg returns an optional argument.
func (c *call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}
