package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"slipway/config"
)

// greet says hello, and what the caller may deploy.
func (c *call) greet(ctx context.Context) error {
	hello, err := c.hello(ctx)
	if err != nil {
		return err
	}
	if err := c.print("%s\n\n%s\n\n", hello, c.rights()); err != nil {
		return err
	}
	rows, err := c.deployable(ctx)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		if err := columns(c.io.Out, []string{"APP/ENV", "LIVE", "COMMIT", "SINCE"}, rows); err != nil {
			return err
		}
		if err := c.print("\n"); err != nil {
			return err
		}
	}
	return c.print("help lists the commands.\n")
}

// hello names the caller and by what it is known: the key's comment says which
// machine's it is, its fingerprint where it has none.
func (c *call) hello(ctx context.Context) (string, error) {
	if c.local() {
		return "Hi " + show(strings.TrimPrefix(c.caller.Name, "local:")) + " (on the server itself, admin)", nil
	}
	key, err := c.app.store.KeyByName(ctx, c.caller.Name)
	if err != nil {
		return "", err
	}
	which := c.caller.Fingerprint
	if c.caller.Certificate != "" {
		which = c.caller.Certificate
	} else if key != nil && key.Comment != "" && key.Comment != key.Name {
		which = show(key.Comment)
	}
	role := ""
	if c.caller.Admin {
		role = ", admin"
	}
	return "Hi " + c.caller.Name + " (key " + which + role + ")", nil
}

// rights says in a sentence what the caller may deploy, apps that are not
// there yet among it.
func (c *call) rights() string {
	var globs, protected []string
	for _, g := range c.caller.Allow {
		globs = append(globs, g.String())
	}
	for _, e := range c.environments() {
		if c.app.config().Environments[e].Protected {
			protected = append(protected, e.String())
		}
	}
	s := "You may deploy nothing yet: an admin can allow it with key add."
	switch {
	case c.local():
		return "You may deploy every APP/ENV."
	case c.caller.Admin:
		s = "You may deploy every APP/ENV."
		if len(globs) > 0 {
			s = "You may deploy every APP/ENV, and by name " + strings.Join(globs, ", ") + "."
		}
	case len(globs) > 0:
		s = "You may deploy " + strings.Join(globs, ", ") + "."
	default:
		return s
	}
	if len(protected) > 0 {
		s += "\nProtected, so only by name: " + strings.Join(protected, ", ") + "."
	}
	return s
}

// environments lists the declared ones by name.
func (c *call) environments() []config.Env {
	var all []config.Env
	for e := range c.app.config().Environments {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b config.Env) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// deployable lists the apps that are there, in each environment where the
// caller may deploy them, with what is live.
func (c *call) deployable(ctx context.Context) ([][]string, error) {
	apps, err := c.app.store.Apps(ctx)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, row := range apps {
		for _, e := range c.environments() {
			ae := row.App.In(e)
			if c.app.hooks.May(c.caller, ae) != nil {
				continue
			}
			r, err := c.app.store.LiveRelease(ctx, ae)
			if err != nil {
				return nil, err
			}
			if r == nil {
				rows = append(rows, []string{ae.String(), "", "", ""})
				continue
			}
			rows = append(rows, []string{ae.String(), strconv.Itoa(r.Number), r.Commit.Short(), minute(r.Ended)})
		}
	}
	return rows, nil
}
