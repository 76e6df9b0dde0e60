#!/bin/sh
# tools/asuser.sh BINARY ARGS...: for go test -exec. Runs one package's tests as
# $TEST_USER, in the copy of the tree that test.sh made below $TEST_ROOT.
set -eu

binary=$TEST_ROOT/bin/$$.test
cp "$1" "$binary" # go test's own is in a directory of root's
chmod 755 "$binary"
shift
cd "$TEST_ROOT/src${PWD#"$TEST_TREE"}"

exec setpriv --reuid "$TEST_USER" --regid "$(id -g "$TEST_USER")" --init-groups --inh-caps=-all --bounding-set=-all \
	env -i PATH="$PATH" LANG="${LANG:-C.UTF-8}" USER="$TEST_USER" LOGNAME="$TEST_USER" SHELL=/bin/sh \
	HOME="$TEST_ROOT/home" TMPDIR="$TEST_ROOT/tmp" PWD="$PWD" SLIPWAY_FAULT_BINARY="${SLIPWAY_FAULT_BINARY:-}" \
	"$binary" "$@"
