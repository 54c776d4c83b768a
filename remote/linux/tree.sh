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
        # Every name changes from the old file to the whole new one at once.
        umask 0
        cp -rPlfT -- "$stage/tree" "$path/." || exit 1
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
    exec tar --format=gnu --sparse --hard-dereference -b 128 -cf - -C "$path" .
}

pick() {
    [ -d "$path" ] || fail 'no such file or folder'
    exec tar --format=gnu --sparse --dereference --hard-dereference -b 128 -cf - -C "$path" --no-recursion --null -T -
}

case $verb in
unpack | pack | pick) "$verb" "$@" ;;
*) fail "there is no request \`$verb\`" ;;
esac
