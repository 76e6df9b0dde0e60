#!/bin/bash
# Runs Slipway and the git commands of its peers in turn on the same data, and
# prints how long each took and the ratios. Loopback only; a few minutes.
#
#   FILES=5000 COMMITS=200 MODULES=20 BIG=20000 ROUNDS=3 tools/bench/bench.sh
#
# peers: "clone" is git clone --recurse-submodules -j8; "dokku" is its worktree,
# submodule sync, submodule update --init --recursive and removal of .git;
# "floor" is git push to a hook that does nothing, and cp -a of the tree.
set -euo pipefail
export LC_ALL=C
umask 022
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
FILES=${FILES:-5000} COMMITS=${COMMITS:-200} MODULES=${MODULES:-20} BIG=${BIG:-20000} ROUNDS=${ROUNDS:-3}

"$root/tools/need.sh" git openssh-client openssh-server
(cd "$root" && make --no-print-directory build >/dev/null)
dir=$(mktemp -d "${TMPDIR:-/tmp}/slipway-bench.XXXXXX")
chmod 711 "$dir"
server='' sshd=''
clean() {
	status=$?
	trap - EXIT
	for pid in $server $sshd; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$dir"
	exit $status
}
trap clean EXIT
trap 'exit 130' INT TERM

export HOME=$dir GIT_CONFIG_NOSYSTEM=1
git config --global user.name Bench
git config --global user.email bench@example.com
git config --global init.defaultBranch main
git config --global protocol.file.allow always
git config --global advice.detachedHead false

# --- the source: a real sshd with git-shell
ssh-keygen -q -t ed25519 -N '' -f "$dir/host"
ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
echo "restrict,command=\"git-shell -c \\\"\$SSH_ORIGINAL_COMMAND\\\"\" $(cat "$dir/key.pub")" >"$dir/authorized"
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
for _ in 1 2 3 4 5; do
	port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	cat >"$dir/sshd_config" <<END
ListenAddress 127.0.0.1:$port
HostKey $dir/host
AuthorizedKeysFile $dir/authorized
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
AcceptEnv GIT_PROTOCOL
MaxStartups 100
END
	/usr/sbin/sshd -D -f "$dir/sshd_config" -E "$dir/sshd.log" &
	sshd=$!
	for _ in $(seq 100); do
		grep -q "listening on 127.0.0.1" "$dir/sshd.log" 2>/dev/null && break 2
		kill -0 $sshd 2>/dev/null || break
		sleep 0.05
	done
done
echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$dir/host.pub")" >"$dir/known_hosts"
base=ssh://$(id -un)@127.0.0.1:$port$dir/source
export GIT_SSH_COMMAND="ssh -F none -i $dir/key -o IdentitiesOnly=yes -o UserKnownHostsFile=$dir/known_hosts -o LogLevel=ERROR"

# --- the data: MODULES on three levels, the first of them big
make_repo() { # NAME FILES COMMITS SEED MODULE...
	local name=$1
	shift
	git init -q --bare "$dir/source/$name.git"
	/usr/bin/python3 "$here/data.py" "$@" | git -C "$dir/source/$name.git" fast-import --quiet --done
	git -C "$dir/source/$name.git" rev-parse main
}
mkdir "$dir/source"
started=$(date +%s)
top=() second=() left=$MODULES n=0
# every fourth top module has two below it, the first of which has one more
while [ "$left" -gt 0 ]; do
	n=$((n + 1))
	files=200
	[ "$n" != 1 ] || files=$BIG
	below=()
	if [ $((n % 4)) = 0 ] && [ "$left" -ge 4 ]; then
		leaf=$(make_repo "leaf$n" 100 20 $((n * 10 + 3)))
		one=$(make_repo "one$n" 100 20 $((n * 10 + 1)) "deep/leaf=$base/leaf$n.git=$leaf")
		two=$(make_repo "two$n" 100 20 $((n * 10 + 2)))
		below=("sub/one=$base/one$n.git=$one" "sub/two=$base/two$n.git=$two")
		left=$((left - 3))
	fi
	id=$(make_repo "lib$n" $files 20 $n "${below[@]}")
	top+=("vendor/lib$n=$base/lib$n.git=$id")
	left=$((left - 1))
done
make_repo app "$FILES" "$COMMITS" 4711 "${top[@]}" >/dev/null
echo "data: $FILES files, $COMMITS commits, $MODULES submodules (one of $BIG files), made in $(($(date +%s) - started)) s"

# --- Slipway
slipway() { "$root/bin/slipway" --home "$dir/home" "$@"; }
serve() { # a new DIR: an empty cache
	if [ -n "$server" ]; then kill "$server"; wait "$server" || true; fi
	rm -rf "$dir/home"
	mkdir -p "$dir/home/keys"
	install -m 600 "$dir/key" "$dir/home/keys/source"
	cp "$dir/known_hosts" "$dir/home/known_hosts"
	cp "$dir/known_hosts" "$dir/kh"
	cat >"$dir/home/server.toml" <<END
[ssh]
listen = "127.0.0.1:0"
[[sources]]
url = "$base/"
identity = "keys/source"
known_hosts = "known_hosts"
END
	"$root/bin/slipway" serve --home "$dir/home" 2>"$dir/server.log" &
	server=$!
	until grep -q '"message":"ready"' "$dir/server.log"; do kill -0 $server; sleep 0.05; done
	remote=ssh://deploy@$(sed -n 's/.*"ssh":"\([^"]*\)".*"ready".*/\1/p' "$dir/server.log")/shop/dev
	slipway key add bench --admin <"$dir/key.pub" >/dev/null
	git config --global core.sshCommand "ssh -F none -i $dir/key -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=$dir/kh -o LogLevel=ERROR"
}

