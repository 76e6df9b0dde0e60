package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

var badNames = []string{
	"", "-a", "A", "App", "a b", "a/b", "a.b", "a_b", "..", ".", "a\x00", "a\n", "\u00e4pp", "ap\u0440", "a\u200bb",
	"$(id)", "`id`", "a;id", "a'b", `a"b`, "a\\b", "~root", "*", strings.Repeat("a", 64),
}

func TestNames(t *testing.T) {
	for _, s := range []string{"a", "0", "shop", "shop-2", "a-", strings.Repeat("a", 63)} {
		if app, err := ParseApp(s); err != nil || app.String() != s {
			t.Errorf("app %q: %v", s, err)
		}
		if env, err := ParseEnv(s); err != nil || env.String() != s {
			t.Errorf("environment %q: %v", s, err)
		}
	}
	for _, s := range badNames {
		for _, parse := range []func(string) error{
			func(s string) error { _, err := ParseApp(s); return err },
			func(s string) error { _, err := ParseEnv(s); return err },
			func(s string) error { _, err := ParseAppEnv(s + "/dev"); return err },
			func(s string) error { _, err := ParseAppEnv("shop/" + s); return err },
		} {
			err := parse(s)
			if err == nil {
				t.Errorf("%q is taken", s)
				continue
			}
			if KindOf(err) != Usage || Hint(err) == "" || printable(err.Error()) != err.Error() {
				t.Errorf("%q: %v", s, err)
			}
		}
	}
	for _, s := range []string{"shop", "shop/dev/x", "/shop/dev", "shop/dev/", "shop/dev.git", "shop//dev", "/"} {
		if _, err := ParseAppEnv(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestNamesInJSON(t *testing.T) {
	ae, err := ParseAppEnv("shop/dev")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"ae": ae, "app": ae.App(), "env": ae.Env(), "glob": Glob{"*/dev"}})
	if want := `{"ae":"shop/dev","app":"shop","env":"dev","glob":"*/dev"}`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	var back struct {
		AE   AppEnv
		App  App
		Env  Env
		Glob Glob
	}
	if err := json.Unmarshal(text, &back); err != nil || back.AE != ae || back.App.In(back.Env) != ae || !back.Glob.Match(ae) {
		t.Errorf("%+v, %v", back, err)
	}
	for _, s := range []string{`{"AE":"x"}`, `{"App":"-"}`, `{"Env":""}`, `{"Glob":"x"}`} {
		if err := json.Unmarshal([]byte(s), &back); err == nil {
			t.Errorf("%s is taken", s)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		glob, ae     string
		match, names bool
	}{
		{"*/*", "shop/prod", true, false},
		{"shop/*", "shop/prod", true, false},
		{"shop/*", "shopping/prod", false, false},
		{"shop/*", "blog/prod", false, false},
		{"shop*/*", "shopping/prod", true, false},
		{"*/prod", "shop/prod", true, true},
		{"shop/prod", "shop/prod", true, true},
		{"shop/prod", "shop/prod2", false, false},
		{"shop/pro?", "shop/prod", true, false},
		{"s?op/prod", "shop/prod", true, true},
		{"blog/prod", "shop/prod", false, false},
	} {
		g, err := ParseGlob(c.glob)
		if err != nil {
			t.Fatal(err)
		}
		ae, err := ParseAppEnv(c.ae)
		if err != nil {
			t.Fatal(err)
		}
		if g.Match(ae) != c.match || g.Names(ae) != c.names {
			t.Errorf("%s for %s: match %v, names %v", c.glob, c.ae, g.Match(ae), g.Names(ae))
		}
	}
	for _, s := range []string{"", "*", "shop", "/", "shop/", "/dev", "a/b/c", "[a-z]/dev", "!shop/dev", "Shop/*", "shop/{a,b}", "shop\\/dev", "a b/c", "\u00e9/*"} {
		if _, err := ParseGlob(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range append(badNames, "shop/dev", "*/dev", "shop/*") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ae, err := ParseAppEnv(s); err == nil {
			if ae.String() != s || ae.App().In(ae.Env()) != ae {
				t.Fatalf("%q is %s", s, ae)
			}
			// A name by itself is a pattern that matches itself alone.
			if g, err := ParseGlob(s); err != nil || !g.Match(ae) || !g.Names(ae) {
				t.Fatalf("%q as a pattern: %v", s, err)
			}
		}
		if g, err := ParseGlob(s); err == nil && !overlap(g.pattern, g.pattern) {
			t.Fatalf("%q does not overlap itself", s)
		}
		if v, err := ParseApp(s); err == nil && v.String() != s {
			t.Fatalf("%q is %s", s, v)
		}
		if h, err := ParseHost(s); err == nil {
			if again, err := ParseHost(h.String()); err != nil || again != h {
				t.Fatalf("%q is %s, which is read as %s, %v", s, h, again, err)
			}
		}
		if text := checkListen(s); text == "" && strings.ContainsAny(s, " \n\x00") {
			t.Fatalf("%q to listen on", s)
		}
		if checkRelative(s) == "" && (strings.Contains("/"+s+"/", "/../") || s[0] == '/') {
			t.Fatalf("%q stays where it is", s)
		}
		if s != "" && checkBranch(s) == "" && (s[0] == '-' || strings.Contains(s, "..")) {
			t.Fatalf("%q is a branch", s)
		}
	})
}

func TestVarNames(t *testing.T) {
	for _, s := range []string{"A", "_", "API_TOKEN", "A1", "HOME_URL", "PATHS", "DATABASE_URL_2", "LDAP", "LANG", strings.Repeat("A", 255)} {
		if err := ParseVarName(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{
		"", "a", "api_token", "1A", "A=B", "A B", "A-B", "A\n", "A\x00", "\u00c4", strings.Repeat("A", 256),
		"LD_PRELOAD", "LD_", "SLIPWAY_APP", "DOTCLOUD_DB_SQL_URL", "DATABASE_URL", "HOME", "PATH", "TMPDIR",
	} {
		err := ParseVarName(s)
		if err == nil {
			t.Errorf("%q is taken", s)
			continue
		}
		if KindOf(err) != Usage || Hint(err) == "" || printable(err.Error()) != err.Error() {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "x", "a\nb\r\n", "$x 'y' \"z\"", "\xff", strings.Repeat("x", maxVarBytes)} {
		if err := CheckVarValue(s); err != nil {
			t.Errorf("%q: %v", cut(s), err)
		}
	}
	for _, s := range []string{"canary\x00", strings.Repeat("canary", 30_000)} {
		if err := CheckVarValue(s); err == nil || strings.Contains(err.Error(), "canary") || KindOf(err) != Usage {
			t.Errorf("%q: %v", cut(s), err)
		}
	}
}

func TestSecret(t *testing.T) {
	s := struct{ Token Secret }{NewSecret("canary")}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{string(text), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s.Token)} {
		if strings.Contains(shown, "canary") || strings.Contains(shown, "63616e617279") {
			t.Errorf("%s shows it", shown)
		}
	}
	if s.Token.Reveal() != "canary" || s.Token.IsZero() || !(Secret{}).IsZero() {
		t.Error("the value is not kept")
	}
}
