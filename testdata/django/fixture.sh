# Makes the shop and its private packages as git repositories. Sourced by
# demo.sh and by tests; plain sh. Dates and authors are fixed, so that the same
# sources give the same commits each time.
#
#   here=testdata/django; . "$here/fixture.sh"
#   fixture_git DIR               git reads DIR/gitconfig and nothing else of this machine
#   fixture_libraries DIR BASE    DIR/team/lib-{crypto,auth,ui}.git, bare
#   fixture_shop DIR BASE         DIR/shop, a work tree with its first commit
#   fixture_bump DIR              lib-ui's second commit, and the shop's that takes it
#   fixture_break DIR             a commit of the shop whose postinstall fails
#
# BASE is what .gitmodules names the git server by, such as
# ssh://git@git.corp.local/team; nothing is fetched from there.

fixture_git() {
	cat >"$1/gitconfig" <<-END
		[user]
			name = Maria
			email = maria@corp.local
		[init]
			defaultBranch = main
		[core]
			autocrlf = false
		[commit]
			gpgsign = false
	END
	GIT_CONFIG_GLOBAL=$1/gitconfig
	GIT_CONFIG_NOSYSTEM=1
	GIT_TERMINAL_PROMPT=0
	export GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_TERMINAL_PROMPT
	unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
}

# _commit TREE DATE TITLE commits all of a work tree, gitlinks as they are in
# its index. File modes come from the index, not from a umask.
_commit() {
	git -C "$1" add --all -- . ':(exclude)vendor' ':(exclude)crypto'
	GIT_AUTHOR_DATE=$2 GIT_COMMITTER_DATE=$2 git -C "$1" commit --quiet --message "$3"
}

# _submodule TREE PATH URL COMMIT pins a submodule without a fetch.
_submodule() {
	mkdir -p "$1/$2"
	git -C "$1" config --file .gitmodules "submodule.$2.path" "$2"
	git -C "$1" config --file .gitmodules "submodule.$2.url" "$3"
	git -C "$1" update-index --add --cacheinfo "160000,$4,$2"
}

_head() { git -C "$1" rev-parse HEAD; }

# _publish DIR NAME puts DIR/src/NAME on the git server.
_publish() {
	[ -d "$1/team/$2.git" ] || git init --quiet --bare "$1/team/$2.git"
	git -C "$1/src/$2" push --quiet "$1/team/$2.git" main
}

fixture_libraries() {
	mkdir -p "$1/src" "$1/team"
	for name in lib-crypto lib-auth lib-ui; do
		cp -R "$here/$name" "$1/src/$name"
		git init --quiet "$1/src/$name"
		if [ $name = lib-auth ]; then
			_submodule "$1/src/lib-auth" crypto ../lib-crypto.git "$(_head "$1/src/lib-crypto")"
		fi
		_commit "$1/src/$name" '2026-01-05T09:00:00Z' "Add $name"
		_publish "$1" $name
	done
}

fixture_shop() {
	cp -R "$here/app" "$1/shop"
	git init --quiet "$1/shop"
	_submodule "$1/shop" vendor/django_company "$2/lib-ui.git" "$(_head "$1/src/lib-ui")"
	_submodule "$1/shop" vendor/auth "$2/lib-auth.git" "$(_head "$1/src/lib-auth")"
	_commit "$1/shop" '2026-01-06T10:00:00Z' "Open the shop"
}

fixture_bump() {
	sed -i 's/Welcome to the company store/Spring sale at the company store/' \
		"$1/src/lib-ui/django_company/greeting.py"
	_commit "$1/src/lib-ui" '2026-03-02T09:00:00Z' "Greet the spring"
	_publish "$1" lib-ui
	git -C "$1/shop" update-index --cacheinfo \
		"160000,$(_head "$1/src/lib-ui"),vendor/django_company"
	_commit "$1/shop" '2026-03-02T10:00:00Z' "Take the spring greeting"
}

fixture_break() {
	sed -i 's/^COMPANY_CURRENCY = .*/COMPANY_CURRENCY = "EURO"/' "$1/shop/shop/settings.py"
	_commit "$1/shop" '2026-03-03T10:00:00Z' "Price in euros"
}