results=$dir/results
took() { # WHAT WHO COMMAND...: keeps the seconds
	local what=$1 who=$2 from to
	shift 2
	sync
	from=$EPOCHREALTIME
	"$@" >"$dir/out" 2>"$dir/err" || { cat "$dir/out" "$dir/err" >&2; exit 1; }
	to=$EPOCHREALTIME
	echo "$what $who $(awk "BEGIN { printf \"%.3f\", $to - $from }")" | tee -a "$results"
}
clone() { git clone -q --recurse-submodules -j8 "$base/app.git" "$1"; }
deploy() { git -C "$dir/app" -c "core.sshCommand=$(git config --global core.sshCommand)" push "$remote" HEAD:main; }
dokku() { # after the push to a bare repository
	git -C "$dir/app" push -q "$dir/bare.git" HEAD:main
	rm -rf "$dir/tree"
	git -C "$dir/bare.git" worktree prune
	git -C "$dir/bare.git" worktree add -q --force --detach "$dir/tree" main
	git -C "$dir/tree" submodule -q sync
	git -C "$dir/tree" submodule -q update --init --recursive
	find "$dir/tree" -name .git -prune -exec rm -rf {} +
}
floor() {
	git -C "$dir/app" push -q "$dir/bare2.git" HEAD:main
	rm -rf "$dir/copy"
	cp -a "$dir/plain" "$dir/copy"
}
export -f clone deploy dokku floor
export dir base remote

for round in $(seq "$ROUNDS"); do
	echo "round $round"
	rm -rf "$dir"/app "$dir"/tree "$dir"/copy "$dir"/plain "$dir"/bare.git "$dir"/bare2.git "$dir"/fresh
	serve
	export remote
	took cold clone bash -c "clone $dir/fresh"
	mv "$dir/fresh" "$dir/app"
	(unset GIT_SSH_COMMAND; took cold slipway bash -c deploy)
	git init -q --bare "$dir/bare.git"
	git init -q --bare "$dir/bare2.git"
	git -C "$dir/app" push -q "$dir/bare.git" HEAD:main
	git -C "$dir/app" push -q "$dir/bare2.git" HEAD:main
	cp -a "$dir/app" "$dir/plain"
	find "$dir/plain" -name .git -prune -exec rm -rf {} +

	echo changed >>"$dir/app/d00/e00/f00000.txt"
	git -C "$dir/app" commit -qam "One file"
	(unset GIT_SSH_COMMAND; took one-file slipway bash -c deploy)
	took one-file dokku bash -c dokku
	took one-file floor bash -c floor

	libs=$dir/app/vendor/lib2
	git -C "$libs" fetch -q origin
	echo changed >>"$libs/d00/e00/f00000.txt"
	git -C "$libs" commit -qam "One file of a library"
	git -C "$libs" push -q "$dir/source/lib2.git" HEAD:refs/heads/round$round
	git -C "$dir/app" commit -qam "One submodule"
	(unset GIT_SSH_COMMAND; took one-module slipway bash -c deploy)
	took one-module dokku bash -c dokku

	git -C "$dir/app" commit -q --allow-empty -m "A message"
	(unset GIT_SSH_COMMAND; took message slipway bash -c deploy)
	grep -a "Tree " "$dir/err" | tail -n 1 || true
	took message copy bash -c 'rm -rf $dir/copy2; cp -a $dir/plain $dir/copy2'
done
connections=$(grep -c "Accepted publickey" "$dir/sshd.log" || true)

/usr/bin/python3 - "$results" "$root/docs/benchmarks.md" "$FILES" "$COMMITS" "$MODULES" "$BIG" "$ROUNDS" <<'END'
import collections, datetime, json, os, platform, statistics, sys
results, page, files, commits, modules, big, rounds = sys.argv[1:]
times = collections.defaultdict(list)
for line in open(results):
    what, who, t = line.split()
    times[what, who].append(float(t))
mid = {k: statistics.median(v) for k, v in times.items()}
rows = []
for (what, who), t in mid.items():
    ours = mid.get((what, "slipway"))
    rows.append((what, who, t, t / ours if ours else 0))
text = "| case | who | median s | times Slipway's |\n| --- | --- | --- | --- |\n"
for what, who, t, r in rows:
    text += f"| {what} | {who} | {t:.2f} | {r:.2f} |\n"
print("\n" + text)
cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
with open(page, "w") as f:
    f.write(f"""# Benchmarks

Written by `make bench` on {datetime.date.today()}: {os.cpu_count()} cores ({cpu}), Linux {platform.release()}.
Data: {files} files and {commits} commits in the app, {modules} submodules on three levels, one of {big} files; {rounds} rounds.
Source and server on loopback; every commit is pushed to Slipway and to the peers' commands in turn.

{text}
- `cold`: the first push with an empty cache, beside `git clone --recurse-submodules -j8`.
- `one-file`: one file changed; beside dokku's git commands, and the floor: `git push` to a hook that does nothing, and `cp -a` of the tree.
- `one-module`: one of the submodules changed.
- `message`: nothing changed but a commit's message; beside `cp -a` of the tree.
""")
json.dump([dict(case=a, who=b, seconds=t) for a, b, t, _ in rows], open(os.path.join(os.path.dirname(page), "..", "bin", "bench.json"), "w"), indent=1)
END
echo "ssh logins at the source: $connections"
