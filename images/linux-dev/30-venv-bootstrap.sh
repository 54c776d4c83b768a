#!/bin/bash
# Builds the Mercurial that manages sources on the machine into /hgdev/venv-bootstrap, from the source package of the
# distribution, and leaves that source in /hgdev/source-package for the step that fills /hgdev/src:
#
#   source.tar.gz   the source as its repository has it: without what packagers and the release tarball added to it
#   name            for example mercurial_6.3.2-1+deb12u1
#   version         for example 6.3.2
#   date            of the package, in seconds since 1970
#
# Runs as root, works as hg. Input: none beyond the sources of apt: the package is the one that belongs to the release.
#
# The distribution's source package is used for every kind of /hgdev/src, so that the layer is shared, and so that baking
# needs no host but the mirror. apt checks it against the signed index of the release; the signature of the uploader is
# not looked at, because the key ring that it needs is not part of a small system.
#
# The distribution's patches stay applied: several of them are there because a test fails without them on the Python and
# the OpenSSL of that release, and a tree that fails its own tests is no base line.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

say() { printf '%s\n' "30-venv-bootstrap: $*"; }
die() { printf '%s\n' "30-venv-bootstrap: $*" >&2; exit 1; }
as_hg() { setpriv --reuid=hg --regid=hg --init-groups --reset-env -- "$@"; }

# A Mercurial on the PATH of everybody would be found by tests and by setup.py in place of the tree under test.
if command -v hg >/dev/null; then
    die "a package brought a system-wide $(command -v hg), which must not exist"
fi

work=$(mktemp -d /hgdev/bootstrap.XXXXXX)
trap 'rm -rf "$work"' EXIT
chown hg:hg "$work"

