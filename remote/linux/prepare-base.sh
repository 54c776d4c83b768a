#!/bin/sh
# Prepares a userland that is being bootstrapped, when its essential packages are there and all others are to come.
#
#   prepare-base.sh ROOT
#
# ROOT   the userland's root folder
#
# Tells `dpkg` to leave out documentation, which nothing on a machine reads (a tenth of a base's bytes, a sixth of its files), and
# takes away that of the essential packages. Puts a program that does nothing before the one that byte-compiles each Python
# package when it is configured: fifty packages one after another, where `compile-base.sh` does all at once on all processors.
# What it changes of a base counts as a revision of it: `model::image::BASE_REVISION`.
set -eu
cat >"$1/etc/dpkg/dpkg.cfg.d/90-left-out" <<'LIST'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/man/*
LIST
for folder in doc info lintian locale man; do
    [ ! -d "$1/usr/share/$folder" ] ||
        find "$1/usr/share/$folder" ! -type d ! -name copyright ! -name locale.alias -delete
done
printf '#!/bin/sh\n' >"$1/usr/local/sbin/py3compile"
chmod 755 "$1/usr/local/sbin/py3compile"
