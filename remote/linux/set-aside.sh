#!/bin/sh
# Takes off the disk what belongs to this machine alone, while its disk becomes an image, and puts it back.
#
#   set-aside.sh aside SECONDS    sets it aside, in memory; it comes back by itself after SECONDS, should nobody ask for that
#   set-aside.sh back             puts it back
#
# Set aside are host keys and the keys that may log in, what cloud-init keeps of this machine, and its identity. Connections that are open stay
# open; nobody new can log in until it is back. Files that were closed before `aside` returns are on the disk. Runs as root.
# Exit codes: 0 done; 1 something failed, and everything is in its place; 3 a run is at work here, whose files would become part of the image;
# 64 wrong arguments.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

# In memory, and gone with a boot: then the files are on the disk, or the next boot makes them anew.
kept=/run/hg-automation-aside

die() { printf '%s\n' "set-aside: $*" >&2; exit 1; }

# Prints the paths, without the first slash, that belong to this machine alone.
own() {
    local home path
    for path in etc/ssh/hg_host_* etc/ssh/ssh_host_*_key* etc/ssh/hg-authorized-keys etc/machine-id var/lib/cloud/instance \
        var/lib/cloud/instances; do
        if [ -e "$path" ] || [ -L "$path" ]; then printf '%s\n' "$path"; fi
    done
    getent passwd | while IFS=: read -r _ _ _ _ _ home _; do
        for path in "${home#/}"/.ssh/authorized_keys*; do
            if [ -e "$path" ]; then printf '%s\n' "$path"; fi
        done
    done
}

back() {
    [ -e "$kept/files.tar" ] || return 0
    tar -xpf "$kept/files.tar" -C / || return
    rm -rf "$kept"
    sync
}

aside() {
    local path
    for path in /tmp/hg-automation-*; do
        [ ! -e "$path" ] || { printf '%s\n' "set-aside: a run is at work in $path" >&2; exit 3; }
    done
    # What was set aside before comes back first: it is what there is to set aside.
    back || die "cannot put back what was set aside before"
    umask 077
    mkdir -p "$kept" || die "cannot make $kept"
    own | sort -u >"$kept/list" || die "cannot list what belongs to this machine"
    tar -cpf "$kept/files.new" -C / -T "$kept/list" || die "cannot keep it in memory"
    mv "$kept/files.new" "$kept/files.tar" || die "cannot keep it in memory"
    # shellcheck disable=SC2016 # the inner shell expands them
    setsid sh -c 'sleep "$1"; [ ! -e "$2/files.tar" ] || { tar -xpf "$2/files.tar" -C / && rm -rf "$2"; }' sh "$1" "$kept" \
        </dev/null >/dev/null 2>&1 &
    while IFS= read -r path; do rm -rf -- "/${path:?}"; done <"$kept/list"
    # An empty file means that the next boot makes a new identity.
    : >/etc/machine-id
    sync
}

cd / || die "cannot change to /"
case ${1-}:$# in
aside:2) aside "$2" ;;
back:1) back || die "cannot put back what was set aside" ;;
*)
    printf '%s\n' 'usage: set-aside.sh aside SECONDS, or set-aside.sh back' >&2
    exit 64
    ;;
esac
