#!/bin/sh
# Makes, in the current directory, what the scripts of the screens push: the app
# shop with three private submodules, one of them nested, each with a working
# copy beside it. $REPOS is the source's directory, $SOURCE its URL.
set -e

new() { # new NAME: an empty repository on the source and a working copy
	git init -q --bare -b main "$REPOS/$1.git"
	git init -q "$1"
	git -C "$1" remote add origin "$REPOS/$1.git"
}

commit() { # commit NAME TITLE
	git -C "$1" add .
	git -C "$1" commit -qm "$2"
	if [ "$1" != shop ]; then
		git -C "$1" push -q origin main
	fi
}

new crypto
echo 'a cipher' >crypto/cipher.txt
commit crypto 'Start crypto'

new auth
echo 'who is who' >auth/auth.txt
git -C auth submodule --quiet add "$REPOS/crypto.git" crypto
git -C auth config -f .gitmodules submodule.crypto.url ../crypto.git
commit auth 'Start auth'

new ui
echo 'buttons' >ui/ui.txt
commit ui 'Start ui'

git init -q shop
cat >shop/postinstall <<'EOF'
#!/bin/sh
echo 'Installing 42 packages'
echo 'Applying migrations: 0001_initial ... OK'
echo '128 static files copied'
EOF
chmod +x shop/postinstall
for name in auth ui; do
	git -C shop submodule --quiet add "$REPOS/$name.git" "vendor/$name"
	git -C shop config -f .gitmodules "submodule.vendor/$name.url" "$SOURCE/$name.git"
done
commit shop 'Add gift cards'
