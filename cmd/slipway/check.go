package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"slipway/builder"
	"slipway/config"
)

type mistakeJSON struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Key  string `json:"key"`
	Text string `json:"text"`
	Hint string `json:"hint"`
}

// configCommand is "config check": every mistake in server.toml at once, on
// errs; with --json they are the document on out.
func configCommand(dir string, args []string, out, errs io.Writer) int {
	asJSON := slices.Contains(args, "--json")
	args = slices.DeleteFunc(slices.Clone(args), func(s string) bool { return s == "--json" })
	if len(args) != 1 || args[0] != "check" {
		return fail(errs, config.Errorf(config.Usage, "slipway config check [--home DIR]", "config takes the word check"))
	}
	_, err := config.LoadServer(dir)
	var wrong config.Mistakes
	switch {
	case err != nil && !errors.As(err, &wrong) && asJSON:
		return failJSON(errs, err)
	case err != nil && !errors.As(err, &wrong):
		return fail(errs, err)
	case asJSON:
		err = checkJSONText(out, wrong)
	default:
		err = checkText(dir, out, errs, wrong)
	}
	if err != nil {
		return fail(errs, err)
	}
	if len(wrong) > 0 {
		return int(config.Failed)
	}
	return 0
}

func checkText(dir string, out, errs io.Writer, wrong config.Mistakes) error {
	for _, line := range wrong.Lines() {
		if _, err := fmt.Fprintln(errs, builder.Clean(line)); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return nil
	}
	if path := filepath.Join(dir, config.ServerFile); missing(path) {
		if _, err := fmt.Fprintf(errs, "note: there is no %s; the defaults are in force\n", path); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, "ok")
	return err
}

func checkJSONText(out io.Writer, wrong config.Mistakes) error {
	all := []mistakeJSON{}
	for _, m := range wrong {
		all = append(all, mistakeJSON(m))
	}
	return writeJSON(out, all)
}
