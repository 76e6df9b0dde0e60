package hooks

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/tree"
)

const (
	maxAppFile      = 1 << 20 // bytes of each file that says something of the app
	postinstallHead = 4 << 10 // bytes of postinstall that are looked at
)

// readApp reads what the app says about itself, says what of it has no
// counterpart, and refuses a postinstall that could not run.
func (d *deploy) readApp() error {
	app := tree.Files{Objects: d.repo.objects, Commit: d.commit}
	src, err := readSources(app)
	if err != nil {
		return err
	}
	var notes []config.Note
	if d.app, notes, err = config.ParseAppFiles(src); err != nil {
		return err
	}
	has := func(path string) (bool, error) {
		head, mode, err := app.Head(path, postinstallHead)
		if err != nil || mode == "" {
			return false, err
		}
		return true, builder.CheckPostinstall(path, mode, head)
	}
	if err := d.app.ResolvePostinstall(has); err != nil {
		return err
	}
	if d.app.Default && d.env.Target == "ssh" && len(d.env.Hosts) > 1 {
		d.app.Services = nil // a file on each host would be no database of the app's
	}
	if d.rel.App, err = json.Marshal(d.app); err != nil {
		return err
	}
	unread, err := unreadFiles(app, d.app.DotCloud)
	if err != nil {
		return err
	}
	d.notes = append(notes, unread...)
	d.showSettings()
	if err := d.checkServices(); err != nil {
		return err
	}
	if d.app.Build.Postinstall == "" {
		if d.postinstall, err = has("postinstall"); err != nil {
			return err
		}
	}
	return nil
}

// readSources reads the files that an app's settings come from. One that will
// not be read, as another stands before it, is only looked for.
func readSources(app tree.Files) (src config.AppSources, err error) {
	found := false
	for _, f := range []struct {
		name string
		into *[]byte
	}{
		{config.AppFileName, &src.SlipwayTOML},
		{config.DotCloudName, &src.DotCloudYML},
		{config.AppJSONName, &src.AppJSON},
	} {
		if found {
			_, mode, err := app.Head(f.name, 0)
			if err != nil {
				return src, err
			}
			if mode != "" {
				*f.into = []byte{}
			}
			continue
		}
		content, mode, err := app.File(f.name, maxAppFile)
		if err != nil {
			return src, err
		}
		if found = mode != ""; found {
			*f.into = append([]byte{}, content...) // not nil, even if it is empty
		}
	}
	content, mode, err := app.File(config.ProcfileName, maxAppFile)
	if err == nil && mode != "" {
		src.Procfile = append([]byte{}, content...)
	}
	return src, err
}

// unreadFiles are notes on the files that dotCloud itself acted on.
func unreadFiles(app tree.Files, old *config.DotCloud) (notes []config.Note, err error) {
	if old == nil {
		return nil, nil
	}
	for _, root := range old.Roots() {
		for _, f := range []struct{ name, text string }{
			{"requirements.txt", "postinstall has to install what it lists"},
			{"nginx.conf", "not used; the web server is your own"},
			{"uwsgi.conf", "not used; [deploy] restart starts what serves"},
			{"supervisord.conf", "not used; [deploy] restart starts what runs"},
		} {
			_, mode, err := app.Head(path.Join(root, f.name), 0)
			if err != nil {
				return nil, err
			}
			if mode != "" {
				notes = append(notes, config.Note{File: path.Join(root, f.name), Text: f.text})
			}
		}
	}
	return notes, nil
}

// showSettings says where an app's settings come from, if that is not a
// slipway.toml alone, and what of it has no counterpart.
func (d *deploy) showSettings() {
	from := d.app.Settings()
	if d.progress == nil || from != config.DotCloudName && from != config.AppJSONName && len(d.notes) == 0 {
		return
	}
	d.progress.Step("Settings", strings.Join(d.app.From, ", "), -1)
	for _, text := range notesText(d.app, d.notes) {
		d.progress.Say("  note", text)
	}
}

// notesText are the notes for who knows which file the settings are in.
func notesText(app *config.AppFile, notes []config.Note) []string {
	var all []string
	for _, n := range notes {
		text := n.String()
		switch {
		case n.File == app.Settings() && n.Line > 0:
			text = fmt.Sprintf("line %d, %s", n.Line, n.Text)
		case n.File == app.Settings():
			text = n.Text
		}
		all = append(all, text)
	}
	return all
}

// checkNeeds refuses a commit whose app requires variables that have no value.
func (d *deploy) checkNeeds() error {
	var missing config.Mistakes
	for _, n := range d.app.Needs {
		if _, set := d.vars[n.Name]; set {
			continue
		}
		value := "..."
		if n.Secret {
			value = "$(openssl rand -hex 32)"
		}
		missing = append(missing, config.Mistake{
			File: d.app.Settings(), Line: n.Line, Key: "env." + n.Name, Text: "has no value for " + d.ae.String(),
			Hint: d.s.o.Command(fmt.Sprintf("vars set %s %s=%s", d.ae, n.Name, value)),
		})
	}
	if len(missing) > 0 {
		return missing
	}
	return nil
}
