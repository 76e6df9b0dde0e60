package main

import (
	"strings"
	"testing"

	"slipway/store"
)

// TestCompletion: what a shell is offered, to whom.
func TestCompletion(t *testing.T) {
	o := newOffice(t)
	o.seed("shop/dev")
	check(t, o.store.CreateApp(t.Context(), appEnv(t, "blog/dev").App()))
	o.must(onServer, "", "vars", "set", "shop/staging", "TOKEN=x", "COLOUR=red", "--stage")
	ana := o.key("ana", "--allow", "shop/dev", "--allow", "*/staging")
	maria := o.key("maria", "--admin")
	everywhere := "blog/dev blog/prod blog/staging shop/dev shop/prod shop/staging"
	for _, l := range []struct {
		who  store.Caller
		line string // its last word is the one that is being typed
		want string
	}{
		{onServer, "relea", "releases"},
		{onServer, "releases ", everywhere},
		{onServer, "releases shop/d", "shop/dev"},
		{onServer, "releases shop/dev ", ""},
		{onServer, "audit b", "blog/dev blog/prod blog/staging"},
		{onServer, "run shop/s", "shop/staging"},
		{onServer, "run shop/dev -- shop/", ""},
		{onServer, "show shop/dev ", "3 2 1"},
		{onServer, "rollback shop/dev 1", "1"},
		{onServer, "logs -f shop/dev ", "3 2 1"},
		{onServer, "logs nosuch ", ""},
		{onServer, "vars unset shop/staging ", "COLOUR TOKEN"},
		{onServer, "vars unset shop/staging TOKEN C", "COLOUR"},
		{onServer, "promote shop/dev ", "prod staging"},
		{onServer, "app destroy ", "blog shop"},
		{onServer, "key remove m", "maria"},
		{onServer, "completion ", "bash zsh fish"},
		{onServer, "help va", "vars"},
		{onServer, "help vars un", "unset"},
		{onServer, "vars s", "set"},
		{onServer, "lock shop/dev --rea", "--reason"},
		{onServer, "ser", "serve service"},

		{maria, "releases ", "blog/dev blog/staging shop/dev shop/staging"},
		{maria, "key remove ", "ana maria"},
		{ana, "releases ", "blog/staging shop/dev shop/staging"},
		{ana, "promote shop/dev ", "staging"},
		{ana, "show shop/prod ", ""},
		{ana, "vars unset shop/prod ", ""},
		{ana, "key remove ", ""},
		{ana, "app destroy ", ""},
		{ana, "ser", "service"},
	} {
		words := append([]string{"__completeNoDesc"}, strings.Split(l.line, " ")...)
		r := o.do(l.who, "", words...)
		got, directive, _ := strings.Cut(r.Out, ":")
		if r.Status != 0 || strings.Join(strings.Fields(got), " ") != l.want || !strings.HasPrefix(directive, "4\n") {
			t.Errorf("%s: %q: %+v, want %q", l.who.Name, l.line, r, l.want)
		}
	}
	same(t, "with what it is", o.must(ana, "", "__complete", "show", "shop/dev", "2"), "2\tlive 8be0d52\n:4\n")
	same(t, "a file", o.must(onServer, "", "__complete", "backup", "/v"), ":0\n")

	// Without a Slipway there are the words alone.
	bare := &office{app: &app{}, t: t}
	same(t, "no Slipway, a word", bare.must(onServer, "", "__completeNoDesc", "relea"), "releases\n:4\n")
	for _, line := range []string{"releases ", "show a/b ", "app destroy ", "key remove ", "vars unset a/b ", "service rotate a/b "} {
		same(t, line, bare.must(onServer, "", append([]string{"__complete"}, strings.Split(line, " ")...)...), ":4\n")
	}
	// A script for SSH brings the command along, one for the server does not.
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if s := o.must(ana, "", "completion", shell); !strings.Contains(s, "command ssh ship ") && !strings.Contains(s, "command ssh ship\n") {
			t.Errorf("%s over SSH: %s", shell, s)
		}
		if s := o.must(onServer, "", "completion", shell); strings.Contains(s, "ssh ship") || !strings.Contains(s, "__complete") {
			t.Errorf("%s on the server: %s", shell, s)
		}
	}
}
