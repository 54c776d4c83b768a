#!/bin/bash
# Brings a Python beyond the system's to /hgdev/pyenv/versions/NAME/bin/python, from the distribution's packages.
#
# Runs as root. Input:
#   HG_PYTHON_VERSION      its name, as `--python-version` takes it: pypy3, 3.11, ...
#   HG_PYTHON_PACKAGES     the packages that carry it, separated by white space
#   HG_PYTHON_EXECUTABLE   where these put the interpreter
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

say() { printf '%s\n' "50-python: $*"; }
die() { printf '%s\n' "50-python: $*" >&2; exit 1; }

name=${HG_PYTHON_VERSION:-}
[[ $name =~ ^[a-z0-9][a-z0-9.]*$ ]] || die "HG_PYTHON_VERSION is '$name', which is not the name of a Python"
[[ ${HG_PYTHON_EXECUTABLE:-} == /* ]] || die "HG_PYTHON_EXECUTABLE is not an absolute path"
read -r -d '' -a packages <<<"${HG_PYTHON_PACKAGES:-}" || true
((${#packages[@]})) || die "HG_PYTHON_PACKAGES names no package"

apt=(apt-get --quiet --yes --no-install-recommends
    -o Acquire::Languages=none -o Acquire::Retries=3
    -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0)

say "loading the package lists"
"${apt[@]}" --error-on=any update || die "cannot load the package lists from the mirrors in /etc/apt"
say "installing ${packages[*]}"
"${apt[@]}" install "${packages[@]}" || die "cannot install the packages of $name"
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin

[[ -x $HG_PYTHON_EXECUTABLE ]] || die "the packages of $name brought no $HG_PYTHON_EXECUTABLE"
bin=/hgdev/pyenv/versions/$name/bin
install -d -o hg -g hg /hgdev/pyenv /hgdev/pyenv/versions "/hgdev/pyenv/versions/$name" "$bin"
ln -sfn "$HG_PYTHON_EXECUTABLE" "$bin/python"
ln -sfn python "$bin/python3"
chown -h hg:hg "$bin/python" "$bin/python3"
say "$bin/python is $("$bin/python" -c 'import sys; print(" ".join(sys.version.split()))')"
