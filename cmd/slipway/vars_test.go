package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/config"
)

func (o *office) values(ae config.AppEnv) map[string]string {
	o.t.Helper()
	vars, err := o.store.Vars(o.t.Context(), ae)
	check(o.t, err)
	all := map[string]string{}
	for _, v := range vars {
		all[v.Name] = v.Value.Reveal()
	}
	return all
}

func TestVarsSet(t *testing.T) {
	o := newOffice(t)
	ana := o.key("ana", "--allow", "shop/dev")
	ae := appEnv(t, "shop/dev")
	pem := "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"
	for _, l := range []struct {
		name  string
		stdin string
		words []string
		want  map[string]string
		note  string
	}{
		{"arguments", "", []string{"A=1", "B=", `C=a"b'c$d\n`, "D=x=y"}, map[string]string{"A": "1", "B": "", "C": `a"b'c$d\n`, "D": "x=y"}, ""},
		{"lines", "", []string{"E=two\nlines\n"}, map[string]string{"E": "two\nlines\n"}, ""},
		{"standard input", pem, []string{"PEM"}, map[string]string{"PEM": pem}, ""},
		{"one line of it", "secret\n", []string{"F"}, map[string]string{"F": "secret\n"}, "note: the value of F ends in a newline, and keeps it\n"},
		{"no UTF-8", "\xff\xfe", []string{"G"}, map[string]string{"G": "\xff\xfe"}, ""},
		{"none of it", "", []string{"H"}, map[string]string{"H": ""}, ""},
		{"the most", strings.Repeat("x", 127<<10), []string{"I"}, map[string]string{"I": strings.Repeat("x", 127<<10)}, ""},
		{"what looks like a flag", "", []string{"--", "J=--stage"}, map[string]string{"J": "--stage"}, ""},
	} {
		t.Run(l.name, func(t *testing.T) {
			r := o.do(ana, l.stdin, append([]string{"vars", "set", "shop/dev"}, l.words...)...)
			if r.Status != 0 || r.Out != "" || !strings.HasPrefix(r.Err, l.note) {
				t.Fatalf("%+v", r)
			}
			all := o.values(ae)
			for name, v := range l.want {
				same(t, name, all[name], v)
			}
		})
	}
	before := o.values(ae)
	for _, l := range []struct {
		name, stdin string
		words       []string
		error       string
	}{
		{"a bad name after a good one", "", []string{"A=2", "b-c=3"}, "b-c"},
		{"one of ours", "", []string{"A=2", "SLIPWAY_APP=x"}, "SLIPWAY_APP"},
		{"the loader's", "", []string{"LD_PRELOAD=x"}, "LD_PRELOAD"},
		{"a service's", "", []string{"DATABASE_URL=x"}, "DATABASE_URL"},
		{"NUL", "a\x00b-hunter2", []string{"A"}, "NUL"},
		{"too much", strings.Repeat("x", 1<<20), []string{"A"}, "more than"},
		{"two from standard input", "x", []string{"A", "B"}, "standard input is for one KEY alone"},
		{"a value cut by a shell", "", []string{"A=good", "morning"}, "vars set shop/dev 'KEY=two words'\""},
		{"one twice", "", []string{"A=2", "A=3"}, "A is there twice"},
		{"no key", "", []string{"=x"}, ""},
	} {
		t.Run(l.name, func(t *testing.T) {
			r := o.do(ana, l.stdin, append([]string{"vars", "set", "shop/dev"}, l.words...)...)
			if r.Status != 2 || r.Out != "" || !strings.Contains(r.Err, l.error) || !strings.HasPrefix(r.Err, "error: ") {
				t.Errorf("%+v", r)
			}
			if strings.Contains(r.Err, "hunter2") {
				t.Errorf("the value is shown: %s", r.Err)
			}
			same(t, "changes nothing", o.values(ae), before)
		})
	}
	t.Run("unset", func(t *testing.T) {
		r := o.do(ana, "", "vars", "unset", "shop/dev", "A", "PEN")
		same(t, "unknown", r, result{4, "", "error: \"PEN\" is not set for shop/dev\nhint: did you mean PEM?\n"})
		same(t, "changes nothing", o.values(ae), before)
		o.must(ana, "", "vars", "unset", "shop/dev", "A", "PEM")
		delete(before, "A")
		delete(before, "PEM")
		same(t, "unset", o.values(ae), before)
	})
}

func TestVarsReveal(t *testing.T) {
	o := newOffice(t)
	ana := o.key("ana", "--allow", "shop/dev")
	ae := o.seed("shop/dev")
	o.must(ana, "tops3cret\x1b[2J", "vars", "set", "shop/dev", "TOKEN", "--stage")
	o.must(ana, "\xff", "vars", "set", "shop/dev", "RAW", "--stage")
	o.must(ana, "", "vars", "unset", "shop/dev", "N", "--stage")

	row := func(out, name string) string {
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); f[0] == name {
				return strings.Join(f, " ")
			}
		}
		return ""
	}
	hidden := o.must(ana, "", "vars", "list", "shop/dev")
	if strings.Contains(hidden, "tops3cret") {
		t.Errorf("a value is shown:\n%s", hidden)
	}
	same(t, "masked", row(hidden, "TOKEN"), "TOKEN set, staged 2026-11-25 07:05 ana ***")
	same(t, "unset since", row(hidden, "N"), "N unset, staged - - ***")
	events, err := o.store.Events(t.Context(), ae.String(), 1)
	check(t, err)
	same(t, "a masked list is no event", events[0].Action, "vars unset")

	shown := o.must(ana, "", "vars", "list", "shop/dev", "--reveal")
	same(t, "revealed", row(shown, "TOKEN"), `TOKEN set, staged 2026-11-25 07:05 ana "tops3cret\x1b[2J"`)
	events, err = o.store.Events(t.Context(), ae.String(), 9)
	check(t, err)
	same(t, "audited", []string{events[0].By, events[0].Action, events[0].Detail, events[0].Result}, []string{"ana", "vars list", "--reveal", "ok"})
	for _, e := range events {
		if strings.Contains(e.Detail+e.Result, "tops3cret") {
			t.Errorf("a value is in the audit log: %+v", e)
		}
	}

	read := func(argv ...string) map[string]variable {
		var list []variable
		check(t, json.Unmarshal([]byte(o.must(ana, "", append([]string{"vars", "list", "shop/dev", "--json"}, argv...)...)), &list))
		all := map[string]variable{}
		for _, v := range list {
			all[v.Name] = v
		}
		return all
	}
	masked, revealed := read(), read("--reveal")
	if masked["TOKEN"].Value != nil || *revealed["TOKEN"].Value != "tops3cret\x1b[2J" || *masked["DEBUG"].Value != "0" {
		t.Errorf("JSON: %+v, %+v", masked["TOKEN"], revealed["TOKEN"])
	}
	same(t, "bytes in JSON", revealed["RAW"].Base64, "/w==")

	// What the database holds is encrypted.
	for _, name := range []string{"slipway.db", "slipway.db-wal"} {
		text, err := os.ReadFile(filepath.Join(o.dir, name))
		if err == nil && strings.Contains(string(text), "tops3cret") {
			t.Errorf("a value lies open in %s", name)
		}
	}
}
