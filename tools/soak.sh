#!/bin/sh
# tools/soak.sh [TIME [SCALE]]: plays at random against the promises for TIME
# (10m), then measures a server that has much to do, at SCALE (1; 0.1 takes two
# minutes). $SEED repeats what was drawn. Loopback only; everything that it
# starts ends with it.
set -u
cd "$(dirname "$0")/.." || exit 1
SOAK_TIME=${1:-10m} SOAK_SCALE=${2:-1}
export SOAK_TIME SOAK_SCALE

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
go test -c -o "$scratch/slipway.test" ./cmd/slipway || exit 1

cd cmd/slipway || exit 1 # where the tests of a package run
failed=
run() {
	"$scratch/slipway.test" -test.timeout 0 -test.run "$1" || failed="$failed $2"
}
run '^TestFaults$/^model$' model
run '^TestLoad$' load

[ -z "$failed" ] || { printf '\nFAILED:%s\n' "$failed"; exit 1; }
