# A real sshd as the internal git server, for demo.sh and for tests; plain sh.
# It listens on a free port of 127.0.0.1, runs as whoever starts it, and serves
# DIR/team alone, by a forced command: read to one key, read and write to the
# other.
#
#   . "$here/gitserver.sh"
#   gitserver_start DIR     sets gitserver_pid and gitserver_port; DIR gets the
#                           keys reader and writer, sshd's host key, sshd.log
#                           and known_hosts
#   free_port               prints a port of 127.0.0.1 that nobody listens on

free_port() {
	/usr/bin/python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

gitserver_start() {
	for name in host reader writer; do
		ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$1/$name"
	done
	cat >"$1/serve" <<-END
		#!/bin/sh
		# What a key may run: git's two services, on the three repositories.
		may=\$1
		set -f
		set -- \$SSH_ORIGINAL_COMMAND
		service=\$1 name=\$2
		case "\$may \$service" in
		'read git-upload-pack' | 'write git-upload-pack' | 'write git-receive-pack') ;;
		*) echo "refused: \$service" >&2; exit 1 ;;
		esac
		for known in lib-crypto lib-auth lib-ui; do
			if [ "\$name" = "'/team/\$known.git'" ]; then
				exec "\$service" "$1/team/\$known.git"
			fi
		done
		echo "no such repository: \$name" >&2
		exit 1
	END
	chmod 755 "$1/serve"
	{
		echo "restrict,command=\"$1/serve read\" $(cat "$1/reader.pub")"
		echo "restrict,command=\"$1/serve write\" $(cat "$1/writer.pub")"
	} >"$1/authorized_keys"
	[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
	# Without PAM, sshd turns away an account whose password is locked.
	pam=no
	case $(getent shadow "$(id -un)" 2>/dev/null | cut -d: -f2) in '!'*) pam=yes ;; esac

	for try in 1 2 3 4 5; do
		gitserver_port=$(free_port)
		cat >"$1/sshd_config" <<-END
			ListenAddress 127.0.0.1:$gitserver_port
			HostKey $1/host
			AuthorizedKeysFile $1/authorized_keys
			PidFile none
			StrictModes no
			UsePAM $pam
			PasswordAuthentication no
			KbdInteractiveAuthentication no
			PermitRootLogin forced-commands-only
			AcceptEnv GIT_PROTOCOL
			LogLevel VERBOSE
		END
		/usr/sbin/sshd -D -f "$1/sshd_config" -E "$1/sshd.log" &
		gitserver_pid=$!
		while kill -0 "$gitserver_pid" 2>/dev/null; do
			if grep -q "^Server listening on 127.0.0.1 port $gitserver_port" "$1/sshd.log" 2>/dev/null; then
				echo "[127.0.0.1]:$gitserver_port $(cut -d' ' -f1,2 "$1/host.pub")" >"$1/known_hosts"
				return 0
			fi
			sleep 0.05
		done
		echo "sshd did not start on port $gitserver_port (try $try)" >&2
	done
	cat "$1/sshd.log" >&2
	return 1
}
