#!/bin/bash
# Brings a distribution's own cloud image to what a bootstrapped base is: all packages of the image, and nothing that works
# behind one's back.
#
# Runs as root, on a machine that has just booted. Input:
#   HG_PACKAGES   names of packages, separated by white space; image.toml joins them per distribution
#
# Such an image sets itself up and installs updates right after its first boot. Whoever calls apt meanwhile meets its locks. So
# the first is waited for, the timers of the second are switched off, for good: a machine that tests must not start to
# update itself. Every wait here ends.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

say() { printf '%s\n' "05-cloud-base: $*"; }
die() { printf '%s\n' "05-cloud-base: $*" >&2; exit 1; }

read -r -d '' -a packages <<<"${HG_PACKAGES:-}" || true
((${#packages[@]})) || die "HG_PACKAGES names no package"

# Its exit code tells of any trouble that a module had; what matters here is that it is over.
if command -v cloud-init >/dev/null; then
    say "waiting for cloud-init"
    status=0
    timeout 300 cloud-init status --wait >/dev/null || status=$?
    ((status != 124)) || die "cloud-init did not end within 300 s"
fi

if [[ -d /run/systemd/system ]]; then
    say "switching automatic updates off"
    for timer in apt-daily.timer apt-daily-upgrade.timer; do
        if systemctl cat "$timer" >/dev/null 2>&1; then
            systemctl disable --quiet --now "$timer" || die "cannot switch off $timer"
        fi
    done
fi

# The lock of dpkg is waited for by apt itself; that of the package lists is not, so there it is tried again.
apt=(apt-get --quiet --yes --no-install-recommends
    -o Acquire::Languages=none -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300
    -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0)
say "loading the package lists"
deadline=$((SECONDS + 300))
until "${apt[@]}" --error-on=any update; do
    ((SECONDS < deadline)) || die "cannot load the package lists from the mirrors in /etc/apt within 300 s"
    say "trying again"
    sleep 5
done

say "installing ${#packages[@]} packages and what they need"
"${apt[@]}" install "${packages[@]}" || die "cannot install the packages of the image"

say "dropping downloaded packages and lists"
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
