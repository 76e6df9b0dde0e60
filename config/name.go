package config

import (
	"path"
	"strconv"
	"strings"
)

// name is CONTRACT's rule for the name of an app and of an environment.
var name = NewPattern(`^[a-z0-9][a-z0-9-]{0,62}$`)

// App is the valid name of an app.
type App struct{ name string }

// ParseApp accepts one name of 1 to 63 of a-z, 0-9 and '-', not led by '-'.
func ParseApp(s string) (App, error) {
	if !name.MatchString(s) {
		return App{}, badName("app", s, "shop")
	}
	return App{s}, nil
}

func (a App) String() string                { return a.name }
func (a App) MarshalText() ([]byte, error)  { return []byte(a.name), nil }
func (a *App) UnmarshalText(b []byte) error { v, err := ParseApp(string(b)); *a = v; return err }

// Env is the valid name of an environment.
type Env struct{ name string }

// ParseEnv accepts what ParseApp accepts.
func ParseEnv(s string) (Env, error) {
	if !name.MatchString(s) {
		return Env{}, badName("environment", s, "prod")
	}
	return Env{s}, nil
}

func (e Env) String() string                { return e.name }
func (e Env) MarshalText() ([]byte, error)  { return []byte(e.name), nil }
func (e *Env) UnmarshalText(b []byte) error { v, err := ParseEnv(string(b)); *e = v; return err }

// AppEnv is one app in one environment, written APP/ENV.
type AppEnv struct {
	app App
	env Env
}

// ParseAppEnv accepts APP/ENV, nothing around it.
func ParseAppEnv(s string) (AppEnv, error) {
	app, env, _ := strings.Cut(s, "/")
	if !name.MatchString(app) || !name.MatchString(env) {
		return AppEnv{}, badName("APP/ENV", s, "shop/prod")
	}
	return AppEnv{App{app}, Env{env}}, nil
}

// In pairs an app with an environment.
func (a App) In(e Env) AppEnv { return AppEnv{a, e} }

func (ae AppEnv) App() App                     { return ae.app }
func (ae AppEnv) Env() Env                     { return ae.env }
func (ae AppEnv) IsZero() bool                 { return ae.app.name == "" }
func (ae AppEnv) MarshalText() ([]byte, error) { return []byte(ae.String()), nil }
func (ae *AppEnv) UnmarshalText(b []byte) error {
	v, err := ParseAppEnv(string(b))
	*ae = v
	return err
}

func (ae AppEnv) String() string {
	if ae.IsZero() {
		return ""
	}
	return ae.app.name + "/" + ae.env.name
}

// Glob is a pattern over APP/ENV, such as shop/* or */dev: '*' and '?' stand
// for any characters of one of the two names.
type Glob struct{ pattern string }

// ParseGlob accepts two patterns joined by one '/'.
func ParseGlob(s string) (Glob, error) {
	ok := strings.Count(s, "/") == 1 && !strings.HasPrefix(s, "/") && !strings.HasSuffix(s, "/")
	for _, r := range s {
		ok = ok && strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-*?/", r)
	}
	if !ok {
		return Glob{}, &Error{
			Kind: Usage, Op: "parse", On: strconv.Quote(s),
			Err: errText("not a pattern over APP/ENV"), Hint: "use two patterns, such as 'shop/*' or '*/dev'",
		}
	}
	return Glob{s}, nil
}

func (g Glob) String() string                { return g.pattern }
func (g Glob) MarshalText() ([]byte, error)  { return []byte(g.pattern), nil }
func (g *Glob) UnmarshalText(b []byte) error { v, err := ParseGlob(string(b)); *g = v; return err }

// Match says whether the pattern covers ae.
func (g Glob) Match(ae AppEnv) bool {
	ok, err := path.Match(g.pattern, ae.String())
	return err == nil && ok
}

// Names says whether the pattern covers ae and spells its environment out,
// which is what a protected environment asks for: shop/prod and */prod name
// prod, shop/* does not.
func (g Glob) Names(ae AppEnv) bool {
	_, env, _ := strings.Cut(g.pattern, "/")
	return env == ae.env.name && g.Match(ae)
}

type errText string

func (e errText) Error() string { return string(e) }

func badName(what, s, example string) error {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return &Error{
		Kind: Usage, Op: "parse", On: what + " " + strconv.QuoteToASCII(s),
		Err:  errText("not a valid name"),
		Hint: "a-z, 0-9 and '-', at most 63 of them, not led by '-': such as " + example,
	}
}
