#!/bin/bash
# Brings the working copy of /hgwork/src to a changeset that was pushed into it, and removes everything else from it, ignored
# files and an earlier build included, unless that is to stay. Prints the node that is checked out.
#
#   sync-finish.sh [--again] NODE
#
# --again   a build of the same changeset that is in place stays
# NODE      the full hash, 40 hexadecimal digits
#
# Exit codes: 0 checked out; 1 something failed; 2 wrong arguments.
set -euo pipefail
# The configuration of the machine's owner must not take part: HGRCPATH empty, HGPLAIN set.
export LC_ALL=C.UTF-8 HGPLAIN=1 HGRCPATH=

die() { printf '%s\n' "sync-finish: $*" >&2; exit 1; }
hg() { /hgdev/venv-bootstrap/bin/hg --cwd /hgwork/src "$@"; }

again=
if [[ ${1:-} == --again ]]; then
    again=yes
    shift
fi
if (($# != 1)) || [[ ! $1 =~ ^[0-9a-f]{40}$ ]]; then
    printf '%s\n' "usage: sync-finish.sh [--again] NODE, where NODE has 40 hexadecimal digits" >&2
    exit 2
fi
node=$1
[[ -d /hgwork/src/.hg ]] || die "/hgwork/src is not a Mercurial repository; was it prepared?"

# A build that was made with changes is none of the changeset.
readonly baked=/hgwork/baked.json changed=/hgwork/built-with-changes
fits() { [[ -n $again && ! -e $changed ]] && grep -qF "\"node\": \"$node\"" "$baked" 2>/dev/null; }
if ! fits; then rm -f "$baked" "$changed"; fi
# Each start of hg is a noticeable part of an edit-run loop, so nothing is asked that the next command finds out. First back to a tree
# without changes, then the purge: what an unfinished earlier synchronisation had added counts as unknown only then.
hg --hidden update --quiet --clean --rev "$node" || die "cannot check out $node; did it arrive in /hgwork/src?"
# What the changeset ignores is the build's.
everything=(--all)
[[ ! -e $baked ]] || everything=()
hg --config extensions.purge= purge "${everything[@]}" || die "cannot purge /hgwork/src"
printf '%s\n' "$node"
