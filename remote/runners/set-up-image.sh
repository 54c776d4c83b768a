#!/bin/bash
# Runs what a user wants done once to an image: the file `set-up` beside this script, as root.
#
# Images carry no lists of packages, so that none can be out of date: they are loaded first, and dropped again. A line that fails ends all of it.
# Input: none. Exit codes: that of the line; 1 the lists could not be loaded.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if command -v apt-get >/dev/null; then
    apt-get --quiet --quiet --error-on=any -o Acquire::Languages=none -o Acquire::Retries=3 update ||
        { printf '%s\n' "set-up-image: cannot load the lists of packages" >&2; exit 1; }
fi
cd /root
if [[ $(head -c 2 "$here/set-up") == '#!' ]]; then
    chmod 0700 "$here/set-up"
    "$here/set-up" </dev/null
else
    bash -euo pipefail "$here/set-up" </dev/null
fi
if command -v apt-get >/dev/null; then
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
fi