# The lists of source packages are large and used once: they go into a directory of their own. Which mirrors, suites and
# components apply is asked of apt, which knows both ways to write a sources file. Its order is kept: of two places with
# the same version apt takes the first, and a mirror may list an update in `-security` whose files it only holds in the
# release itself.
say "loading the lists of source packages"
install -d "$work/apt/lists/partial" "$work/apt/parts"
while IFS='|' read -r uri suite component key; do
    [[ -n $uri ]] || continue
    option=
    [[ $key == /* ]] && option="[signed-by=$key] "
    printf 'deb-src %s%s %s %s\n' "$option" "$uri" "$suite" "$component"
done < <(apt-get indextargets --no-release-info \
    --format "\$(SITE)|\$(RELEASE)|\$(COMPONENT)|\$(SIGNED_BY)" 'Created-By: Packages' | awk '!seen[$0]++') >"$work/apt/sources.list"
[[ -s $work/apt/sources.list ]] || die "apt knows no mirror, so there is none to ask for the source package"
apt=(apt-get --quiet --yes
    -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root
    -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o "Dir::Etc::sourceparts=$work/apt/parts"
    -o "Dir::State::lists=$work/apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
"${apt[@]}" --error-on=any update || die "cannot load the lists of source packages; does the mirror carry deb-src?"

say "fetching the source package of mercurial"
install -d "$work/package"
source_package() { (cd "$work/package" && "${apt[@]}" source --download-only "$@" mercurial); }
if source_package; then
    description=$(find "$work/package" -name '*.dsc')
    name=$(basename "$description" .dsc)
    chmod -R a+rX "$work/package"
    as_hg dpkg-source --no-check --extract "$description" "$work/tree" >"$work/unpack.log" 2>&1 ||
        { cat "$work/unpack.log" >&2; die "cannot unpack $name"; }
    date=$(dpkg-parsechangelog --file "$work/tree/debian/changelog" --show-field Timestamp)
    # This patch keeps a build from writing the version down, for Debian's own way of building.
    unwanted=$work/tree/debian/patches/pyproject-version-file.patch
    if [[ -f $unwanted ]]; then
        as_hg patch --quiet --directory "$work/tree" --strip 1 --reverse --input "$unwanted" ||
            die "cannot take back $unwanted"
    fi
elif source_package --tar-only; then
    # Some mirrors hold the release of upstream but not what the distribution adds to it.
    say "the mirror lacks parts of the package: using upstream's release without the distribution's patches"
    tarball=$(find "$work/package" -name '*.orig.tar.gz')
    name=$(basename "$tarball" .orig.tar.gz)
    as_hg mkdir "$work/tree"
    as_hg tar --extract --gzip --strip-components 1 --directory "$work/tree" <"$tarball" || die "cannot unpack $tarball"
    date=$(stat --format %Y "$work/tree/setup.py")
else
    die "cannot fetch the source package of mercurial"
fi
version=${name#*_}
version=${version%-*}

say "keeping the source of $name"
leave_out=(./debian ./.pc ./mercurial.egg-info ./PKG-INFO ./mercurial/__version__.py './doc/*.[0-9]' './doc/*.[0-9].html')
if grep -qsx '\[egg_info\]' "$work/tree/setup.cfg"; then
    leave_out+=(./setup.cfg)
fi
rm -rf /hgdev/source-package
install -d -o hg -g hg /hgdev/source-package
as_hg tar --create --use-compress-program='gzip --fast' --directory "$work/tree" --file /hgdev/source-package/source.tar.gz \
    --anchored --wildcards "${leave_out[@]/#/--exclude=}" . || die "cannot pack the source of $name"
keep() { printf '%s\n' "$2" | as_hg tee "/hgdev/source-package/$1" >/dev/null; }
keep name "$name"
keep version "$version"
keep date "$date"

# Runs setup.py with a compiler on every processor. distutils compiles the files of an extension one after another, and nearly
# all files belong to one extension. Where a setuptools has no such method any more, it does that as before.
cat >"$work/setup-parallel.py" <<'PYTHON'
import os
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor

import setuptools  # brings its own distutils
from distutils.ccompiler import CCompiler


def compile(self, sources, output_dir=None, macros=None, include_dirs=None, debug=0, extra_preargs=None,
            extra_postargs=None, depends=None):
    macros, objects, extra_postargs, pp_opts, build = self._setup_compile(
        output_dir, macros, include_dirs, sources, depends, extra_postargs)
    cc_args = self._get_cc_args(pp_opts, debug, extra_preargs)

    def one(name):
        if name in build:
            source, extension = build[name]
            self._compile(name, source, extension, cc_args, extra_postargs, pp_opts)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, objects))
    return objects


if all(hasattr(CCompiler, name) for name in ("_setup_compile", "_get_cc_args", "_compile")):
    CCompiler.compile = compile
sys.path.insert(0, os.getcwd())
sys.argv = ["setup.py", *sys.argv[1:]]
runpy.run_path("setup.py", run_name="__main__")
PYTHON
chmod a+r "$work/setup-parallel.py"

say "building $name with $(python3 --version)"
# A build in the unpacked tree, with the distribution's own setuptools; then an installation of what was built. pip would
# fetch build tools from the network. What nobody reads is not made: no translations, no manual pages, no debugging
# information. With this optimisation the compilers take half as long as with -O2; adding, committing, bundling and verifying the
# source of Mercurial takes the same.
build() {
    # shellcheck disable=SC2016 # the inner bash expands these
    as_hg env HOME="$work" CFLAGS="-g0 -O1" bash -euo pipefail -c '
        cd "$1/tree"
        python3 "$1/setup-parallel.py" build_py build_ext
        rm -rf /hgdev/venv-bootstrap
        python3 -m venv --without-pip /hgdev/venv-bootstrap
        library=$(/hgdev/venv-bootstrap/bin/python -c "import sysconfig; print(sysconfig.get_path(\"platlib\"))")
        cp -a build/lib*/. "$library/"
        {
            printf "%s\n" "#!/hgdev/venv-bootstrap/bin/python"
            tail -n +2 hg
        } >/hgdev/venv-bootstrap/bin/hg
        chmod 0755 /hgdev/venv-bootstrap/bin/hg
        find "$library" -name "*.py" -print0 |
            xargs -0 -n 50 -P "$(nproc)" /hgdev/venv-bootstrap/bin/python -m compileall -q
    ' build "$work"
}
build >"$work/build.log" 2>&1 || { tail -n 100 "$work/build.log" >&2; die "cannot build Mercurial for /hgdev/venv-bootstrap"; }

as_hg /hgdev/venv-bootstrap/bin/hg --cwd / version --quiet || die "the built /hgdev/venv-bootstrap/bin/hg does not run"
as_hg /hgdev/venv-bootstrap/bin/python -c 'from mercurial.cext import parsers' ||
    die "Mercurial in /hgdev/venv-bootstrap was built without its C extensions"
