#!/bin/bash
# Installs packages in the versions of a later release of the distribution, where its own are too old for what is built here.
#
# Runs as root. Input:
#   HG_LATER_SUITE      the code name of that release
#   HG_LATER_PACKAGES   names of packages, separated by white space; they and nothing else are taken from it
#
# Only packages of plain Python can be meant: everything below them stays that of the release. apt checks them against the signed
# index of the later release, and fails where they need anything else from it or would drive out a package that is there. The
# system's own sources stay as they are.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

say() { printf '%s\n' "25-later-packages: $*"; }
die() { printf '%s\n' "25-later-packages: $*" >&2; exit 1; }

suite=${HG_LATER_SUITE:-}
[[ $suite =~ ^[a-z0-9.-]+$ ]] || die "HG_LATER_SUITE is '$suite', which is not the name of a release"
read -r -d '' -a packages <<<"${HG_LATER_PACKAGES:-}" || true
((${#packages[@]})) || die "HG_LATER_PACKAGES names no package"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -d "$work/lists/partial" "$work/parts"

# The release's own mirrors, and the same mirrors, components and keys for the later one.
targets=$(apt-get indextargets --no-release-info --format "\$(SITE)|\$(RELEASE)|\$(COMPONENT)|\$(SIGNED_BY)" \
    'Created-By: Packages')
[[ -n $targets ]] || die "apt knows no mirror, so there is none to ask for $suite"
# SUITE, or nothing for those of the release itself.
sources() {
    local uri release component key option
    while IFS='|' read -r uri release component key; do
        option=
        [[ $key == /* ]] && option="[signed-by=$key] "
        printf 'deb %s%s %s %s\n' "$option" "$uri" "${1:-$release}" "$component"
    done <<<"$targets"
}
{
    sources
    sources "$suite"
} | awk '!seen[$0]++' >"$work/sources.list"
{
    printf 'Package: *\nPin: release n=%s\nPin-Priority: -1\n\n' "$suite"
    printf 'Package: %s\nPin: release n=%s\nPin-Priority: 990\n' "${packages[*]}" "$suite"
} >"$work/preferences"

apt=(apt-get --quiet --yes --no-install-recommends
    -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root
    -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0
    -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=$work/parts"
    -o "Dir::Etc::preferences=$work/preferences" -o "Dir::State::lists=$work/lists"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)

say "loading the package lists of $suite"
"${apt[@]}" --error-on=any update || die "cannot load the package lists of $suite"
say "installing ${packages[*]} of $suite"
"${apt[@]}" install --no-remove "${packages[@]}" || die "cannot install the packages of $suite"
apt-get clean
rm -rf /var/cache/apt/*.bin
