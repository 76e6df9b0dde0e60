package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
	"slipway/store/disk"
)

// run runs one command line for a caller and returns its exit status. No words
// are the greeting. With a terminal, io passes bytes as they are once a command
// asks for that.
func (a *app) run(ctx context.Context, caller store.Caller, argv []string, io builder.Stdio, tty *builder.Terminal) int {
	c := &call{app: a, caller: caller, io: io, tty: tty}
	var err error
	switch {
	case len(argv) == 0:
		err = c.greet(ctx)
	case argv[0] == "--version":
		err = c.execute(ctx, []string{"version"})
	default:
		err = c.execute(ctx, argv)
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	if unwritten := c.record(ctx, err); unwritten != nil {
		err = errors.Join(err, unwritten)
	}
	switch {
	case err == nil:
		return c.status
	case wantsJSON(argv):
		return failJSON(io.Err, err)
	default:
		return fail(io.Err, err)
	}
}

// local says whether the caller is the admin on the server, not a key.
func (c *call) local() bool { return c.caller.Fingerprint == "" }

// wantsJSON says whether errors are to be JSON, even where the command line is
// too wrong to be parsed.
func wantsJSON(argv []string) bool {
	if i := slices.Index(argv, "--"); i >= 0 {
		argv = argv[:i]
	}
	return slices.Contains(argv, "--json")
}

// isCompletion knows the words by which a shell asks for completions.
func isCompletion(word string) bool {
	return word == cobra.ShellCompRequestCmd || word == cobra.ShellCompNoDescRequestCmd
}

// execute finds the row for a command line and runs it.
func (c *call) execute(ctx context.Context, argv []string) error {
	root := c.tree(ctx)
	root.SetArgs(argv)
	return disk.Explain(root.ExecuteContext(ctx), c.app.dir)
}

// tree makes cobra's commands out of the table.
func (c *call) tree(ctx context.Context) *cobra.Command {
	rows := c.visible(table())
	root := c.build(ctx, command{name: "slipway", short: "The git-push deployer for teams whose code is private", sub: rows}, "")
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().Bool("json", false, "print one JSON document, errors too")
	root.SetIn(c.io.In)
	root.SetOut(c.io.Out)
	root.SetErr(c.io.Err)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { c.help(cmd) })
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			root.SetHelpCommand(cmd) // else there would be another one
		}
	}
	return root
}

// visible leaves out what the caller cannot type where it is.
func (c *call) visible(rows []command) []command {
	if c.local() {
		return rows
	}
	return slices.DeleteFunc(rows, func(r command) bool { return r.local })
}

// build makes a cobra command of a row, and of those below it.
func (c *call) build(ctx context.Context, row command, path string) *cobra.Command {
	cmd := &cobra.Command{
		Use: strings.TrimSpace(row.name + " " + row.args), Short: row.short, Long: row.long,
		SilenceErrors: true, SilenceUsage: true, DisableFlagsInUseLine: true, DisableSuggestions: true,
		ValidArgsFunction: c.complete(ctx, row),
	}
	cmd.Flags().SortFlags = true
	if row.flags != nil {
		row.flags(cmd.Flags())
	}
	for _, sub := range row.sub {
		cmd.AddCommand(c.build(ctx, sub, strings.TrimSpace(path+" "+sub.name)))
	}
	here := func() { c.row, c.path, c.flags = row, path, cmd.Flags() }
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		here()
		if err := c.standing(); err != nil {
			return err
		}
		return wrongFlag(cmd, path, err)
	})
	cmd.Args = func(_ *cobra.Command, args []string) error {
		here()
		c.args = args
		return c.admit()
	}
	cmd.RunE = func(*cobra.Command, []string) error {
		if row.run == nil && path == "" {
			c.help(cmd)
			return nil
		}
		return row.run(ctx, c)
	}
	return cmd
}

