#!/bin/bash
# Installs two versions of the Inno Setup compiler: the one that Mercurial's packaging asks for, and a current one.
#
# Runs as root. Needs the network. Input: `fetch.py` beside this file. May be run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "70-inno: $*"; }
die() { printf '%s\n' "70-inno: $*" >&2; exit 1; }

here=$(dirname "$0")
readonly here programs='/srv/windows/drive_c/Program Files (x86)'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "fetching"
python3 "$here/fetch.py" "$work" <<'END' || die "cannot fetch the compilers"
926903abc1fc20c2acb665745b95f224391a1e0a8e760692d5d478798f8699d8 5.tgz https://registry.npmjs.org/innosetup/-/innosetup-5.6.1.tgz
fc36b763a729c8964416552d733f4864ac4a4934d0a6569e20c2feb4c29b9684 6.tgz https://registry.npmjs.org/innosetup/-/innosetup-6.4.1.tgz
END

for major in 5 6; do
    place="$programs/Inno Setup $major"
    say "installing $place"
    rm -rf "$place"
    install -d -o hg -g hg "$place"
    tar --extract --file "$work/$major.tgz" --directory "$place" --strip-components 2 --no-same-owner package/bin \
        || die "cannot unpack the compiler"
    [[ -s $place/ISCC.exe ]] || die "the package has no ISCC.exe"
    chown -R hg:hg "$place"
done
