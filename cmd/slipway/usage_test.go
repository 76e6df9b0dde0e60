package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"slipway/builder"
	"slipway/config"
)

func TestUsage(t *testing.T) {
	o := newOffice(t)
	ana := o.key("ana", "--allow", "shop/dev")
	for _, l := range []struct {
		line, error, hint string
		status            config.Kind
	}{
		{"relases shop/dev", `unknown command "relases"`, "did you mean releases?", config.Usage},
		{"frobnicate", `unknown command "frobnicate"`, "help lists the commands", config.Usage},
		{"key", "key needs another word", "key add|list|remove|attempts", config.Usage},
		{"key lst", `unknown command "key lst"`, "did you mean key list?", config.Usage},
		{"help nosuch", `unknown command "nosuch"`, "help lists the commands", config.Usage},
		{"releases", "releases: too few arguments", "releases APP/ENV", config.Usage},
		{"releases shop/dev shop/dev", "releases: too many arguments", "releases APP/ENV", config.Usage},
		{"releases shop/dev --jsn", `unknown flag "--jsn"`, "did you mean --json?", config.Usage},
		{"logs shop/dev -x", `unknown flag "-x"`, "help logs", config.Usage},
		{"run shop/dev ls --all", `unknown flag "--all"`, "run APP/ENV -- COMMAND ...: what follows -- is the command's own", config.Usage},
		{"audit --limit many", `--limit takes a number, not "many"`, "help audit", config.Usage},
		{"vars set shop/dev GREETING=good morning", `"morning" has no value, and standard input is for one KEY alone`, "a value with spaces is quoted: vars set shop/dev 'KEY=two words'", config.Usage},
		{"lock shop/dev --reason release week", "lock: too many arguments", "lock APP/ENV [--reason TEXT]; a text with spaces is quoted: 'two words'", config.Usage},
		{"releases shop/dev --json=many", `--json takes true or false, not "many"`, "help releases", config.Usage},
		{"promote shop/dev dev", "shop/dev cannot be promoted to itself", "name another environment: prod, staging", config.Usage},
		{"rollback shop/dev one", `"one" is no release's number`, "releases shop/dev lists them", config.Usage},
		{"audit --limit 0", "--limit takes a number from 1 on", "audit --limit 50", config.Usage},
		{"releases shop", `parse APP/ENV "shop": not a valid name`, "a-z, 0-9 and '-', at most 63 of them, not led by '-': such as shop/prod", config.Usage},
		{"releases shop/dv", "there is no environment dv", "did you mean shop/dev? there are: dev, prod, staging", config.NotFound},
		{"releases shop/dev", "shop/dev has no release", "git push deploy main makes the first", config.NotFound},
		{"show shop/dev", "shop/dev has no release", "git push deploy main makes the first", config.NotFound},
		{"show shop/dev 4", "shop/dev has no release 4", "releases shop/dev lists them", config.NotFound},
		{"show shop/dev one", `"one" is no release's number`, "releases shop/dev lists them", config.Usage},
		{"rollback shop/dev 0", `"0" is no release's number`, "releases shop/dev lists them", config.Usage},
		{"rollback shop/dev", "shop/dev has no release", "git push deploy main makes the first", config.NotFound},
		{"redeploy shop/dev", "shop/dev has no release", "git push deploy main makes the first", config.NotFound},
		{"run shop/dev -- true", "shop/dev has no release", "git push deploy main makes the first", config.NotFound},
		{"logs shop/dev", "shop/dev has no release", "git push deploy main makes the first", config.NotFound},
		{"cancel shop/dev", "nothing is being deployed to shop/dev", "releases shop/dev", config.NotFound},
		{"unlock shop/dev", "shop/dev is not locked", "lock shop/dev locks it", config.NotFound},
		{"app destroy nosuch --yes", "there is no app nosuch", "app list names those that are", config.NotFound},
		{"key remove nosuch", `there is no key "nosuch"`, "key list", config.NotFound},
		{"completion tcsh", `there is no completion for "tcsh"`, "completion bash|zsh|fish", config.Usage},
		{"init", "init starts a program of its own", "slipway init [--home DIR]", config.Usage},
	} {
		t.Run(l.line, func(t *testing.T) {
			words := strings.Fields(l.line)
			same(t, l.line, o.do(onServer, "", words...), result{int(l.status), "", "error: " + l.error + "\nhint: " + l.hint + "\n"})

			r := o.do(onServer, "", append([]string{"--json"}, words...)...)
			var got struct {
				Error struct{ Code, Message, Hint string }
			}
			if err := json.Unmarshal([]byte(r.Err), &got); err != nil || r.Out != "" || r.Status != int(l.status) {
				t.Fatalf("with --json: %+v: %v", r, err)
			}
			same(t, "as JSON", []string{got.Error.Code, got.Error.Message, got.Error.Hint}, []string{l.status.String(), l.error, l.hint})
		})
	}
	t.Run("destroy without --yes", func(t *testing.T) {
		ae := o.seed("old/dev")
		r := o.do(onServer, "", "app", "destroy", ae.App().String())
		same(t, "refused", []any{r.Status, strings.Contains(r.Err, "hint: app destroy old --yes\n")}, []any{2, true})
	})
	t.Run("what a client cannot type is unknown to it", func(t *testing.T) {
		same(t, "serve", o.do(ana, "", "serve", "x").Status, 2)
	})
}

