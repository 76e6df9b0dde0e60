// Command slipway is the git-push deployer: the server, its commands, and the
// small processes that git and builds start of it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"slipway/builder/agent"
	"slipway/builder/host"
	"slipway/hooks"
	"slipway/hooks/submodule"
	"slipway/store/git"
)

func main() { os.Exit(start(os.Args)) }

// start finds out as what the program was started, and returns its exit
// status.
func start(argv []string) int {
	if child := childOf(argv); child != nil {
		return child()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return commandLine(ctx, argv[1:])
}

// childOf returns what to run if the program was started by git or by itself,
// nil if a person has started it.
func childOf(argv []string) func() int {
	fetching := os.Getenv(submodule.EnvSocket) != ""
	switch {
	case hooks.IsHook(argv[0]):
		return func() int { return hooks.HookMain(argv[0], os.Stdin, os.Stdout, os.Stderr) }
	case fetching && len(argv) > 1 && argv[1] == submodule.CredentialCommand:
		return func() int { return submodule.CredentialMain(argv[2:], os.Stdin, os.Stdout, os.Stderr) }
	case fetching:
		return func() int { return submodule.ProxyMain(argv[1:], os.Stdin, os.Stdout, os.Stderr) }
	case len(argv) > 1 && argv[1] == host.SandboxCommand:
		return host.SandboxMain
	case len(argv) > 1 && argv[1] == git.AsideCommand:
		return func() int { return git.AsideMain(argv[2:]) }
	case len(argv) == 2 && argv[1] == agent.Command:
		return func() int { return agent.Main(os.Stdin, os.Stdout, os.Stderr) }
	}
	return nil
}
