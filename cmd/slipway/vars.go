package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"slipway/builder/service"
	"slipway/config"
	"slipway/store"
)

func varsCommands() command {
	stage := func(f *pflag.FlagSet) { f.Bool("stage", false, "wait for the next deploy") }
	return command{name: "vars", short: "The environment variables of an APP/ENV", sub: []command{
		{
			name: "list", args: "APP/ENV [--reveal]", short: "List the vars, and where each value comes from", who: deployer, min: 1, max: 1,
			flags: func(f *pflag.FlagSet) { f.Bool("reveal", false, "show the values; the audit log keeps that you did") },
			run:   varsList,
		},
		{
			name: "set", args: "APP/ENV KEY=VALUE ... | KEY < value", short: "Set vars", who: deployer, changes: true, min: 2, max: -1,
			long:  "It makes a new release of the live build, at once. One KEY alone takes its value from standard input, byte for byte.",
			flags: stage, run: varsSet,
		},
		{
			name: "unset", args: "APP/ENV KEY ...", complete: []completer{appEnvs, about(varNames)}, short: "Unset vars", who: deployer, changes: true, min: 2, max: -1,
			long: "It makes a new release of the live build, at once.", flags: stage, run: varsUnset,
		},
	}}
}

// fromSet is where a value comes from that is no file's.
const fromSet = "set"

// masked stands for a value that is not shown.
const masked = "***"

// variable is one row of vars list; Value is null where it is not shown.
type variable struct {
	Name   string     `json:"name"`
	Value  *string    `json:"value"`
	Base64 string     `json:"value_base64,omitempty"` // beside a value that is not UTF-8
	From   string     `json:"from"`
	Staged bool       `json:"staged"` // takes effect with the next deploy
	By     string     `json:"by"`
	Set    *time.Time `json:"set"`
}

func varsList(ctx context.Context, c *call) error {
	set, err := c.app.store.Vars(ctx, c.ae)
	if err != nil {
		return err
	}
	live, err := c.app.store.LiveRelease(ctx, c.ae)
	if err != nil {
		return err
	}
	all := map[string]variable{}
	if live != nil {
		if err := c.fromRelease(ctx, live, all); err != nil {
			return err
		}
	}
	reveal := c.flag("reveal")
	if reveal { // before anything is shown
		c.detail = "--reveal"
		if err := c.audit(ctx, nil); err != nil {
			return err
		}
	}
	for _, v := range set {
		row := variable{Name: v.Name, From: fromSet, Staged: v.Staged && live != nil, By: v.By, Set: jsonTime(v.Set)}
		if reveal {
			row.show(v.Value.Reveal())
		}
		all[v.Name] = row
	}
	out := []variable{}
	for _, v := range all {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b variable) int { return strings.Compare(a.Name, b.Name) })
	return c.listVars(out)
}

func (v *variable) show(value string) {
	v.Value = &value
	if !utf8.ValidString(value) {
		v.Base64 = base64.StdEncoding.EncodeToString([]byte(value))
	}
}

// fromRelease adds what the live release has beside the vars that are set now:
// the app's own, those of its services, and those that were unset since.
func (c *call) fromRelease(ctx context.Context, live *store.Release, all map[string]variable) error {
	then, err := c.app.store.ReleaseVars(ctx, c.ae, live.Number)
	if err != nil {
		return err
	}
	var file config.AppFile
	if err := json.Unmarshal(live.App, &file); err != nil {
		return fmt.Errorf("read the settings of release %d: %w", live.Number, err)
	}
	for i, s := range file.Services {
		for name := range (service.Endpoint{Name: s.Name}).Vars() {
			if name != service.URL || i == service.Main(file.Services) {
				all[name] = variable{Name: name, From: "service " + s.Name}
			}
		}
	}
	add := func(values map[string]string, from string) {
		for name, value := range values {
			v := variable{Name: name, From: from}
			v.show(value) // it is in the repository for everybody to read
			all[name] = v
		}
	}
	add(file.Vars, file.Settings())
	add(file.EnvVars[c.ae.Env()], file.Settings()+" [vars."+c.ae.Env().String()+"]")
	for name := range then { // what is still set comes over it
		all[name] = variable{Name: name, From: "unset", Staged: true}
	}
	return nil
}

func (c *call) listVars(out []variable) error {
	var rows [][]string
	for _, v := range out {
		from, value, set := v.From, masked, ""
		if v.Staged {
			from += ", staged"
		}
		if v.Value != nil {
			value = *v.Value
		}
		if v.Set != nil {
			set = minute(*v.Set)
		}
		rows = append(rows, []string{v.Name, from, set, v.By, value})
	}
	return c.list(out, []string{"NAME", "FROM", "SET", "BY", "VALUE"}, rows)
}

// maxValue is one byte more than a value may have, so that the check sees it.
const maxValue = 128<<10 + 1

func varsSet(ctx context.Context, c *call) error {
	set := map[string]config.Secret{}
	var names []string
	for _, word := range c.args[1:] {
		name, value, has := strings.Cut(word, "=")
		if !has && len(c.args) > 2 {
			return config.Errorf(config.Usage, "a value with spaces is quoted: "+c.quoting("vars set "+c.ae.String()+" ", "KEY=two words"),
				"%s has no value, and standard input is for one KEY alone", quoted(word))
		}
		if err := config.ParseVarName(name); err != nil {
			return err
		}
		if _, twice := set[name]; twice {
			return config.Errorf(config.Usage, "give each KEY once", "%s is there twice", name)
		}
		if !has {
			text, err := c.readAll(ctx, maxValue)
			if err != nil {
				return err
			}
			value = string(text)
		}
		if err := config.CheckVarValue(value); err != nil {
			return &config.Error{Kind: config.Usage, Op: "set", On: name, Err: err}
		}
		if !has && strings.HasSuffix(value, "\n") && strings.Count(value, "\n") == 1 {
			if err := c.say("note: the value of %s ends in a newline, and keeps it", name); err != nil {
				return err
			}
		}
		set[name] = config.NewSecret(value)
		names = append(names, name)
	}
	c.detail = strings.Join(names, " ")
	return c.app.hooks.ChangeVars(ctx, c.caller, c.ae, set, nil, c.flag("stage"), c.io.Err)
}

func varsUnset(ctx context.Context, c *call) error {
	have, err := c.app.store.Vars(ctx, c.ae)
	if err != nil {
		return err
	}
	var known []string
	for _, v := range have {
		known = append(known, v.Name)
	}
	for _, name := range c.args[1:] {
		if slices.Contains(known, name) {
			continue
		}
		hint := "vars list " + c.ae.String() + " names those that are set"
		if near := config.Nearest(name, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		return config.Errorf(config.NotFound, hint, "%s is not set for %s", quoted(name), c.ae)
	}
	c.detail = strings.Join(c.args[1:], " ")
	return c.app.hooks.ChangeVars(ctx, c.caller, c.ae, nil, c.args[1:], c.flag("stage"), c.io.Err)
}