func TestHelp(t *testing.T) {
	o := newOffice(t)
	ana := o.key("ana", "--allow", "shop/dev")
	all := o.must(ana, "", "help")
	for _, row := range table() {
		if at := strings.Contains(all, "\n  "+row.name+" "); at == row.local {
			t.Errorf("help for a client lists %s: %v", row.name, at)
		}
	}
	if l := o.must(onServer, "", "--help"); !strings.Contains(l, "\n  serve ") || !strings.Contains(l, "--home DIR") {
		t.Errorf("help on the server:\n%s", l)
	}
	same(t, "help of a command", o.must(ana, "", "vars", "unset", "--help"), o.must(ana, "", "help", "vars", "unset"))
	same(t, "help of a command", o.must(ana, "", "help", "logs"), text(`
		Print a release's build log, the newest by default.

		  logs APP/ENV [N] [-f]

		Flags
		  -f, --follow                      go on until the deploy ends
		  -h, --help                        help for logs
		  --json                            print one JSON document, errors too

		Exit status: 0 done, 1 failed, 2 wrong usage, 3 not allowed, 4 not found.
		`))
	if v := o.must(ana, "", "--version"); !strings.HasPrefix(v, "slipway ") || v != o.must(ana, "", "version") {
		t.Errorf("version: %q", v)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if s := o.must(onServer, "", "completion", shell); !strings.Contains(s, "__complete") {
			t.Errorf("completion for %s: %q", shell, s)
		}
	}
	// They need nothing, so they run where there is no Slipway yet.
	bare := &office{app: &app{}, t: t}
	for _, line := range []string{"version", "help", "completion bash", "help key add"} {
		bare.must(onServer, "", strings.Fields(line)...)
	}
}

// A caller who goes away while a command waits for input ends it, with the
// reason.
func TestGone(t *testing.T) {
	o := newOffice(t)
	never, stop := io.Pipe()
	defer stop.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	var errs strings.Builder
	cancel(errors.New("the client went away"))
	status := o.run(ctx, onServer, []string{"key", "add", "maria"}, builder.Stdio{In: never, Out: io.Discard, Err: &errs}, nil)
	same(t, "ended", result{Status: status, Err: errs.String()}, result{Status: 1, Err: "error: the client went away\n"})
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// What could not be written was not shown.
func TestFullOutput(t *testing.T) {
	o := newOffice(t)
	for _, line := range []string{"key list", "key list --json", "help", "version", "doctor", ""} {
		status := o.run(t.Context(), onServer, strings.Fields(line), builder.Stdio{In: strings.NewReader(""), Out: full{}, Err: io.Discard}, nil)
		same(t, line, status, 1)
	}
}
