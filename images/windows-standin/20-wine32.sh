#!/bin/bash
# Puts Wine's libraries of 32 bits for Windows, which the distribution ships for another architecture only, beside those of
# 64 bits. They are of exactly the same version, and come from the distribution's archive, signed as every package of it.
#
# Runs as root. Needs the network. Input: none. May be run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "20-wine32: $*"; }
die() { printf '%s\n' "20-wine32: $*" >&2; exit 1; }

readonly place=/usr/lib/x86_64-linux-gnu/wine
readonly program=i386-windows/rundll32.exe

[[ -d $place ]] || die "$place is not there; \`wine64\` belongs to the packages of the base"
version=$(dpkg-query --show --showformat='${Version}' libwine) || die "the package libwine is not installed"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# The lists of the other architecture are read into a folder of their own, so that none of its packages can ever come in.
mkdir -p "$work/lists/partial" "$work/archives/partial"
chown -R _apt "$work/lists" "$work/archives"
options=(-o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work" -o "Dir::Cache::archives=$work/archives"
    -o APT::Architecture=i386 -o APT::Architectures=i386)
say "reading the lists of the other architecture"
# One archive of several may be out of step; whether the package can be had is seen below.
apt-get "${options[@]}" --quiet update || say "some lists cannot be read; going on with the others"
say "fetching libwine $version"
(cd "$work" && apt-get "${options[@]}" --quiet download "libwine:i386=$version") \
    || die "cannot fetch libwine $version of 32 bits: is the archive's mirror complete?"

say "unpacking"
dpkg-deb --fsys-tarfile "$work"/libwine_*_i386.deb \
    | tar --extract --directory "$place" --strip-components 5 --no-same-owner ./usr/lib/i386-linux-gnu/wine/i386-windows \
    || die "cannot unpack libwine"
[[ -s $place/$program ]] || die "the package has no \`$program\`"
