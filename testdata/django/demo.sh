#!/bin/bash
# The whole road: a Django app whose code is spread over private submodules
# goes live by `git push deploy main`. Needs Go and Debian's packages, no
# network but loopback. KEEP=1 leaves the server running at the end.
set -euo pipefail
export LC_ALL=C
umask 022

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/fixture.sh"
. "$here/gitserver.sh"

"$root/tools/need.sh" git openssh-client openssh-server curl python3-django gunicorn
(cd "$root" && make --no-print-directory build)
PATH=$root/bin:$PATH

dir=$(mktemp -d "${TMPDIR:-/tmp}/slipway-demo.XXXXXX")
chmod 711 "$dir" # a root server builds as other users, below it
home=$dir/slipway
server_pid='' gitserver_pid=''

stop_web() {
	local pid
	for file in "$home"/apps/*/shop/shared/run/gunicorn.pid; do
		pid=$(cat "$file" 2>/dev/null) || continue
		if grep -qa gunicorn "/proc/$pid/cmdline" 2>/dev/null; then
			kill "$pid"
			while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
		fi
	done
}

# stop PID...: ends what this script started, and waits for it.
stop() {
	for pid in "$@"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
}

clean() {
	local status=$?
	trap - EXIT
	if [ "$status" = 0 ] && [ -n "${KEEP:-}" ]; then exit 0; fi
	if [ "$status" != 0 ]; then
		printf '\nerror: the demo stopped at: %s\n' "${step:-start}" >&2
		tail -n 20 "$dir/server.log" >&2 || true
	fi
	# shellcheck disable=SC2086 # empty where it never started
	stop $server_pid
	stop_web
	# shellcheck disable=SC2086
	stop $gitserver_pid
	rm -rf "$dir"
	exit "$status"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# say TITLE: a heading.
say() {
	step=$1
	printf '\n== %s\n' "$1"
}

# show COMMAND...: prints it as a user would type it, runs it, keeps what it
# printed in $dir/seen.
show() {
	printf '\n$ %s\n' "$*"
	"$@" 2>&1 | tee "$dir/seen"
}

# refused COMMAND...: the same for one that has to fail.
refused() {
	if show "$@"; then
		echo "error: this had to fail: $*" >&2
		return 1
	fi
	echo "(exit status not 0, as it should be)"
}

# saw TEXT: what the last command printed must hold TEXT.
saw() {
	if ! grep -qF -- "$1" "$dir/seen"; then
		echo "error: not in what was printed: $1" >&2
		return 1
	fi
}

# page ENV TEXT...: fetches the page of an environment and looks for each text.
page() {
	local url=http://127.0.0.1:${port[$1]}/
	shift
	show curl --silent --show-error --fail --max-time 10 "$url"
	for text in "$@"; do saw "$text"; done
}

say "The internal git server: sshd, and three private repositories"
fixture_git "$dir"
base=ssh://git@git.corp.local/team
fixture_libraries "$dir" $base
gitserver_start "$dir"
git config --file "$dir/gitconfig" "url.ssh://$(id -un)@127.0.0.1:$gitserver_port/.insteadOf" ssh://git@git.corp.local/
(cd "$dir/team" && ls -d -- *.git)

say "The app: Django, its private packages as submodules"
fixture_shop "$dir" $base
cd "$dir/shop"
show cat .gitmodules
show git ls-files --stage vendor

say "The server: three environments, one source"
show slipway init --home "$home"
mkdir -p -m 700 "$home/keys"
install -m 600 "$dir/reader" "$home/keys/git_corp"
cp "$dir/known_hosts" "$home/known_hosts"
cat >"$home/server.toml" <<END
[ssh]
listen = "127.0.0.1:0"

[[sources]]
url         = "ssh://$(id -un)@127.0.0.1:$gitserver_port/"
identity    = "keys/git_corp"
known_hosts = "known_hosts"
instead_of  = ["ssh://git@git.corp.local/"]

[environments.dev]
target = "local"

[environments.staging]
target = "local"

[environments.prod]
target = "local"
END
show cat "$home/server.toml"
show slipway config check --home "$home"
ssh-keygen -q -t ed25519 -N '' -C maria -f "$dir/maria"
show slipway --home "$home" key add maria --allow 'shop/*' <"$dir/maria.pub"
slipway serve --home "$home" 2>"$dir/server.log" &
server_pid=$!
until grep -q '"message":"ready"' "$dir/server.log"; do
	kill -0 $server_pid
	sleep 0.05
done
address=$(sed -n '/"message":"ready"/s/.*"ssh":"\([^"]*\)".*/\1/p' "$dir/server.log")

# What a developer has in ~/.ssh/config, and two keys: for Slipway, and for the
# internal git server.
cat >"$dir/ssh_config" <<END
Host ship
  HostName ${address%:*}
  Port ${address##*:}
  User deploy
  IdentityFile $dir/maria
  UserKnownHostsFile $dir/ship_known_hosts
Host 127.0.0.1
  IdentityFile $dir/writer
  UserKnownHostsFile $dir/known_hosts
Host *
  IdentitiesOnly yes
  IdentityAgent none
END
echo "[${address%:*}]:${address##*:} $(ssh-keygen -y -f "$home/host_ed25519" | cut -d' ' -f1,2)" >"$dir/ship_known_hosts"
export GIT_SSH_COMMAND="ssh -F $dir/ssh_config"
ssh() { command ssh -F "$dir/ssh_config" "$@"; }
show ssh -T ship

say "git push deploy main"
declare -A port
for env in dev staging prod; do
	port[$env]=$(free_port)
	ssh ship vars set shop/$env WEB_PORT="${port[$env]}"
	head -c 32 /dev/urandom | base64 | ssh ship vars set shop/$env SECRET_KEY
done
show git remote add deploy ship:shop/dev
show git push --progress deploy main
saw "Success: shop/dev is live as release 1"
page dev "Welcome to the company store" "Blue teapot, 2450 cents EUR" "release 1"
echo "(the heading is code of vendor/django_company, the teapot a row of the database)"

say "A second commit, which takes one submodule's next version"
fixture_bump "$dir"
show git log --oneline
show git push --progress deploy main
saw "Success: shop/dev is live as release 2"
page dev "Spring sale at the company store" "Blue teapot, 2450 cents EUR" "release 2"

say "The same commit to staging and to prod"
for env in staging prod; do
	show git push --progress ship:shop/$env main
	saw "Success: shop/$env is live as release 1"
	page $env "Spring sale at the company store" "shop/$env, release 1"
done

say "A postinstall that fails changes nothing"
fixture_break "$dir"
refused git push --progress deploy main
saw "COMPANY_CURRENCY is 'EURO'"
saw "[remote rejected] main -> main"
[ "$(git ls-remote deploy refs/heads/main | cut -f1)" = "$(git rev-parse main^)" ]
page dev "Spring sale at the company store" "Blue teapot, 2450 cents EUR" "release 2"

say "Back to the release before"
show ssh ship rollback shop/dev
page dev "Welcome to the company store" "Blue teapot, 2450 cents EUR"
show ssh ship releases shop/dev

if [ -n "${KEEP:-}" ]; then
	say "The server goes on"
	cat <<END
the shop:    $dir/shop (the remote "deploy" is shop/dev)
to push:     cd $dir/shop
             export GIT_CONFIG_GLOBAL=$dir/gitconfig
             export GIT_SSH_COMMAND="$GIT_SSH_COMMAND"
             git push deploy main
the remote:  ssh://deploy@$address/shop/dev
the page:    http://127.0.0.1:${port[dev]}/
the log:     $dir/server.log
to end it:   kill $server_pid $gitserver_pid $(cat "$home"/apps/*/shop/shared/run/gunicorn.pid | tr '\n' ' ')
             rm -rf $dir
END
fi
say "Done in ${SECONDS}s"
