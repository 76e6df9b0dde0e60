#!/bin/sh
# Runs every check, then says which ones failed.
set -u
cd "$(dirname "$0")/.." || exit 1
tools=$PWD/bin/tools
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

failed=
check() {
	name=$1
	shift
	printf '%s\n' "-- $name"
	"$@" || failed="$failed $name"
}

# empty COMMAND...: fails when the command prints anything.
empty() {
	"$@" >"$scratch/out" 2>&1 || { cat "$scratch/out"; return 1; }
	cat "$scratch/out"
	[ ! -s "$scratch/out" ]
}

# The vulnerability database is a Go module too: no other network is needed.
vulnerabilities() {
	dir=$(go mod download -json golang.org/x/vulndb@latest | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	[ -n "$dir" ] || { echo "error: no golang.org/x/vulndb from the module proxy"; return 1; }
	"$tools/govulncheck" -format json -db "file://$dir/data/osv" ./... >"$scratch/vulns" || return 1
	"$tools/vulns" <"$scratch/vulns"
}

shell_scripts() {
	status=0
	for script in $(git ls-files --cached --others --exclude-standard '*.sh' .ci/run testdata/django/app/postinstall testdata/django/app/restart); do
		sh=$(sed -n '1s/.*bash.*/bash/p' "$script")
		"${sh:-sh}" -n "$script" || status=1
	done
	return $status
}

go build -C tools -o "$tools/" tool ./... || exit 1

check gofmt empty gofmt -l .
check gofumpt empty "$tools/gofumpt" -l .
check vet go vet ./...
check vet-tools go vet -C tools ./...
check staticcheck "$tools/staticcheck" ./...
check tools-test go test -C tools ./...
check layers "$tools/layers" .
check tidy go mod tidy -diff
check tidy-tools go -C tools mod tidy -diff
check shell shell_scripts
check govulncheck vulnerabilities

[ -z "$failed" ] || { printf '\nFAILED:%s\n' "$failed"; exit 1; }
printf '\nall checks passed\n'
