package config

import "strings"

// ServerTemplate is the commented server.toml that init writes: every key of
// what this version can do, with its default, unit and reason. LoadServer reads
// it as no settings at all.
func ServerTemplate() string { return template(builtIn()) }

// template leaves out the lines of what is not built in. A line that begins
// with "# " and a key or a table sets what it shows once these two bytes are
// gone.
func template(built []string) string {
	has := map[string]bool{"": true}
	for _, feature := range built {
		has[feature] = true
	}
	var b strings.Builder
	for _, part := range []struct{ feature, text string }{
		{"", `# Slipway's configuration. "slipway config check" says what is wrong with it,
# SIGHUP makes the server read it again. Every setting is shown with its default
# or, where there is none, with an example (e.g.). Paths are relative to the
# directory of this file. Sizes: 500MB, 2GiB. Durations: 90s, 10m, 1h30m.

[ssh]
# listen = ":2222"   # host:port; port 0 picks a free one
# address = ""       # how hints name this server, e.g. "deploy@ship.corp:2222"; "" is host name and port
`},
		{"user_ca", `# user_ca = "keys/user_ca.pub"   # e.g.; CAs whose user certificates let in as the key that a principal names
`},
		{"", `
[web]
# listen = ""        # dashboard, /metrics, /healthz, e.g. "127.0.0.1:8080"; "" is off

[limits]
# What a push may bring.
# push_bytes = "2GiB"      # one pushed pack; cut off while it comes
# tree_bytes = "8GiB"      # all files of a tree together
# tree_files = 500_000     # files of a tree
# blob_bytes = "1GiB"      # one file
# path_bytes = 4095        # one path in a tree; 4095 is what Linux takes
# links = "any"            # "inside" refuses symbolic links that lead out of the tree
# spare_bytes = "2GiB"     # the largest tree that is kept laid out once more for the next deploy; 0 keeps none

# Submodules.
# submodule_depth = 16     # levels below each other
# submodules = 256         # of one plan
# fetches_at_once = 8      # of one plan
# fetch_timeout = "10m"    # one submodule, with its retries
# cache_bytes = "20GiB"    # fetched repositories; the least recently used go first

# The server.
# deploys_at_once = 4      # over all apps; in one APP/ENV there is always one
# connections = 256        # of SSH, at once
# handshake = "20s"        # from the connection to the proved key
# drain = "10m"            # how long SIGTERM waits for running deploys

# Builds.
# sandbox = "prefer"       # "require" refuses to build where the kernel lacks a layer
# uids = "70000-99999"     # one for each APP/ENV, if root runs the server; nothing else may use them
# memory = 0               # bytes of one build, e.g. "2GiB"; 0 is no limit
# processes = 4096         # of one build
# cpus = 0                 # of one build; 0 is no limit
# open_files = 65_536      # of one process of a build
# log_bytes = "64MiB"      # one build's log; what comes after is dropped

# Where submodules may come from. The longest url that fits wins; everything
# else is refused. One [[sources]] for each server, or for each part of one that
# needs a credential of its own.
# [[sources]]
# url = "ssh://git@git.corp.local/"        # e.g.; everything below it
# identity = "keys/git_corp"               # e.g.; private key, mode 0600, without passphrase
# known_hosts = "known_hosts"              # pins the server's key; this file, if it is there, is the default
# apps = ["*/*"]                           # which APP/ENV may use it
# instead_of = ["git@github.com:corp/"]    # e.g.; beginnings of URLs that are replaced by url, as git's insteadOf

# [[sources]]
# url = "https://git.corp.local:8443/"     # e.g.
# username = "git"                         # what the server wants beside the token
# token = "file:keys/https_token"          # e.g.; or "env:NAME"; sent to this url only
# ca = "keys/corp-ca.pem"                  # e.g.; certificates beside the system's

# Places that apps are deployed to. Without any there is one: dev, local.
# [environments.dev]
# target = "local"
# root = "apps/dev"      # where releases live; the default is apps/NAME
# branch = ""            # the branch that deploys; "" is main, or else master
# keep = 5               # releases kept for rollback
# protected = false      # true: only keys granted it by name, and no force pushes
# user = ""              # runs builds, if root runs the server; "" is a uid for each APP/ENV
`},
		{"ssh", `
# [environments.prod]
# target = "ssh"
# hosts = ["deploy@app1.example.com", "deploy@app2.example.com:2200"]   # e.g.
# root = "/srv/apps"            # e.g.; on every host
# identity = "keys/prod"        # e.g.; private key, mode 0600, without passphrase
# known_hosts = "known_hosts"   # pins the hosts' keys; this file, if it is there, is the default
# via = ""                      # a jump host, e.g. "deploy@bastion"
# user = ""                     # runs builds, if the login is root or may become it by sudo -n; "" is the login
`},
		{"postgresql", `
# A server on which each APP/ENV that asks for postgresql gets a database and a
# role. [environments.NAME.services.postgresql] is for one environment alone.
# [services.postgresql]
# url = "file:keys/postgresql"                    # e.g.; postgres://LOGIN:PASSWORD@HOST/postgres; or "env:NAME"
# url_for_apps = "postgres://db.corp.local:5432"  # e.g.; the server as apps reach it; default: as in url
# create_databases = true   # a dotCloud app's login may make databases of its own, as it could there
`},
		{"", `
# What is known of an app before its first push.
# [apps.shop]
# upstream = "ssh://git@git.corp.local/team/shop.git"   # e.g.; relative submodule URLs are relative to it
`},
	} {
		if has[part.feature] {
			b.WriteString(part.text)
		}
	}
	return b.String()
}
