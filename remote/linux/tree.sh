#!/bin/sh
# Receives or sends a tree as one archive, for a driver that streams it. Run with `sh` as the user whose files they are; needs GNU
# tar, find, cp and mv. PATH does not begin with a dash.
#
#   unpack PATH PARTIAL MODE    the archive on standard input becomes the folder PATH with MODE, or is merged into it
#   pack PATH                   the folder PATH as an archive on standard output
#   pick PATH                   of the folder PATH, the files that standard input names, a NUL after each; a link as its file
#
# An archive to unpack holds `tree`, and behind it `whole`, by which it is known that nothing is missing. It is unpacked under
# PARTIAL, a name that nothing has yet, and every file gets its name when all are whole; a folder that exists keeps its mode, and
# a link, a device or a pipe that has the name of a file stops everything.
#
# A file that says that it has no bytes and has some, as those of /proc do, or that is in /sys, where all have the same size, is
# sent with what can be read of it, 16 MiB at most (which src/archive/write.rs knows as well); that needs grep, mktemp, sort and uniq.
#
# Exits with 0; with 66 where PATH of `pack` is a file; with 1 and a reason on standard error.
set -u
umask 077
export LC_ALL=C
verb=$1 path=$2
shift 2

fail() { printf '%s\n' "$1" >&2; exit 1; }

# Removes `stage`, where `unpack` unpacks. A folder that its owner may not enter would keep its content from being removed.
clean() {
    [ -d "$stage" ] || return 0
    find "$stage" -type d ! -perm -700 -exec chmod u+rwx {} \;
    rm -rf -- "$stage"
}

# KIND TESTS: fails where an entry of this kind in the archive has the name of something that may not be replaced, which is what the
# tests of `find` match.
free() {
    local taken what
    taken=$(find "$stage/tree" -mindepth 1 -type "$1" -printf './%P\0' | (
        cd -- "$path" || exit 1
        # shellcheck disable=SC2016
        xargs -0 -r sh -c 'tests=$1; shift; exec find "$@" -maxdepth 0 $tests -printf "%y %p\n" -quit' sh "$2" 2>/dev/null
    ) | head -n 1)
    case $taken in
    '') return 0 ;;
    d*) what='a folder' ;;
    l*) what='a link' ;;
    p*) what='a named pipe' ;;
    s*) what='a socket' ;;
    [bc]*) what='a device' ;;
    *) what='something that is not a folder' ;;
    esac
    fail "$what has the name \`${taken#* ./}\`, and nothing was copied"
}

# Prints the new folders with a sticky or set-id bit, which `cp` does not give them: MODE and path, a NUL after each.
bits() {
    find "$stage/tree" -mindepth 1 -type d -perm /7000 -printf '%m\0./%P\0' | (
        cd -- "$path" || exit 1
        # shellcheck disable=SC2016
        xargs -0 -r -n 2 sh -c '[ -d "$2" ] || printf "%s\0" "$1" "$2"' sh
    )
}

# Sets `stage`.
unpack() {
    local folder there=
    if [ -d "$path" ]; then
        there=yes
        stage=$path/$1
    elif [ -e "$path" ] || [ -L "$path" ]; then
        fail 'something that is not a folder has its name'
    else
        folder=$(dirname -- "$path"; printf x)
        folder=${folder%?x}
        [ -d "$folder" ] || fail 'no such file or folder'
        stage=$folder/$1
    fi
    mkdir -- "$stage" || exit 1
    trap clean EXIT
    trap 'exit 1' HUP INT TERM
    tar -xpmf - -b 128 --no-same-owner --delay-directory-restore -C "$stage" || exit 1
    [ -e "$stage/whole" ] || fail 'the archive broke off'
    if [ -n "$there" ]; then
        free d '! -type d'
        free f '! -type f'
        free l '! -type f ! -type l'
        bits >"$stage/bits" || exit 1
        # Every name changes from the old file to the whole new one at once.
        umask 0
        cp -rPlfT -- "$stage/tree" "$path/." || exit 1
        (cd -- "$path" && xargs -0 -r -n 2 chmod --) <"$stage/bits" || exit 1
    else
        mv -T -- "$stage/tree" "$path" && chmod -- "$2" "$path" || exit 1
    fi
}

