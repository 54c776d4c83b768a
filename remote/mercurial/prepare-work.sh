#!/bin/bash
# Makes /hgwork, where a run happens: on the requested file system, with /hgwork/tmp and a copy of /hgdev/src in /hgwork/src.
#
#   prepare-work.sh [--again] FILESYSTEM [DEVICE]
#
# --again      keep the src of an earlier run, with its build, where it lies on the same file system (default or tmpfs)
# FILESYSTEM   default (a plain folder), tmpfs, or btrfs, ext3, ext4, jfs, xfs, which need DEVICE
# DEVICE       a block device that this script may overwrite: a loop device, or the second volume of the machine; or the
#              folder where a file system of that kind is mounted already, which this script may empty: on a machine that may
#              not mount disks itself
#
# Environment:
#   HG_TMPFS_SIZE   cap for tmpfs, default 2g. Memory is taken only as it is used. The copied source takes 0.1 GB, with
#                   upstream's whole history about 0.7 GB, and a run of the whole suite up to 0.5 GB of temporary files
#
# Runs as hg. A /hgwork of an earlier run is replaced, and that run's results are put aside into its folder, as taken/results; one
# that this script did not make, and one in which tests still run, is left alone and refused.
#
# Exit codes: 0 ready; 1 something failed; 2 wrong arguments; 3 this kernel, this user or this machine cannot make the requested
# file system, with one sentence on standard error that says why.
set -euo pipefail
export LC_ALL=C.UTF-8

readonly work=/hgwork source=/hgdev/src marker=/hgwork/.made-by-automation
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "prepare-work: $*"; exit 1; }
usage() { say "prepare-work: $*"; say "usage: prepare-work.sh default|btrfs|ext3|ext4|jfs|tmpfs|xfs [DEVICE]"; exit 2; }
refuse() { say "cannot make $work on $filesystem: $*"; exit 3; }

# Runs a command and keeps its output on one line, for the one sentence that a refusal has room for.
reason=
attempt() {
    if ! reason=$("$@" 2>&1); then
        reason=$(tr -s '\n' ' ' <<<"$reason")
        return 1
    fi
}

# Keeps the report of an earlier run that was left to itself: a driver that comes late still asks for it.
put_aside() {
    local folder
    read -r folder <"$marker" || return 0
    [[ $folder == /tmp/hg-automation-* && $folder != "$here" && -O $folder ]] || return 0
    mkdir -p "$folder/taken/results" || die "cannot put aside what the run in $folder found out"
    cp -a "$work/results/." "$folder/taken/results/" 2>/dev/null ||
        say "what the run in $folder found out could not be put aside whole"
}

clear_earlier() {
    if [[ -e $marker ]]; then
        # A run holds the machine while its tests run; this is for one whose hold was killed.
        flock -n "$marker" true || die "tests of another run still run in $work"
        put_aside
    fi
    if mountpoint -q "$work"; then
        [[ -e $marker ]] || die "something that is not ours is mounted on $work"
        attempt sudo -n umount "$work" || die "cannot unmount the $work of an earlier run: $reason"
    elif [[ -e $work ]]; then
        if [[ ! -e $marker && -n $(sudo -n ls -A "$work") ]]; then
            die "$work is there, is not empty and was not made by this tool"
        fi
    fi
    # Only an empty mount point, or a folder that carries our marker, is left to remove here.
    attempt sudo -n rm -rf --one-file-system "$work" || die "cannot remove the $work of an earlier run: $reason"
    attempt sudo -n install -d -m 0755 -o "$(id -u)" -g "$(id -g)" "$work" || die "cannot make $work: $reason"
}

kernel_knows() {
    grep -qw "$1" /proc/filesystems && return
    if command -v modprobe >/dev/null || [[ -x /sbin/modprobe ]]; then
        sudo -n modprobe "$1" 2>/dev/null && grep -qw "$1" /proc/filesystems && return
    fi
    return 1
}

mount_tmpfs() {
    attempt sudo -n mount -t tmpfs -o "size=${HG_TMPFS_SIZE:-2g},mode=0755,uid=$(id -u),gid=$(id -g)" hgwork "$work" ||
        refuse "mount failed: $reason"
}

