#!/bin/bash
# Builds /hgdev/src in place, so that `run-tests.py --local` can start testing the unchanged tree at once, and records in
# /hgdev/baked.json what was built with which Python.
#
# Runs as root, works as hg. Input:
#   HG_PYTHON_VERSION   system3, or the name of a Python under /hgdev/pyenv/versions
#   HG_SOURCE           where 40-src.sh took the source from: `distribution` or `upstream`
#
# The products are all covered by the tree's own .hgignore: `hg status` stays clean, and a purge of ignored files takes
# them away.
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "60-build: $*"; }
die() { printf '%s\n' "60-build: $*" >&2; exit 1; }
as_hg() { setpriv --reuid=hg --regid=hg --init-groups --reset-env -- env HGPLAIN=1 HGRCPATH= "$@"; }
hg() { as_hg /hgdev/venv-bootstrap/bin/hg --cwd /hgdev/src "$@"; }

case ${HG_PYTHON_VERSION:-} in
    system3) python=/usr/bin/python3 ;;
    '') die "HG_PYTHON_VERSION is not set" ;;
    *) python=/hgdev/pyenv/versions/$HG_PYTHON_VERSION/bin/python ;;
esac
[[ -x $python ]] || die "there is no $python to build with"

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Step 30-venv-bootstrap.sh compiled the distribution's source for the system's Python already. Its products go to where
# setup.py would put them, younger than all source: it then finds nothing to compile. Since Mercurial 7 that is first below
# `build`, before it copies them into the tree.
built=
if [[ ${HG_SOURCE:-} == distribution && $python == /usr/bin/python3 ]]; then
    built=$(/hgdev/venv-bootstrap/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
fi

# The same commands as `make local`, but compiling on two processors and without the network. The bootstrap's hg comes first on
# the PATH, because setup.py asks hg for the version. PyPy runs Mercurial without C extensions: there nothing is compiled.
#
# Since Mercurial 6.9 the runner looks for a local build in a virtual environment inside the tree, since 7.1 in another one. It is
# made to work from /hgwork/src, where prepare-work.sh copies the tree to: it finds the modules by a relative path, and its hg starts
# the Python of the copy.
build() {
    # shellcheck disable=SC2016 # the inner bash expands these
    as_hg env PATH="/hgdev/venv-bootstrap/bin:/usr/local/bin:/usr/bin:/bin" MERCURIAL_SETUP_MAKE_LOCAL=1 LANGUAGE=C LC_ALL=C \
        CFLAGS="-g0 -O1" bash -euo pipefail -c '
            cd /hgdev/src
            if [[ $2 ]]; then
                below=$("$1" -c "if 1:
                    from setuptools import Distribution
                    build = Distribution().get_command_obj(\"build\")
                    build.ensure_finalized()
                    print(build.build_platlib)")
                mkdir -p "$below"
                cd "$2"
                find mercurial hgext -name "*.so" -exec cp --parents {} /hgdev/src \; -exec cp --parents {} "/hgdev/src/$below" \;
                cd /hgdev/src
            fi
            pure=() policy=()
            if [[ $("$1" -c "import platform; print(platform.python_implementation())") != CPython ]]; then
                pure=(--pure) policy=(HGMODULEPOLICY=py)
            fi
            "$1" setup.py "${pure[@]}" build_py -c -d . build_ext -j 2 -i build_mo
            rm -rf build
            venv=
            if grep -q "[.]local-venv" tests/run-tests.py; then
                venv=.local-venv
            elif grep -q venv_local tests/run-tests.py; then
                venv=.venv_$("$1" -c "import sys; print(\"%s%d.%d\" % (sys.implementation.name, *sys.version_info[:2]))")
            fi
            if [[ $venv ]]; then
                "$1" -m venv --without-pip --system-site-packages --clear "$venv"
                for site in "$venv"/lib/*/site-packages; do
                    printf "%s\n" ../../../.. >"$site/mercurial-local.pth"
                done
                {
                    printf "%s\n" "#!/hgwork/src/$venv/bin/python"
                    tail -n +2 hg
                } >"$venv/bin/hg"
                # The runner links to this Python under other names, and one that is started by a link from elsewhere does not find
                # its environment.
                ln -sf "$(readlink -f "$venv/bin/python")" "$venv/bin/python3"
                rm "$venv/bin/python"
                # A program and not a script: a shell says so when the current directory is gone, which tests try.
                printf "%s\n" "#include <unistd.h>" "int main(int n, char **v) { v[0] = PYTHON; return n < 1 ? 127 : execv(PYTHON, v); }" |
                    cc -O1 -x c -D "PYTHON=\"/hgwork/src/$venv/bin/python3\"" -o "$venv/bin/python" -
                chmod 0755 "$venv/bin/hg"
                env "${policy[@]}" "$venv/bin/python3" "$venv/bin/hg" version --quiet
            else
                env "${policy[@]}" "$1" ./hg version --quiet
            fi
        ' build "$python" "$built"
}
say "building /hgdev/src with $python"
build >"$log" 2>&1 || { tail -n 100 "$log" >&2; die "cannot build /hgdev/src with $python"; }

changes=$(hg status)
[[ -z $changes ]] || die "the build of /hgdev/src left files that .hgignore does not cover: $changes"

say "recording the build in /hgdev/baked.json"
node=$(hg log --rev . --template '{node}')
version=$(hg log --rev . --template '{latesttag}')
as_hg "$python" - "$node" "$version" "${HG_PYTHON_VERSION}" "$python" <<'PYTHON' || die "cannot write /hgdev/baked.json"
import json
import platform
import sys

node, version, name, executable = sys.argv[1:]
record = {
    "node": node,
    "version": version,
    "python": executable,
    "python_version": name,
    "python_implementation": platform.python_implementation(),
    "python_release": platform.python_version(),
    "runner_arguments": ["--local"],
}
with open("/hgdev/baked.json", "w") as out:
    json.dump(record, out, indent=2)
    out.write("\n")
PYTHON
say "$(tr -s ' \n' ' ' </hgdev/baked.json)"
