package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"slipway/config"
	"slipway/hooks"
	"slipway/store"
)

func planCommand() command {
	return command{
		name: "plan", args: "APP/ENV [COMMIT]", short: "Show the plan of a commit, the live one by default, submodule by submodule",
		long: "It fetches what is not cached, and says what differs from the live release. COMMIT is one that was deployed: its name, a branch or a tag.",
		who:  deployer, min: 1, max: 2, run: plan,
	}
}

func plan(ctx context.Context, c *call) error {
	v, err := c.app.hooks.Plan(ctx, c.caller, c.ae, c.arg(1))
	if err != nil {
		return err
	}
	if c.flag("json") {
		err = writeJSON(c.io.Out, c.planJSON(v))
	} else {
		err = c.planText(v)
	}
	if err != nil {
		return err
	}
	wrong := 0
	for _, m := range v.Modules {
		if m.Error != "" {
			wrong++
		}
	}
	if wrong > 0 {
		return config.Errorf(config.Failed, "the list says why, each in its row", "%d of %d submodules cannot be had", wrong, len(v.Modules))
	}
	return nil
}

func (c *call) planText(v hooks.PlanView) error {
	live := "nothing is live"
	if v.Live != nil {
		live = fmt.Sprintf("live: release %d, %s", v.Live.Number, v.Live.Commit.Short())
	}
	head := fmt.Sprintf("%s  %s  %s\n%s\n", c.ae, v.Commit.Short(), show(v.Title), live)
	if len(v.Settings) > 0 {
		head += "settings: " + strings.Join(v.Settings, ", ") + "\n"
	}
	for _, note := range v.Notes {
		head += "note: " + show(note) + "\n"
	}
	if err := c.print("%s\n", head); err != nil {
		return err
	}
	var rows [][]string
	for _, m := range v.Modules {
		commit := m.Commit.Short()
		if m.Live != "" && m.Live != m.Commit {
			commit = m.Live.Short() + " -> " + commit
		}
		rows = append(rows, []string{m.Path, commit, planState(m, v.Live != nil), m.URL.Short()})
	}
	for _, m := range v.Removed {
		rows = append(rows, []string{m.Path, m.Commit.Short(), "removed", m.URL.Short()})
	}
	for _, path := range v.Skipped {
		rows = append(rows, []string{path, "", "skipped", ""})
	}
	if len(rows) == 0 {
		return c.print("no submodules\n")
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return columns(c.io.Out, []string{"SUBMODULE", "COMMIT", "STATE", "URL"}, rows)
}

// planState says what is to be known of one submodule.
func planState(m hooks.PlannedModule, live bool) string {
	switch {
	case m.Error != "":
		return m.Error
	case live && m.Live == "":
		return "new"
	case live && m.Live != m.Commit:
		return "changed"
	case m.Cached:
		return "cached"
	}
	return "fetched"
}

type plannedJSON struct {
	store.Module
	Live   string `json:"live"`
	Cached bool   `json:"cached"`
	Source string `json:"source"`
	Error  string `json:"error"`
}

type planJSON struct {
	AppEnv  string         `json:"app_env"`
	Commit  string         `json:"commit"`
	Title   string         `json:"title"`
	Live    *releaseJSON   `json:"live"`
	Modules []plannedJSON  `json:"modules"`
	Skipped []string       `json:"skipped"`
	Removed []store.Module `json:"removed"`

	Settings []string `json:"settings"` // the files that they come from
	Notes    []string `json:"notes"`
}

func (c *call) planJSON(v hooks.PlanView) planJSON {
	out := planJSON{
		AppEnv: v.AppEnv.String(), Commit: string(v.Commit), Title: v.Title,
		Modules: []plannedJSON{}, Skipped: inOrder(v.Skipped), Removed: inOrder(v.Removed),
		Settings: inOrder(v.Settings), Notes: inOrder(v.Notes),
	}
	for _, m := range v.Modules {
		out.Modules = append(out.Modules, plannedJSON{m.Module, string(m.Live), m.Cached, m.Source, m.Error})
	}
	if v.Live != nil {
		live := c.asJSON(*v.Live)
		out.Live = &live
	}
	return out
}