// admit decides whether the call is well formed and whether the caller may
// make it: rights that hang on nothing first, so that nobody learns from the
// usage of what is not theirs, then the arguments, then the right to each
// APP/ENV among them.
func (c *call) admit() error {
	if err := c.standing(); err != nil {
		return err
	}
	if c.row.run == nil && (len(c.row.sub) > 0 || c.path == "") {
		switch {
		case len(c.args) > 0:
			return unknownCommand(c.path, c.args[0], c.row.sub)
		case c.path != "":
			return config.Errorf(config.Usage, c.path+" "+strings.Join(words(c.row.sub), "|"), "%s needs another word", c.path)
		}
		return nil
	}
	if c.row.run == nil {
		return config.Errorf(config.Usage, "slipway "+c.path+" [--home DIR]", "%s starts a program of its own", c.path)
	}
	if n := len(c.args); n < c.row.min || c.row.max >= 0 && n > c.row.max {
		what := "too many arguments"
		if n < c.row.min {
			what = "too few arguments"
		}
		hint := c.usage()
		if n > c.row.max && strings.Contains(c.row.args, "TEXT") {
			hint += "; a text with spaces is quoted: " + c.quoting("", "two words")
		}
		return config.Errorf(config.Usage, hint, "%s: %s", c.path, what)
	}
	if err := c.entitled(); err != nil {
		return err
	}
	c.admitted = true
	return nil
}

// quoting shows how words are typed of which the last has spaces in it: ssh
// takes one level of quotes away.
func (c *call) quoting(before, last string) string {
	line := before + "'" + last + "'"
	if c.local() {
		return line
	}
	return `"` + line + `"`
}

// standing checks what a caller must be.
func (c *call) standing() error {
	switch {
	case c.row.local && !c.local():
		return config.Errorf(config.Denied, "type it on the server: slipway "+c.path, "%s is for the server's own shell", c.path)
	case c.row.who == admin && !c.caller.Admin:
		return config.Errorf(config.Denied, "ask an admin: key list, on the server, names them", "%s is for admins, and key %s is none", c.path, c.caller.Name)
	}
	return nil
}

// entitled checks the right to each APP/ENV that the call names.
func (c *call) entitled() error {
	if c.row.who != deployer && c.row.who != auditor {
		return nil
	}
	names := c.row.names
	if names == nil {
		names = firstArgument
	}
	all, err := names(c.args)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		c.ae = all[len(all)-1]
	}
	switch {
	case c.row.who == auditor && c.caller.Admin:
		return nil
	case c.row.who == auditor && len(all) == 0:
		return config.Errorf(config.Denied, c.path+" APP/ENV shows that of one which you may deploy", "the whole audit log is for admins, and key %s is none", c.caller.Name)
	}
	for _, ae := range all {
		if err := c.app.hooks.May(c.caller, ae); err != nil {
			return err
		}
	}
	return nil
}

func firstArgument(args []string) ([]config.AppEnv, error) {
	if len(args) == 0 {
		return nil, nil
	}
	ae, err := config.ParseAppEnv(args[0])
	return []config.AppEnv{ae}, err
}

// usage is the command line that was meant.
func (c *call) usage() string { return strings.TrimSpace(c.path + " " + c.row.args) }

// record writes the call into the audit log, if it changed something or was
// refused. What failed for its wording alone is no event.
func (c *call) record(ctx context.Context, err error) error {
	refused := err != nil && statusOf(err) == config.Denied
	changed := c.row.changes && c.admitted && (err == nil || statusOf(err) != config.Usage)
	if !refused && !changed || c.app.store == nil {
		return nil
	}
	return c.audit(ctx, err)
}

// audit writes one event about the call.
func (c *call) audit(ctx context.Context, err error) error {
	e := store.Event{
		By: c.caller.Name, Fingerprint: c.caller.Key(), Addr: c.caller.Addr, AppEnv: c.ae.String(),
		Action: c.path, Detail: clip(builder.Clean(c.detail)), Result: "ok",
	}
	switch {
	case err != nil:
		e.Result = clip(sentence(err))
	case c.status != 0:
		e.Result = exitText(c.status)
	}
	if err := c.app.store.Audit(context.WithoutCancel(ctx), e); err != nil {
		return config.Errorf(config.Failed, "doctor says what is wrong with the database", "%s is not in the audit log: %w", c.path, err)
	}
	return nil
}

// clip keeps what a caller wrote to a length that a log can bear.
func clip(s string) string {
	const longest = 1000
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "..."
}
