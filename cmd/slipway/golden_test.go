package main

import (
	"strings"
	"testing"

	"slipway/store"
)

// text cuts the margin that a golden text has in its test.
func text(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimLeft(l, "\t")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

func TestLists(t *testing.T) {
	o := newOffice(t)
	maria := o.key("maria", "--admin", "--allow", "*/prod")
	o.seed("shop/dev") // three hours
	ana := o.key("ana", "--allow", "shop/*", "--allow", "*/dev")
	o.key("new")
	check(t, o.store.AddAttempt(t.Context(), store.Attempt{
		Fingerprint: "SHA256:abc", User: "git\x1b[31m", Addr: "203.0.113.9:4711", AuthorizedKey: "ssh-ed25519 AAAA",
	}))
	check(t, o.store.SetLock(t.Context(), appEnv(t, "shop/dev"), store.Lock{By: "ana", Reason: "inventory", Since: o.clock}))

	for _, l := range []struct {
		name  string
		by    store.Caller
		argv  []string
		lists string
		says  string
	}{
		{"greeting of an admin", maria, nil, `
			Hi maria (key maria@laptop, admin)

			You may deploy every APP/ENV, and by name */prod.
			Protected, so only by name: prod.

			APP/ENV       LIVE  COMMIT   SINCE
			shop/dev      2     8be0d52  2026-11-25 05:05
			shop/prod     -     -        -
			shop/staging  -     -        -

			help lists the commands.
			`, ""},
		{"greeting of a developer", ana, nil, `
			Hi ana (key ana@laptop)

			You may deploy shop/*, */dev.
			Protected, so only by name: prod.

			APP/ENV       LIVE  COMMIT   SINCE
			shop/dev      2     8be0d52  2026-11-25 05:05
			shop/staging  -     -        -

			help lists the commands.
			`, ""},
		{"greeting of a key without rights", store.Caller{Name: "new", Fingerprint: "SHA256:new"}, nil, `
			Hi new (key new@laptop)

			You may deploy nothing yet: an admin can allow it with key add.

			help lists the commands.
			`, ""},
		{"greeting on the server", onServer, nil, `
			Hi root (on the server itself, admin)

			You may deploy every APP/ENV.

			APP/ENV       LIVE  COMMIT   SINCE
			shop/dev      2     8be0d52  2026-11-25 05:05
			shop/prod     -     -        -
			shop/staging  -     -        -

			help lists the commands.
			`, ""},
		{"key list", maria, []string{"key", "list"}, `
			NAME   RIGHTS         FINGERPRINT                                         ADDED             COMMENT
			ana    shop/*, */dev  ANA  2026-11-25 07:05  ana@laptop
			new    no rights      NEW  2026-11-25 07:05  new@laptop
			maria  admin, */prod  MARIA  2026-11-25 04:05  maria@laptop
			`, ""},
		{"key attempts", maria, []string{"key", "attempts"}, `
			LAST              TIMES  USER           ADDRESS           FINGERPRINT  KEY
			2026-11-25 07:05  1      "git\x1b[31m"  203.0.113.9:4711  SHA256:abc   ssh-ed25519 AAAA
			`, ""},
		{"app list", ana, []string{"app", "list"}, `
			APP   CREATED           LIVE
			shop  2026-11-25 04:05  dev=8be0d52
			`, ""},
		{"releases", ana, []string{"releases", "shop/dev"}, `
			RELEASE  STATE    COMMIT   CREATED           TOOK  BY     REASON  TITLE
			3        failed   51d7a0e  2026-11-25 06:05  4.5s  maria  push    Bump Django
			2        live     8be0d52  2026-11-25 05:05  4.5s  maria  push    "Round prices\x1b[2J"
			1        retired  4f2a9c1  2026-11-25 04:05  4.5s  maria  push    Add gift cards
			`, "note: shop/dev is locked by ana since 2026-11-25 07:05: inventory\n"},
		{"show", ana, []string{"show", "shop/dev"}, `
			shop/dev release 2, live

			commit    8be0d52c6a4f1e3d5b7a9c8e6f4d2b1a3c5e7f90
			title     "Round prices\x1b[2J"
			ref       refs/heads/main
			created   2026-11-25 05:05 UTC by maria (push)
			took      4.5s (plan 0.3s, tree 0.1s, build 3.9s, switch 0.1s)
			tree      1,205 files, 18 MiB, abababababababababababababababababababababababababababababababab
			settings  slipway.toml

			SUBMODULE    COMMIT   URL
			vendor/auth  c3f8d10  git.corp.local/team/auth.git
			vendor/ui    e91b7f3  git.corp.local/web/ui.git

			changed since release 1
			  module   vendor/ui c3f8d10 -> e91b7f3
			  var      N changed
			  files    +0 -0 ~0
			`, ""},
		{"show of one that failed", ana, []string{"show", "shop/dev", "3"}, `
			shop/dev release 3, failed

			commit    51d7a0e9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3
			title     Bump Django
			ref       refs/heads/main
			created   2026-11-25 06:05 UTC by maria (push)
			took      4.5s (plan 0.3s, tree 0.1s, build 3.9s, switch 0.1s)
			tree      1,206 files, 18 MiB, abababababababababababababababababababababababababababababababab
			settings  slipway.toml
			error     postinstall exited 1; release 2 (8be0d52) is still live

			changed since release 2
			  module   vendor/auth removed
			  module   vendor/ui removed
			  var      N changed
			  files    +0 -0 ~0
			`, ""},
		{"vars list", ana, []string{"vars", "list", "shop/dev"}, `
			NAME                      FROM                     SET               BY     VALUE
			DATABASE_URL              service db               -                 -      ***
			DEBUG                     slipway.toml [vars.dev]  -                 -      0
			DJANGO_SETTINGS_MODULE    slipway.toml             -                 -      shop.settings
			DOTCLOUD_DB_SQL_HOST      service db               -                 -      ***
			DOTCLOUD_DB_SQL_LOGIN     service db               -                 -      ***
			DOTCLOUD_DB_SQL_PASSWORD  service db               -                 -      ***
			DOTCLOUD_DB_SQL_PORT      service db               -                 -      ***
			DOTCLOUD_DB_SQL_URL       service db               -                 -      ***
			N                         set                      2026-11-25 07:05  maria  ***
			TOKEN                     set                      2026-11-25 07:05  maria  ***
			`, ""},
	} {
		t.Run(l.name, func(t *testing.T) {
			want := text(l.lists)
			for _, name := range []string{"ana", "new", "maria"} {
				_, fingerprint := publicKey(t, name)
				want = strings.ReplaceAll(want, "  "+strings.ToUpper(name)+"  ", "  "+fingerprint+"  ")
			}
			same(t, l.name, unmargin(o.do(l.by, "", l.argv...)), result{0, want, l.says})
		})
	}
}

// unmargin cuts the margin off what a command printed, as text does.
func unmargin(r result) result {
	lines := strings.Split(r.Out, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimLeft(l, "\t")
	}
	r.Out = strings.Join(lines, "\n")
	return r
}

// A title, a name or a value that came from outside moves no cursor.
func TestShow(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "-",
		"Round prices":          "Round prices",
		"Größe":                 "Größe",
		"a\tb":                  `"a\tb"`,
		"\x1b]0;x\x07":          `"\x1b]0;x\a"`,
		"two\nlines":            `"two\nlines"`,
		" padded":               `" padded"`,
		"gro\u202etxe":          `"gro\u202etxe"`,
		"\xff":                  `"\xff"`,
		`C:\dir`:                `"C:\\dir"`,
		`say "hi"`:              `say "hi"`,
		`"forged"`:              `"\"forged\""`,
		"\u009b2J":              `"\u009b2J"`,
		"zero\u200bwidth":       `"zero\u200bwidth"`,
		"-----BEGIN KEY-----\n": `"-----BEGIN KEY-----\n"`,
	} {
		same(t, in, show(in), want)
	}
}
