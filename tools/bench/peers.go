package main

// What the peers run, as sh scripts. Their variables: CLONE, the developer's
// clone; URL, the app at the source; HERE, a directory that is the peer's own;
// TO, a new directory for the result.

// A script would do this, and each push of many tools does.
const cloneAnew = `git clone -q --recurse-submodules -j8 "$URL" "$TO"`

// dokku's git plugin: a bare repository, and for each push a worktree of its own
// whose submodules are cloned anew, without any .git in the end.
const (
	dokkuSetUp = `git init -q --bare "$HERE/repo"`
	dokkuPush  = `
git -C "$CLONE" push -q "$HERE/repo" HEAD:main
git -C "$HERE/repo" worktree prune
git -C "$HERE/repo" worktree add -q --force --detach "$TO" main
cd "$TO"
git submodule -q sync
git submodule -q update --init --recursive
find . -name .git -prune -exec rm -rf {} +
`
)

// piku's do_deploy: one work directory for all pushes, which is not recursive.
const (
	pikuSetUp = `
git init -q --bare "$HERE/repo"
git -C "$CLONE" push -q "$HERE/repo" HEAD:main
git clone -q "$HERE/repo" "$HERE/app"
cd "$HERE/app"
git submodule -q init
git submodule -q update
`
	pikuPush = `
git -C "$CLONE" push -q "$HERE/repo" HEAD:main
commit=$(git -C "$HERE/repo" rev-parse main)
cd "$HERE/app"
git fetch -q
git reset -q --hard "$commit"
git submodule -q init
git submodule -q update
`
)

// The floor: a push to a repository whose hook does nothing, and a copy of the
// tree. PLAIN is the tree, without any .git.
const (
	floorSetUp = `
git init -q --bare "$HERE/repo"
printf '#!/bin/sh\nexit 0\n' >"$HERE/repo/hooks/pre-receive"
chmod +x "$HERE/repo/hooks/pre-receive"
git -C "$CLONE" push -q "$HERE/repo" HEAD:main
`
	floorPush = `
git -C "$CLONE" push -q "$HERE/repo" HEAD:main
cp -a "$PLAIN" "$TO"
`
	copyTree = `cp -a "$PLAIN" "$TO"`
)

// Ways to bring PLAIN to a host. RSH is the ssh command of its port, AT the
// login; LAST is the release before on the host.
const (
	rsyncInPlace = `rsync -a --delete -e "$RSH" "$PLAIN/" "$AT:$HERE/inplace/"`
	rsyncRelease = `rsync -a --delete --link-dest="$LAST" -e "$RSH" "$PLAIN/" "$AT:$TO/"`
	tarRelease   = `tar -C "$PLAIN" -cf - . | $RSH "$AT" "mkdir '$TO' && tar -C '$TO' -xf -"`
)
