#!/bin/bash
# Brings the working copy of /hgwork/src to a changeset that was pushed into it, and removes everything else from it, ignored
# files and an earlier build included. Prints the node that is checked out.
#
#   sync-finish.sh NODE
#
# NODE   the full hash, 40 hexadecimal digits
#
# Exit codes: 0 checked out; 1 something failed; 2 wrong arguments.
set -euo pipefail
# The configuration of the machine's owner must not take part: HGRCPATH empty, HGPLAIN set.
export LC_ALL=C.UTF-8 HGPLAIN=1 HGRCPATH=

die() { printf '%s\n' "sync-finish: $*" >&2; exit 1; }
hg() { /hgdev/venv-bootstrap/bin/hg --cwd /hgwork/src "$@"; }

if (($# != 1)) || [[ ! $1 =~ ^[0-9a-f]{40}$ ]]; then
    printf '%s\n' "usage: sync-finish.sh NODE, where NODE has 40 hexadecimal digits" >&2
    exit 2
fi
node=$1
[[ -d /hgwork/src/.hg ]] || die "/hgwork/src is not a Mercurial repository; was it prepared?"

rm -f /hgwork/baked.json
hg --hidden log --rev "$node" --template '{node}' >/dev/null || die "changeset $node did not arrive in /hgwork/src"
# First back to a tree without changes, then the purge: what an unfinished earlier synchronisation had added counts as
# unknown only then.
hg --hidden update --quiet --clean --rev "$node" || die "cannot check out $node"
hg --config extensions.purge= purge --all || die "cannot purge /hgwork/src"
here=$(hg --hidden log --rev . --template '{node}')
[[ $here == "$node" ]] || die "checked out $here in place of $node"
printf '%s\n' "$here"
