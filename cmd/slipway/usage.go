package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway/config"
)

func words(rows []command) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.name)
	}
	return all
}

// unknownCommand names the nearest of the rows that follow path.
func unknownCommand(path, word string, rows []command) error {
	hint := "help lists the commands"
	if near := config.Nearest(word, words(rows)); near != "" {
		hint = "did you mean " + strings.TrimSpace(path+" "+near) + "?"
	}
	return config.Errorf(config.Usage, hint, "unknown command %s", quoted(strings.TrimSpace(path+" "+word)))
}

// wrongFlag says what is wrong with a flag, and which one was meant.
func wrongFlag(cmd *cobra.Command, path string, err error) error {
	hint := strings.TrimSpace("help " + path)
	unknown := (*pflag.NotExistError)(nil)
	wrong := (*pflag.InvalidValueError)(nil)
	if errors.As(err, &wrong) {
		wants := map[string]string{"int": "a number", "bool": "true or false"}[wrong.GetFlag().Value.Type()]
		if wants == "" {
			wants = "another value"
		}
		return config.Errorf(config.Usage, hint, "--%s takes %s, not %s", wrong.GetFlag().Name, wants, quoted(wrong.GetValue()))
	}
	if !errors.As(err, &unknown) {
		return config.Errorf(config.Usage, hint, "%w", err)
	}
	name := unknown.GetSpecifiedName()
	dashes := "--"
	if unknown.GetSpecifiedShortnames() != "" {
		dashes = "-"
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := config.Nearest(name, known); near != "" {
		hint = "did you mean --" + near + "?"
	}
	if path == "run" {
		hint = "run APP/ENV -- COMMAND ...: what follows -- is the command's own"
	}
	return config.Errorf(config.Usage, hint, "unknown flag %s", quoted(dashes+name))
}

func helpCommand() command {
	return command{
		name: "help", args: "[COMMAND ...]", short: "Say what a command does", max: -1,
		complete: []completer{topics, topics},
		run: func(ctx context.Context, c *call) error {
			root := c.tree(ctx)
			cmd, rest, err := root.Find(c.args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return unknownCommand("", strings.Join(c.args, " "), c.visible(table()))
			}
			return c.helpOf(cmd)
		},
	}
}

// help is helpOf where cobra leaves no way for an error but the call's status.
func (c *call) help(cmd *cobra.Command) {
	if err := c.helpOf(cmd); err != nil {
		c.status = int(config.Failed)
	}
}

// helpOf says what a command does, or which commands there are.
func (c *call) helpOf(cmd *cobra.Command) error {
	cmd.InitDefaultHelpFlag()
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n\n", cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(&b, "%s\n\n", cmd.Long)
	}
	if typed(cmd) {
		fmt.Fprintf(&b, "  %s\n\n", usageOf(cmd))
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("Commands\n")
		listCommands(&b, cmd)
		b.WriteString("\n")
	}
	b.WriteString("Flags\n")
	flag := func(f *pflag.Flag) { helpLine(&b, flagText(f), f.Usage) }
	cmd.LocalFlags().VisitAll(flag)
	cmd.InheritedFlags().VisitAll(flag)
	if c.local() {
		helpLine(&b, "--home DIR", "default $SLIPWAY_HOME, else /var/lib/slipway for root, ~/.local/state/slipway for others")
	}
	b.WriteString("\nExit status: 0 done, 1 failed, 2 wrong usage, 3 not allowed, 4 not found.\n")
	return c.print("%s", b.String())
}

// typed says whether a command does something without another word.
func typed(cmd *cobra.Command) bool {
	return cmd.HasParent() && (!cmd.HasAvailableSubCommands() || strings.Contains(cmd.Use, " "))
}

func usageOf(cmd *cobra.Command) string { return strings.TrimPrefix(cmd.UseLine(), "slipway ") }

// listCommands lists what can be typed below cmd, one a line.
func listCommands(b *strings.Builder, cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		if isCompletion(sub.Name()) {
			continue
		}
		if typed(sub) {
			helpLine(b, usageOf(sub), sub.Short)
		}
		listCommands(b, sub)
	}
}

// helpLine sets a term and what it means side by side, or one below the other
// where the term is long.
func helpLine(b *strings.Builder, term, meaning string) {
	const width = 32
	if len(term) > width {
		fmt.Fprintf(b, "  %s\n", term)
		term = ""
	}
	fmt.Fprintf(b, "  %-*s  %s\n", width, term, meaning)
}

func flagText(f *pflag.Flag) string {
	s := "--" + f.Name
	if f.Shorthand != "" {
		s = "-" + f.Shorthand + ", " + s
	}
	switch f.Value.Type() {
	case "bool":
		return s
	case "int":
		return s + " N"
	default:
		return s + " " + strings.ToUpper(f.Name)
	}
}

// topics offers the words that lead on from those that are there.
func topics(_ context.Context, c *call, args []string) ([]string, error) {
	rows := c.visible(table())
	for _, word := range args {
		i := slices.IndexFunc(rows, func(r command) bool { return r.name == word })
		if i < 0 {
			return nil, nil
		}
		rows = rows[i].sub
	}
	return words(rows), nil
}

func versionCommand() command {
	return command{name: "version", short: "Print the version", run: func(_ context.Context, c *call) error {
		if c.flag("json") {
			return writeJSON(c.io.Out, map[string]string{
				"version": version(), "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH,
			})
		}
		return c.print("slipway %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	}}
}

// version is what the build has written into the program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
