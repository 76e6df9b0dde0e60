package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/config"
	"slipway/hooks/socket"
)

// completer offers what the next argument can be, args being those before it.
// What stands behind a tab says more about it, to people.
type completer func(ctx context.Context, c *call, args []string) ([]string, error)

// completions are what can come next in a row's command line. Nothing is
// offered that the caller may not use.
func (c *call) completions(ctx context.Context, row command, args []string) ([]string, error) {
	all := row.complete
	if all == nil && (row.who == deployer || row.who == auditor) {
		all = []completer{appEnvs}
	}
	i := len(args)
	if row.max == -1 && len(all) > 1 {
		i = min(i, len(all)-1) // the last of them stands for those that follow
	}
	if i >= len(all) || row.max >= 0 && i >= row.max || row.who == admin && !c.caller.Admin {
		return nil, nil
	}
	return all[i](ctx, c, args)
}

// complete is completions as cobra asks for them. A shell has no place for
// errors: then there is nothing to offer.
func (c *call) complete(ctx context.Context, row command) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		all, err := c.completions(ctx, row, args)
		all = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return !strings.HasPrefix(s, begun) })
		switch {
		case err != nil:
			return nil, cobra.ShellCompDirectiveError
		case row.files:
			return all, cobra.ShellCompDirectiveDefault
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// oneOfWords offers the same words always.
func oneOfWords(words ...string) completer {
	return func(context.Context, *call, []string) ([]string, error) { return words, nil }
}

// appEnvs offers every app in every environment where the caller may deploy.
func appEnvs(ctx context.Context, c *call, _ []string) ([]string, error) {
	if c.app.store == nil {
		return nil, nil
	}
	apps, err := c.app.store.Apps(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range apps {
		for _, e := range c.environments() {
			if ae := a.App.In(e); c.app.hooks.May(c.caller, ae) == nil {
				names = append(names, ae.String())
			}
		}
	}
	return names, nil
}

func appNames(ctx context.Context, c *call, _ []string) ([]string, error) {
	if c.app.store == nil {
		return nil, nil
	}
	apps, err := c.app.store.Apps(ctx)
	var names []string
	for _, a := range apps {
		names = append(names, a.App.String())
	}
	return names, err
}

func keyNames(ctx context.Context, c *call, _ []string) ([]string, error) {
	if c.app.store == nil {
		return nil, nil
	}
	keys, err := c.app.store.Keys(ctx)
	var names []string
	for _, k := range keys {
		names = append(names, k.Name+"\t"+rightsOf(k))
	}
	return names, err
}

// about lets f complete for the APP/ENV that the first argument names, if the
// caller may deploy it.
func about(f func(ctx context.Context, c *call, ae config.AppEnv) ([]string, error)) completer {
	return func(ctx context.Context, c *call, args []string) ([]string, error) {
		ae, err := config.ParseAppEnv(args[0])
		if err != nil || c.app.store == nil || c.app.hooks.May(c.caller, ae) != nil {
			return nil, nil
		}
		return f(ctx, c, ae)
	}
}

func releaseNumbers(ctx context.Context, c *call, ae config.AppEnv) ([]string, error) {
	all, err := c.app.store.Releases(ctx, ae)
	var names []string
	for _, r := range all {
		names = append(names, fmt.Sprintf("%d\t%s %s", r.Number, r.State, r.Commit.Short()))
	}
	return names, err
}

func varNames(ctx context.Context, c *call, ae config.AppEnv) ([]string, error) {
	all, err := c.app.store.Vars(ctx, ae)
	var names []string
	for _, v := range all {
		names = append(names, v.Name)
	}
	return names, err
}

func serviceNames(ctx context.Context, c *call, ae config.AppEnv) ([]string, error) {
	all, err := c.app.hooks.Services(ctx, c.caller, ae)
	var names []string
	for _, s := range all {
		names = append(names, s.Name+"\t"+s.Type)
	}
	return names, err
}

// otherEnvironments offers where an app can be promoted to.
func otherEnvironments(_ context.Context, c *call, from config.AppEnv) ([]string, error) {
	var names []string
	for _, e := range c.environments() {
		if e != from.Env() && c.app.hooks.May(c.caller, from.App().In(e)) == nil {
			names = append(names, e.String())
		}
	}
	return names, nil
}

// completeLocally asks the running server what can come next, or else knows
// the commands alone. A shell asks at each press of a key: nothing is waited
// for, nothing read from the terminal, and no failure shown.
func completeLocally(ctx context.Context, dir string, argv []string) int {
	io := stdio()
	io.In = strings.NewReader("")
	if conn, err := socket.Dial(dir); err == nil {
		deadline := conn.SetDeadline(time.Now().Add(completionTime))
		status, err := socket.Call(conn, socket.Hello{Command: argv}, io.In, io.Out, io.Err, nil)
		if errors.Join(deadline, err) == nil {
			return status
		}
		return 0
	}
	a := &app{dir: dir, now: time.Now}
	return a.run(ctx, localCaller(), argv, io, nil)
}

// completionTime is how long a shell's user may have to wait.
const completionTime = 2 * time.Second

func completionCommand() command {
	shells := []string{"bash", "zsh", "fish"}
	return command{
		name: "completion", args: "bash|zsh|fish", short: "Print a shell's completion script", min: 1, max: 1,
		complete: []completer{oneOfWords(shells...)},
		long: "On the server: source <(slipway completion bash). Over SSH the script also makes a command slipway,\n" +
			"which asks this server: eval \"$(ssh HOST completion bash)\", then slipway releases APP/ENV.\n" +
			"For fish: ssh HOST completion fish | source",
		run: completion,
	}
}

func completion(ctx context.Context, c *call) error {
	shell := c.args[0]
	if shell != "bash" && shell != "zsh" && shell != "fish" {
		return config.Errorf(config.Usage, c.usage(), "there is no completion for %s", quoted(shell))
	}
	if !c.local() {
		if err := c.print("%s", overSSH(shell, strings.TrimSpace(c.app.command("")))); err != nil {
			return err
		}
	}
	root := c.tree(ctx)
	switch shell {
	case "zsh":
		return root.GenZshCompletion(c.io.Out)
	case "fish":
		return root.GenFishCompletion(c.io.Out, true)
	}
	_, err := io.WriteString(c.io.Out, bashCompletion)
	return err
}

// overSSH makes the command slipway in a shell: it quotes each word as the
// server reads it, and runs ssh as that is typed.
func overSSH(shell, ssh string) string {
	text := ""
	switch shell {
	case "bash":
		text = `slipway() {
	local word line=
	for word; do
		line+=" '${word//\'/\'\\\'\'}'"
	done
	command SSH ${line:+"${line# }"}
}
`
	case "zsh":
		text = `slipway() {
	local line="${(j: :)${(@qq)@}}"
	command SSH ${line:+"$line"}
}
`
	case "fish":
		text = `function slipway
	set -l line
	for word in $argv
		set -l quoted (string replace -a -- "'" "'\\''" $word | string collect)
		set -a line "'$quoted'"
	end
	if set -q line[1]
		command SSH "$line"
	else
		command SSH
	end
end
`
	}
	return strings.ReplaceAll(text, "SSH", ssh)
}

// bashCompletion is our own: cobra's needs the package bash-completion. The
// number behind the last colon is cobra's directive; 4 is: no files.
const bashCompletion = `_slipway() {
	local line directive=0 current=${COMP_WORDS[COMP_CWORD]}
	COMPREPLY=()
	while IFS= read -r line; do
		case $line in
		:*) directive=${line#:} ;;
		"$current"*) COMPREPLY+=("$line") ;;
		esac
	done < <(slipway __completeNoDesc "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null </dev/null)
	if ((directive & 4)); then
		compopt +o default 2>/dev/null
	fi
}
complete -o default -F _slipway slipway
`
