#!/bin/sh
# Runs every test with the race detector, and where root calls it once more as an
# ordinary user ($TEST_USER, else the first there is): what differs then is what
# the account may do, so the detector is not paid for twice. Both runs end before
# it says how each went. $TESTFLAGS goes to go test.
set -u
cd "$(dirname "$0")/.." || exit 1

ordinary() {
	[ -z "${TEST_USER:-}" ] || { echo "$TEST_USER"; return; }
	# One that can log in: tests start an sshd of their own.
	getent passwd | awk -F: '$3 >= 1000 && $3 < 60000 && $7 !~ /(nologin|false)$/ { print $1; exit }'
}

failed=
run() {
	name=$1
	shift
	printf '\n== tests as %s\n' "$name"
	# One package at a time: each starts servers and clients enough to keep two
	# cores busy, and some tests prove that something ends within seconds.
	# shellcheck disable=SC2086 # a list of flags
	go test -p 1 -timeout 30m "$@" ${TESTFLAGS:-} ./... || failed="$failed $name"
}

go test -race -run '^$' ./... >/dev/null || exit 1 # compiles in parallel

me=$(id -un)
run "$me" -race

if [ "$(id -u)" = 0 ]; then
	user=$(ordinary)
	if [ -z "$user" ]; then
		echo "error: there is no ordinary user to run the tests as" >&2
		echo "hint: useradd --create-home --shell /bin/bash slipway" >&2
		exit 1
	fi
	# The checkout may lie where only root may go, so the user gets a copy of
	# it, root's own and read-only to them. The name is short: paths of unix
	# sockets are.
	TEST_ROOT=$(mktemp -d /tmp/sw.XXXXXX)
	trap 'rm -rf "$TEST_ROOT"' EXIT
	trap 'exit 130' INT TERM
	mkdir "$TEST_ROOT/src" "$TEST_ROOT/bin" "$TEST_ROOT/home" "$TEST_ROOT/tmp"
	chmod 755 "$TEST_ROOT"
	chown "$user:" "$TEST_ROOT/home" "$TEST_ROOT/tmp"
	tar -c --exclude ./.git --exclude ./bin --exclude ./dist . | tar -x --no-same-owner -C "$TEST_ROOT/src" || exit 1
	chmod -R a+rX,go-w "$TEST_ROOT/src"
	TEST_USER=$user TEST_TREE=$PWD
	export TEST_ROOT TEST_USER TEST_TREE
	# The fault tests need a server of their own, which the user cannot build.
	SLIPWAY_FAULT_BINARY=$TEST_ROOT/slipway-faults
	CGO_ENABLED=0 go build -trimpath -tags faults -o "$SLIPWAY_FAULT_BINARY" ./cmd/slipway || exit 1
	export SLIPWAY_FAULT_BINARY
	go test -run '^$' ./... >/dev/null || exit 1 # compiles in parallel
	# -count=1: results of one user say nothing of the other's.
	run "$user" -count=1 -exec "$PWD/tools/asuser.sh"
fi

echo
[ -z "$failed" ] || { echo "FAILED as$failed"; exit 1; }
echo "all tests passed as $me${user:+ and as $user}"
