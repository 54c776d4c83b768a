#!/bin/bash
# Applies uncommitted changes to the working copy of /hgwork/src and leaves them uncommitted: content, additions, removals,
# renames, copies, modes, binary files. A working copy that has changes already is refused.
#
#   apply-working-copy.sh [--built] < PATCH
#
# --built   the changes leave a build of the changeset valid
# PATCH     what `hg diff --git` printed (HGPLAIN=1) against the changeset that is checked out; empty where only new files come, which are
#           sent after this
#
# Exit codes: 0 applied; 1 something failed, and nothing is applied; 2 wrong arguments.
set -euo pipefail
export LC_ALL=C.UTF-8 HGPLAIN=1 HGRCPATH=

die() { printf '%s\n' "apply-working-copy: $*" >&2; exit 1; }
hg() { /hgdev/venv-bootstrap/bin/hg --cwd /hgwork/src "$@"; }

built=
if [[ ${1:-} == --built ]]; then
    built=yes
    shift
fi
if (($# != 0)); then
    printf '%s\n' "usage: apply-working-copy.sh [--built] < PATCH" >&2
    exit 2
fi
[[ -d /hgwork/src/.hg ]] || die "/hgwork/src is not a Mercurial repository; was it prepared?"

patch=$(mktemp /hgwork/tmp/working-copy.XXXXXX)
trap 'rm -f "$patch"' EXIT
cat >"$patch"
if [[ -z $built ]]; then
    rm -f /hgwork/baked.json
    # What is built from here on is not of the changeset alone.
    : >/hgwork/built-with-changes
fi
[[ -s $patch ]] || exit 0

# The patch was made against exactly this changeset: an imprecise match would be a mistake, not a service. The import itself refuses a
# tree with changes; each start of hg is a noticeable part of an edit-run loop.
if ! hg --config patch.fuzz=0 --config patch.eol=strict import --quiet --no-commit "$patch" >&2; then
    hg update --quiet --clean --rev . || true
    die "the patch does not fit the changeset that is checked out"
fi
