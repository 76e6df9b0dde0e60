package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"slipway/builder"
	"slipway/config"
	"slipway/hooks/submodule"
	"slipway/store"
)

func sourceURL(t *testing.T, s string) config.SourceURL {
	t.Helper()
	u, err := config.ParseSourceURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func printable(r rune) rune {
	if r <= ' ' || r > '~' || r == '[' {
		return '-'
	}
	return r
}

// TestShowPlan: what the pusher reads of a plan.
func TestShowPlan(t *testing.T) {
	commit := func(digit string) store.OID { return store.OID(strings.Repeat(digit, 40)) }
	module := func(path, digit string) store.Module {
		return store.Module{Path: path, Commit: commit(digit), URL: sourceURL(t, "ssh://git@git.corp.local/web/"+strings.Map(printable, path)+".git")}
	}
	report := func(path, digit string, state submodule.State) submodule.Report {
		r := submodule.Report{Module: module(path, digit), State: state, Source: "ssh://git@git.corp.local/"}
		if state == submodule.Fetched {
			r.Bytes, r.Took = 1258291, 400*time.Millisecond
		}
		return r
	}
	refused := report("mailer", "5", submodule.Refused)
	refused.Source, refused.Err = "", errors.New("mailer: no source of shop/staging covers its URL")
	refused.Detail = []string{"https://github.com/acme/mailer.git (.gitmodules line 10)"}
	second := report("queue", "6", submodule.Refused)
	second.Source, second.Err = "", errors.New("queue: the URL ../queue.git is relative, and the app's upstream is not known")
	away := report("ui", "4", submodule.Failed)
	away.Err, away.Tries = errors.New("cannot reach source git.corp.local:22"), "try 3 of 3, git.corp.local:22"
	said := report("ui", "4", submodule.Refused)
	said.Err = errors.New("ui: missing, or no access")
	said.Said = []string{"ERROR: repository not found", "\x1b[31m" + strings.Repeat("x", 90)}
	var many []submodule.Report
	var manyLive []store.Module
	for i := range 12 {
		r := report(fmt.Sprintf("m%02d", i), "1", submodule.Cached)
		many, manyLive = append(many, r), append(manyLive, r.Module)
	}
	many[3] = report("m03", "2", submodule.Fetched)
	deep := strings.Repeat("deep/", 12) + "module"
	live := func(m ...store.Module) *store.Release { return &store.Release{Plan: store.Plan{Modules: m}} }
	for _, c := range []struct {
		name     string
		reports  []submodule.Report
		warnings []string
		live     *store.Release
		dry      bool
		want     string
	}{
		{"none", nil, nil, nil, false, `
Plan      no submodules
`},
		{"first push", []submodule.Report{report("auth", "1", submodule.Fetched), report("auth/crypto", "2", submodule.Cached)}, nil, nil, false, `
Plan      2 submodules from git.corp.local
  auth                 1111111  fetched   1.2 MiB                  0.4s
  auth/crypto          2222222  cached
`},
		{"none changed", []submodule.Report{report("auth", "1", submodule.Cached)}, nil, live(module("auth", "1")), false, `
Plan      1 submodule, none changed
`},
		{
			"changed, new, removed",
			[]submodule.Report{report("auth", "2", submodule.Fetched), report("ui", "3", submodule.Cached)},
			nil,
			live(module("auth", "1"), module("old", "4")), false, `
Plan      2 submodules, 2 changed, 1 removed
  auth                 1111111 -> 2222222  fetched  1.2 MiB        0.4s
  ui                   3333333  cached
  old                  4444444  removed
`,
		},
		{"the last one removed", nil, nil, live(module("old", "4")), false, `
Plan      0 submodules, 1 removed
  old                  4444444  removed
`},
		{
			"dry run",
			[]submodule.Report{report("auth", "2", submodule.Cached), report("ui", "3", submodule.Fetched)},
			nil,
			live(module("auth", "1"), module("ui", "3")), true, `
Plan      2 submodules, 1 changed
  auth                 1111111 -> 2222222  git.corp.local/web/auth.git
  ui                   3333333  fetched   1.2 MiB                  0.4s
`,
		},
		{"refused, the second with its reason", []submodule.Report{report("auth", "1", submodule.Cached), refused, second}, nil, live(module("auth", "1")), false, `
Plan      3 submodules, 2 refused
  auth                 1111111  cached
  mailer               5555555  refused
      https://github.com/acme/mailer.git (.gitmodules line 10)
  queue                6666666  refused
      queue: the URL ../queue.git is relative, and the app's upstream
      is not known
`},
		{"unreachable", []submodule.Report{report("auth", "1", submodule.Cached), away}, nil, live(module("auth", "1"), module("ui", "3")), false, `
Plan      2 submodules, 1 changed
  auth                 1111111  cached
  ui                   4444444  try 3 of 3, git.corp.local:22
`},
		{"unreachable, and nothing changed", []submodule.Report{away}, nil, live(module("ui", "4")), false, `
Plan      1 submodule from git.corp.local
  ui                   4444444  try 3 of 3, git.corp.local:22
`},
		{"what the source said", []submodule.Report{said}, nil, nil, false, `
Plan      1 submodule from git.corp.local
  ui                   4444444  refused
  | ERROR: repository not found
  | ` + strings.Repeat("x", 90) + `
`},
		{"more than eight unchanged", many, nil, live(manyLive...), false, `
Plan      12 submodules, 1 changed
  m00                  1111111  cached
  m01                  1111111  cached
  m02                  1111111  cached
  m03                  1111111 -> 2222222  fetched  1.2 MiB        0.4s
  m04                  1111111  cached
  m05                  1111111  cached
  m06                  1111111  cached
  m07                  1111111  cached
  m08                  1111111  cached
  and 3 more, cached
`},
		{"a long path", []submodule.Report{report(deep, "1", submodule.Fetched)}, nil, nil, false, `
Plan      1 submodule from git.corp.local
  deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/module
                       1111111  fetched   1.2 MiB                  0.4s
`},
		{"a long path, dry", []submodule.Report{report(deep, "1", submodule.Cached)}, nil, nil, true, `
Plan      1 submodule from git.corp.local
  deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/module
                       1111111
      git.corp.local/web/deep/deep/deep/deep/deep/deep/deep/deep/deep/d
      eep/deep/deep/module.git
`},
		{"a hostile path", []submodule.Report{report("a\x1b[31m\nSuccess: x", "1", submodule.Skipped)}, nil, nil, false, `
Plan      1 submodule from git.corp.local
  "a\x1b[31m\nSuccess: x" 1111111  skipped
`},
		{"a warning", nil, []string{".gitmodules line 3: old is no submodule of this commit, ignored"}, nil, false, `
Plan      no submodules
  warning: .gitmodules line 3: old is no submodule of this commit,
           ignored
`},
	} {
		var b bytes.Buffer
		p := builder.NewProgress(builder.ProgressOptions{Pusher: &b, Now: time.Now})
		showPlan(p, submodule.Result{Reports: c.reports, Warnings: c.warnings}, c.live, c.dry)
		if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), b.String()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestQuoteTitle(t *testing.T) {
	for _, c := range []struct {
		title string
		width int
		want  string
	}{
		{"Add gift cards", 40, `"Add gift cards"`},
		{"Add gift cards", 14, `"Add gift ..."`},
		{"Add gift cards", -5, `"Add gif..."`},
		{"Grüße", 40, `"Gr\u00fc\u00dfe"`},
		{"Grüße und mehr", 14, `"Gr\u00fc..."`},
		{"a\"b\\", 40, `"a\"b\\"`},
		{"first\nsecond", 40, `"first"`},
		{"\x1b[31mred\x1b[0m", 40, `"red"`},
		{"", 40, `""`},
		{strings.Repeat("\xff", 50), 14, `"?????????..."`},
	} {
		if got := quoteTitle(c.title, c.width); got != c.want || len(got) > max(c.width, 12) {
			t.Errorf("%q in %d: %s, not %s", c.title, c.width, got, c.want)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Minute: "10m", 30 * time.Minute: "30m", time.Hour: "1h", 10 * time.Hour: "10h", 90 * time.Second: "1m30s",
		90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", 20 * time.Second: "20s", 0: "0s",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: %s, not %s", d, got, want)
		}
	}
}
