package config

import (
	"net/url"
	"strings"
)

// services reads [services] or [environments.NAME.services].
func (l *loader) services(t *table) Services {
	var s Services
	l.needs(t, "postgresql", "postgresql", "leave it out; apps get sqlite")
	if p := t.table("postgresql"); t.has("postgresql") {
		s.PostgreSQL = l.postgresql(p)
	} else {
		_ = l.postgresqlKeys(p)
	}
	t.unknown()
	return s
}

func (l *loader) postgresqlKeys(t *table) *PostgreSQL {
	return &PostgreSQL{
		URL:        l.secret(t, "url", true),
		URLForApps: t.filled("url_for_apps", "postgres://db.corp.local:5432"),
		NoCreate:   !t.boolean("create_databases", true),
	}
}

func (l *loader) postgresql(t *table) *PostgreSQL {
	p := l.postgresqlKeys(t)
	const form = "postgres://LOGIN:PASSWORD@HOST:5432/postgres"
	if !t.has("url") {
		t.bad("url", "missing", `such as: url = "file:keys/postgresql", with `+form+" in that file")
	}
	if !p.URL.IsZero() {
		text := ""
		u, err := url.Parse(p.URL.Reveal())
		switch {
		case err != nil: // it would show the URL
			text = "not a URL"
		case u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "":
			text = "not a postgres:// URL"
		case u.Hostname() == "" && u.Query().Get("host") == "":
			text = "names no host"
		case u.User.Username() == "" && u.Query().Get("user") == "":
			text = "names no login"
		case u.Fragment != "":
			text = "has a '#' in it that is not encoded as %23"
		}
		if text != "" {
			t.bad("url", text, "such as "+form+"; encode what is special in it as %XX")
			p.URL = Secret{}
		} else if _, has := u.User.Password(); has && l.mode&0o077 != 0 && p.URL.Reveal() == t.values["url"] {
			t.bad("url", "a password in server.toml, which others may read", "chmod 600 server.toml, or: url = \"file:keys/postgresql\"")
		}
	}
	if p.URLForApps != "" {
		text := ""
		u, err := url.Parse(p.URLForApps)
		switch {
		case err != nil:
			text = "not a URL"
		case u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "":
			text = "not a postgres:// URL"
		case u.User != nil:
			text = "has a login in it, but each APP/ENV gets one of its own"
		case strings.Trim(u.Path, "/") != "":
			text = "has a database in it, but each APP/ENV gets one of its own"
		case u.Hostname() == "" && u.Query().Get("host") == "":
			text = "names no host"
		case u.Fragment != "":
			text = "has a '#' in it"
		}
		if text != "" {
			t.bad("url_for_apps", text, `such as: url_for_apps = "postgres://db.corp.local:5432?sslmode=require"`)
			p.URLForApps = ""
		}
	}
	return p
}
