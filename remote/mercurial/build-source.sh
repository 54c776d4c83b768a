#!/bin/bash
# Builds /hgwork/src in place, so that `run-tests.py --local` tests it as it is, and packs what the build made, so that the same
# source need not be built again.
#
#   build-source.sh make PYTHON NAME NODE PACKED
#   build-source.sh restore PYTHON NAME NODE PACKED
#
# make      builds, and writes all that the build made to the file PACKED: a gzipped tar of paths below /hgwork/src
# restore   unpacks such a file in place of a build, and sees that the result runs
# PYTHON    the interpreter to build with: an absolute path
# NAME      its name, as /hgwork/baked.json has it: system3, pypy3, 3.N
# NODE      the changeset that is checked out, 40 hexadecimal digits
# PACKED    an absolute path
#
# A build of the same changeset with the same interpreter that is in place is not made again.
#
# Afterwards /hgwork/baked.json says that the tree is built. What the build says goes to standard output.
#
# Exit codes: 0 built; 1 it failed; 2 wrong arguments; 3 the source cannot be built in place here, with one sentence on standard
# error that says why, and nothing was changed: run-tests.py can still try its own way.
set -euo pipefail
# The bootstrap's hg comes first on the PATH, because the build asks hg for the version.
export LC_ALL=C LANGUAGE=C HGPLAIN=1 HGRCPATH='' PATH="/hgdev/venv-bootstrap/bin:/usr/local/bin:/usr/bin:/bin"

readonly work=/hgwork
die() { printf '%s\n' "build-source: $*" >&2; exit 1; }
usage() { printf '%s\n' "build-source: $*; usage: build-source.sh make|restore PYTHON NAME NODE PACKED" >&2; exit 2; }
refuse() { printf '%s\n' "$*" >&2; exit 3; }

(($# == 5)) || usage "expected five arguments, got $#"
verb=$1 python=$2 name=$3 node=$4 packed=$5
[[ $python == /* && -x $python ]] || usage "'$python' is not an interpreter"
[[ $name =~ ^[a-z0-9][a-z0-9.]*$ ]] || usage "'$name' is not the name of a Python"
[[ $node =~ ^[0-9a-f]{40}$ ]] || usage "'$node' has not 40 hexadecimal digits"
[[ $packed == /* ]] || usage "'$packed' is not an absolute path"
cd "$work/src" || die "$work/src is not there; was $work prepared?"

# PyPy runs Mercurial without C extensions: there nothing is compiled.
pure=()
[[ $("$python" -c 'import platform; print(platform.python_implementation())') == CPython ]] || pure=(--pure)

# Since Mercurial 6.9 the runner looks for a local build in a virtual environment inside the tree, since 7.1 in another one.
venv=
if grep -q '\.local-venv' tests/run-tests.py; then
    venv=.local-venv
elif grep -q venv_local tests/run-tests.py; then
    venv=.venv_$("$python" -c 'import sys; print("%s%d.%d" % (sys.implementation.name, *sys.version_info[:2]))')
fi

# Why this Python cannot build the source; nothing where it can.
obstacle() {
    [[ -f setup.py ]] || { printf 'the source has no setup.py'; return; }
    local module
    for module in setuptools $(sed -n 's/^[^#]*"setuptools[-_]scm.*/setuptools_scm/p' pyproject.toml 2>/dev/null); do
        "$python" -c "import $module" 2>/dev/null || { printf '%s has no %s' "$python" "$module"; return; }
    done
}

make_venv() {
    "$python" -m venv --without-pip --system-site-packages --clear "$venv" || return
    # The modules are found beside it, by a relative path.
    local site
    for site in "$venv"/lib/*/site-packages; do
        printf '%s\n' ../../../.. >"$site/mercurial-local.pth"
    done
    {
        printf '%s\n' "#!$work/src/$venv/bin/python"
        tail -n +2 hg
    } >"$venv/bin/hg"
    # The runner takes the Python from that line and links to it under other names, and a Python that is started by a link from
    # elsewhere does not find its environment: the tests' own helpers could not import Mercurial.
    ln -sf "$(readlink -f "$venv/bin/python")" "$venv/bin/python3"
    rm "$venv/bin/python"
    # A program and not a script: a shell says so when the current directory is gone, which tests try.
    printf '%s\n' '#include <unistd.h>' 'int main(int n, char **v) { v[0] = PYTHON; return n < 1 ? 127 : execv(PYTHON, v); }' |
        cc -O1 -x c -D "PYTHON=\"$work/src/$venv/bin/python3\"" -o "$venv/bin/python" - || return
    chmod 0755 "$venv/bin/hg"
}

# As `make local` does it, without the network. The second variable lets releases before 6.9 build in place. The flags are those of
# Python itself without information for debuggers, which takes a third of the compiler's time.
make() {
    PYTHONUNBUFFERED=1 MERCURIAL_SETUP_MAKE_LOCAL=1 CFLAGS="-DNDEBUG -fwrapv -O2 -g0" \
        "$python" setup.py "${pure[@]}" build_py -d . build_ext -j "$(nproc)" -i build_mo || return
    rm -rf build
    if [[ -n $venv ]]; then make_venv || return; fi
    runs
}

runs() {
    local command=("$python" ./hg)
    [[ -z $venv ]] || command=("$venv/bin/hg")
    env ${pure[0]:+HGMODULEPOLICY=py} "${command[@]}" version --quiet
}

# All that is neither in the changeset nor in a change to it was made by the build. What Python compiles for itself belongs to times
# of files that no other tree has.
pack() {
    hg status --ignored --unknown --no-status --print0 >"$packed.files"
    grep -zv '\.pyc$' "$packed.files" >"$packed.wanted" || true
    tar --create --gzip --file "$packed.tmp" --null --no-recursion --files-from "$packed.wanted"
    mv -f "$packed.tmp" "$packed"
    rm -f "$packed.files" "$packed.wanted"
}

record() {
    printf '{"node": "%s", "python": "%s", "python_version": "%s"}\n' "$node" "$python" "$name" >"$work/baked.json"
}

# Whether the build that is in place is the one that is asked for.
fits() {
    [[ -f $work/baked.json ]] || return 1
    local key wanted
    for key in node python python_version; do
        case $key in node) wanted=$node ;; python) wanted=$python ;; *) wanted=$name ;; esac
        grep -qF "\"$key\": \"$wanted\"" "$work/baked.json" || return 1
    done
    runs >/dev/null 2>&1
}

if [[ $verb == make ]] && fits; then
    printf '%s\n' "the build that is in place fits"
    exit 0
fi
rm -f "$work/baked.json"
case $verb in
    make)
        why=$(obstacle)
        [[ -z $why ]] || refuse "$why"
        if ! make 2>&1 | tee "$packed.log"; then
            # Compilers work side by side: what went wrong may stand far above the last line.
            grep -E --after-context 2 '(error|Error): ' "$packed.log" | tail -n 20 || true
            die "cannot build the source with $python"
        fi
        pack
        ;;
    restore)
        if ! tar --extract --gzip --file "$packed" >&2 || ! runs >&2; then
            hg --config extensions.purge= purge --all || true
            die "the build that was kept does not run here"
        fi
        ;;
    *) usage "'$verb' is neither make nor restore" ;;
esac
record
