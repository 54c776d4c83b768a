#!/bin/bash
# Installs what Mercurial's build and its test suite use, from the distribution's packages.
#
# Runs as root. Input:
#   HG_PACKAGES   names of packages, separated by white space; image.toml joins them per distribution
#
# The package lists are dropped again at the end: they would make up 70 MB of the layer, and a later step that needs them
# loads only those it needs, in two seconds.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

say() { printf '%s\n' "20-packages: $*"; }
die() { printf '%s\n' "20-packages: $*" >&2; exit 1; }

read -r -d '' -a packages <<<"${HG_PACKAGES:-}" || true
((${#packages[@]})) || die "HG_PACKAGES names no package"

# Without a sync after every file (a failed bake is thrown away whole), without translations of descriptions, and with
# patience for a mirror that hiccups.
apt=(apt-get --quiet --yes --no-install-recommends
    -o Acquire::Languages=none -o Acquire::Retries=3
    -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0)

say "loading the package lists"
"${apt[@]}" --error-on=any update || die "cannot load the package lists from the mirrors in /etc/apt"

say "installing ${#packages[@]} packages and what they need"
"${apt[@]}" install "${packages[@]}" || die "cannot install the packages for the test suite"

# A Mercurial on the PATH of everybody would be found by tests and by setup.py in place of the tree under test.
if command -v hg >/dev/null; then
    die "a package brought a system-wide $(command -v hg), which must not exist"
fi

say "dropping downloaded packages and lists"
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