mount_disk() {
    local make
    # The journal and the inode tables of ext3 and ext4 are initialised later, while the run is already under way. No
    # discard: what is under the device is either sparse or does not support it.
    case $filesystem in
        btrfs) make=(mkfs.btrfs --quiet --force --nodiscard) ;;
        ext3 | ext4) make=("mkfs.$filesystem" -q -F -E "lazy_itable_init=1,lazy_journal_init=1,nodiscard") ;;
        jfs) make=(mkfs.jfs -q) ;;
        xfs) make=(mkfs.xfs -q -f -K) ;;
    esac
    [[ -n $device ]] || refuse "it needs a block device of its own, and this machine offers none"
    if [[ -d $device ]]; then
        show_mounted
        return
    fi
    [[ -b $device ]] || refuse "$device is not a block device"
    kernel_knows "$filesystem" || refuse "the kernel $(uname -r) does not know $filesystem"
    sudo -n sh -c 'PATH=$PATH:/usr/sbin:/sbin command -v "$1"' sh "${make[0]}" >/dev/null || refuse "${make[0]} is not installed"
    if findmnt --source "$device" >/dev/null; then
        refuse "$device is mounted already"
    fi
    attempt sudo -n env PATH="$PATH:/usr/sbin:/sbin" "${make[@]}" "$device" || refuse "${make[0]} failed: $reason"
    attempt sudo -n mount -t "$filesystem" "$device" "$work" || refuse "mount failed: $reason"
    attempt sudo -n chown "$(id -u):$(id -g)" "$work" || die "cannot give $work to $(id -un): $reason"
}

# Shows the file system that is mounted at $device as $work, without what an earlier run left on it.
show_mounted() {
    local found
    found=$(findmnt --noheadings --output FSTYPE --mountpoint "$device") || refuse "nothing is mounted on $device"
    [[ $found == "$filesystem" ]] || refuse "$device is a file system $found"
    attempt sudo -n find "$device" -xdev -mindepth 1 -delete || die "cannot empty $device: $reason"
    attempt sudo -n mount --bind "$device" "$work" || refuse "mount failed: $reason"
    attempt sudo -n chown "$(id -u):$(id -g)" "$work" || die "cannot give $work to $(id -un): $reason"
}

# Whether what an earlier run left can be used again; its own results and temporary files are cleared then.
keep_earlier() {
    local mounted
    [[ -f $marker && -d $work/src/.hg ]] || return 1
    mounted=$(findmnt --noheadings --output FSTYPE --mountpoint "$work") || mounted=default
    [[ $mounted == "$filesystem" ]] || return 1
    flock -n "$marker" true || die "tests of another run still run in $work"
    put_aside
    rm -rf --one-file-system "$work/tmp" "$work/results" || die "cannot clear the $work of an earlier run"
    printf '%s\n' "$here" >"$marker"
    mkdir "$work/tmp" "$work/results"
}

again=
if [[ ${1:-} == --again ]]; then
    again=yes
    shift
fi
(($# == 1 || $# == 2)) || usage "expected one or two arguments, got $#"
filesystem=$1 device=${2:-}
case $filesystem in
    default | tmpfs | btrfs | ext3 | ext4 | jfs | xfs) ;;
    *) usage "unknown file system '$filesystem'" ;;
esac
[[ -d $source/.hg ]] || die "$source is not a Mercurial repository, so there is nothing to copy"

if [[ -n $again ]] && keep_earlier; then
    say "$work is used again, on $(stat -f -c %T "$work")"
    exit 0
fi
clear_earlier
case $filesystem in
    default) ;;
    tmpfs) mount_tmpfs ;;
    *) mount_disk ;;
esac
printf '%s\n' "$here" >"$marker"

# A real copy: hard links would let a run write into the baked tree. Where the file system can share blocks, it does. Times are
# kept, so that the compiled files stay valid and Mercurial need not read every file to see that nothing changed.
mkdir "$work/tmp" "$work/results"
cp -a --reflink=auto "$source" "$work/src" || die "cannot copy $source to $work/src"

# This file says that /hgwork/src is still the baked tree with its build. Scripts that change the tree remove it, and a build
# writes it anew.
if [[ -f /hgdev/baked.json ]]; then
    cp /hgdev/baked.json "$work/baked.json"
fi
say "$work is ready on $(stat -f -c %T "$work")"
