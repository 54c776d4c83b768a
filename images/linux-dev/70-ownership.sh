#!/bin/bash
# Makes sure that everything in /hgdev belongs to hg:hg and that the image holds what the machine contract promises.
#
# Runs as root. Input: none. The earlier steps work as hg, so that normally nothing is left to change here: on an overlay, a
# change of owner copies the whole file into the layer.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "70-ownership: $*"; }
die() { printf '%s\n' "70-ownership: $*" >&2; exit 1; }

say "giving /hgdev to hg:hg"
find /hgdev \( ! -user hg -o ! -group hg \) -exec chown -h hg:hg {} + || die "cannot give /hgdev to hg:hg"

say "checking the result"
as_hg() { setpriv --reuid=hg --regid=hg --init-groups --reset-env -- "$@"; }
as_hg sudo -n true || die "hg cannot use sudo without a password"
as_hg /hgdev/venv-bootstrap/bin/hg --cwd /hgdev/src log --rev . --template '{node}\n' || die "/hgdev/src is not a repository"
[[ -s /hgdev/baked.json ]] || die "/hgdev/baked.json is missing"
