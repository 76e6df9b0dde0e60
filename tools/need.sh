#!/bin/sh
# tools/need.sh WHAT ...: makes sure that what `make` needs beside Go is here.
# As root it installs what is missing from Debian's packages; else it prints
# the apt-get line that does, and exits 1.
set -eu

has() {
	case $1 in
	python3-django) /usr/bin/python3 -c 'import django' 2>/dev/null ;;
	python3-psycopg2) /usr/bin/python3 -c 'import psycopg2' 2>/dev/null ;;
	gunicorn) [ -x /usr/bin/gunicorn ] ;;
	postgresql) ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ;;
	openssh-server) [ -x /usr/sbin/sshd ] ;;
	openssh-client) command -v ssh >/dev/null && command -v ssh-keygen >/dev/null ;;
	util-linux) command -v setpriv >/dev/null ;;
	iproute2) command -v ip >/dev/null ;;
	libc6-dev) [ -e /usr/include/stdlib.h ] ;;
	ca-certificates) [ -e /etc/ssl/certs/ca-certificates.crt ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

if ! command -v go >/dev/null; then
	echo "error: go is not in PATH" >&2
	echo "hint: install Go $(sed -n 's/^go //p' "$(dirname "$0")/../go.mod") or newer from https://go.dev/dl/" >&2
	exit 1
fi

missing=
for package in "$@"; do
	has "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "error: not installed:$missing" >&2
	echo "hint: sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -y -qq --no-install-recommends $missing
