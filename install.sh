#!/bin/sh
# Installs automation from the files of a release, checked against their sum and, with --key, their signature.
#
#   sh install.sh --from URL|DIR [--version VERSION] [--key FILE|LINE] [--prefix DIR]
#
# URL is where the files of releases are (https://, file://, or http:// of this computer), DIR a folder with them. The program goes to
# PREFIX/bin, by default ~/.local/bin, and nothing is written anywhere else. Nothing runs that was not checked.
set -eu

namespace=automation-release
# More than a release has, bytes.
most=104857600

from='' version='' key='' prefix='' work='' new=''

say() { printf '%s\n' "$*"; }
stop() { printf 'install.sh: %s; nothing was installed\n' "$1" >&2; exit "${2:-3}"; }
clean() { rm -rf ${work:+"$work"} ${new:+"$new"}; }

read_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --from | --version | --key | --prefix)
                [ -n "${2:-}" ] || stop "$1 wants a value" 2
                case $1 in
                    --from) from=$2 ;;
                    --version) version=${2#v} ;;
                    --key) key=$2 ;;
                    --prefix) prefix=$2 ;;
                esac
                shift 2
                ;;
            --help | -h)
                say 'sh install.sh --from URL|DIR [--version VERSION] [--key FILE|LINE] [--prefix DIR]'
                exit 0
                ;;
            *) stop "what is $1? There are --from, --version, --key and --prefix" 2 ;;
        esac
    done
    [ -n "$from" ] || stop 'where are the files? Say it with --from URL or --from DIR' 2
    [ -n "$prefix${HOME:-}" ] || stop 'where to? HOME is not set; say it with --prefix DIR' 2
    prefix=${prefix:-$HOME/.local}
    case $from in
        file:///*) from=${from#file://} ;;
        http://*)
            is_here "${from#http://}" || stop "$from can be read and changed on its way; name it by https://" 2
            ;;
        https://*) ;;
        *://*) stop "$from is none of https://, file:// and a folder" 2 ;;
    esac
    from=${from%/}
}

# Whether the address is one of this computer.
is_here() {
    case ${1%%/*} in
        *@*) return 1 ;;
        localhost | localhost:* | 127.0.0.1 | 127.0.0.1:* | '[::1]' | '[::1]:'*) return 0 ;;
        *) return 1 ;;
    esac
}

# Brings the file NAME into the work folder.
fetch() {
    case $from in
        http://* | https://*) download "$1" || stop "cannot fetch $from/$1" ;;
        *)
            [ -f "$from/$1" ] || stop "there is no $from/$1"
            cp "$from/$1" "$work/$1"
            ;;
    esac
}

download() {
    local name="$1"
    if command -v curl >/dev/null 2>&1; then
        # A redirect may lead to another host, but never to where others can change what comes.
        case $from in
            https://*) set -- --proto '=https' ;;
            *) set -- --proto '=http' --noproxy '*' ;;
        esac
        curl --fail --silent --show-error --location --proto-redir '=https' --max-redirs 5 --connect-timeout 30 --max-time 900 \
            --max-filesize "$most" "$@" --output "$work/$name" "$from/$name"
    elif command -v wget >/dev/null 2>&1; then
        # It cannot be told which redirects are safe.
        wget --quiet --max-redirect=0 --timeout=30 --tries=3 --output-document="$work/$name" "$from/$name"
    else
        stop 'there is neither curl nor wget; install one, or fetch the files yourself and name their folder with --from'
    fi
}

# Makes of the key that was given a file of allowed signers.
read_key() {
    local line
    command -v ssh-keygen >/dev/null 2>&1 || stop 'ssh-keygen is missing, which checks signatures; install openssh-client'
    case $key in
        ssh-* | ecdsa-* | sk-*) line=$key ;;
        *)
            [ -f "$key" ] || stop "there is no key $key" 2
            line=$(head -n 1 "$key")
            ;;
    esac
    case $line in
        ssh-* | ecdsa-* | sk-*) printf '%s %s\n' "$namespace" "$line" >"$work/signers" ;;
        *) cp "$key" "$work/signers" ;;
    esac
}

# Refuses the file NAME unless the key has signed it for releases of automation.
verify() {
    local who
    fetch "$1.sig"
    who=$(ssh-keygen -Y find-principals -s "$work/$1.sig" -f "$work/signers" 2>/dev/null | head -n 1) || who=''
    if [ -z "$who" ] || ! ssh-keygen -Y verify -f "$work/signers" -I "$who" -n "$namespace" -s "$work/$1.sig" \
        <"$work/$1" >/dev/null 2>&1; then
        stop "the signature of $from/$1 is not that of your key, or the file is another than was signed"
    fi
}

choose_version() {
    if [ -z "$version" ]; then
        fetch latest.json
        if [ -n "$key" ]; then verify latest.json; fi
        version=$(sed -n 's/^ *"version": "\([^"]*\)",*$/\1/p' "$work/latest.json" | head -n 1)
    fi
    case $version in
        '' | *[!0-9A-Za-z.+-]* | [!0-9]*) stop "\`$version\` is no version" ;;
    esac
}

# Fetches the file NAME, and refuses it unless it has the sum that the release names.
fetch_checked() {
    local expected='' found sum file
    while read -r sum file; do
        if [ "$file" = "$1" ]; then expected=$sum; fi
    done <"$work/automation-$version.sha256"
    [ -n "$expected" ] || stop "version $version has no build for this computer ($1)"
    fetch "$1"
    found=$(sha256sum <"$work/$1")
    found=${found%% *}
    [ "$found" = "$expected" ] || stop "$from/$1 has the SHA-256 $found, and the release names $expected"
}

# Puts the program of the packed file NAME into its place, all at once.
put() {
    local bin told
    bin=$prefix/bin
    mkdir -p "$bin"
    bin=$(cd "$bin" && pwd)
    [ ! -d "$bin/automation" ] || stop "$bin/automation is a folder"
    tar -xzf "$work/$1.tar.gz" -C "$work" "$1/automation"
    new=$(mktemp "$bin/.automation.XXXXXX")
    cat "$work/$1/automation" >"$new"
    chmod 755 "$new"
    told=$("$new" --version 2>&1) || stop "it does not run on this computer ($told)"
    mv -f "$new" "$bin/automation"
    new=''
    say "Installed $told as $bin/automation."
    case :$PATH: in
        *:"$bin":*) ;;
        *) say "That folder is not on your PATH: export PATH=\"$bin:\$PATH\"" ;;
    esac
    say 'Type next: automation doctor'
}

main() {
    local name
    read_arguments "$@"
    [ "$(uname -s)" = Linux ] || stop 'it runs on Linux'
    trap clean EXIT
    trap 'exit 130' HUP INT TERM
    work=$(mktemp -d)
    if [ -n "$key" ]; then read_key; fi
    choose_version
    name=automation-$version-$(uname -m)-unknown-linux-musl
    fetch "automation-$version.sha256"
    if [ -n "$key" ]; then verify "automation-$version.sha256"; fi
    fetch_checked "$name.tar.gz"
    if [ -n "$key" ]; then
        say 'The sum and the signature are right.'
    else
        say 'The sum is right. Who made the files was not checked: no key was given (--key).'
    fi
    put "$name"
}

main "$@"