pack() {
    local odd
    [ -e "$path" ] || fail 'no such file or folder'
    [ ! -f "$path" ] || exit 66
    [ -d "$path" ] || fail 'it is neither a file nor a folder'
    odd=$(find "$path/" ! -type f ! -type d ! -type l -print -quit) || exit 1
    [ -z "$odd" ] || fail "\`$odd\` is neither a file, a folder nor a symbolic link"
    cd -- "$path" || exit 1
    names() { find . -print0; }
    doubtful() { find . -type f \( -size 0 -o -fstype sysfs \) -print0; }
    if is_plain; then archive .; else fill; fi
}

pick() {
    local chosen
    [ -d "$path" ] || fail 'no such file or folder'
    # A variable holds no NUL, and a full disk keeps nobody from fetching what filled it.
    chosen=$(base64) || exit 1
    cd -- "$path" || exit 1
    names() { printf '%s\n' "$chosen" | base64 -d; }
    doubtful() { names | among -type f; }
    if is_plain; then names | archive --dereference --no-recursion --null -T -; else fill --dereference; fi
}

archive() { tar --format=gnu --sparse --hard-dereference -b 128 -cf - "$@"; }

# TESTS: prints those of the names on standard input whose files say no size, or none that counts.
among() {
    # shellcheck disable=SC2016
    xargs -0 -r sh -c 'tests=$1; shift; exec find -L "$@" -maxdepth 0 $tests \( -size 0 -o -fstype sysfs \) -print0' sh "$*" 2>/dev/null
}

# Prints those of the names that `doubtful` prints whose files have bytes all the same, some of them twice. A file that only grew
# says so by now. One of /sys need not be readable for its owner; that is for `fill` to tell.
hidden() {
    # shellcheck disable=SC2016
    doubtful | xargs -0 -r sh -c '
        find -L "$@" -maxdepth 0 -fstype sysfs ! -size 0 -print0
        exec grep -lsZ -D skip -e "" -- "$@"
    ' sh | among
}

is_plain() { [ -z "$(hidden | head -c 1)" ]; }

# OPTIONS: sends what `names` prints, and of what `hidden` prints a copy that says its size; tar takes such a file for empty. Sets
# `stage`, the folder of the copies.
fill() {
    stage=$(mktemp -d) || exit 1
    trap clean EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -- "$stage/full" && hidden | sort -zu >"$stage/hidden" || exit 1
    # shellcheck disable=SC2016
    xargs -0 -r sh -c '
        why=
        for file; do
            copy=$0/${file#./}
            size=$(stat -L -c %s -- "$file")
            mkdir -p -- "${copy%/*}" && head -c 16777217 -- "$file" >"$copy" && chmod --reference="$file" -- "$copy" || exit 1
            [ "$(stat -c %s -- "$copy")" -le 16777216 ] || why="it does not say its size, and has more than 16 MiB"
            [ "$(stat -L -c %s -- "$file")" = "$size" ] || why="it changed while it was read"
            [ -z "$why" ] || { printf "\`%s\`: %s\n" "$file" "$why" >&2; exit 1; }
        done
    ' "$stage/full" <"$stage/hidden" || exit 1
    names | cat - "$stage/hidden" | sort -z | uniq -zu >"$stage/others" || exit 1
    archive "$@" --no-recursion --null -T "$stage/others" -C "$stage/full" -T "$stage/hidden" || exit 1
}

case $verb in
unpack | pack | pick) "$verb" "$@" ;;
*) fail "there is no request \`$verb\`" ;;
esac
