#!/bin/bash
# Makes /hgdev/src: Mercurial's source, tests included, as a non-publishing Mercurial repository.
#
# Runs as root, works as hg. Input:
#   HG_SOURCE            `distribution`: the source package that 30-venv-bootstrap.sh left in /hgdev/source-package,
#                        committed into a fresh repository; `upstream`: a clone
#   HG_SOURCE_URL        where to clone from; only for `upstream`
#   HG_SOURCE_REVISION   what to check out of the clone; only for `upstream`, default `default`
set -euo pipefail
export LC_ALL=C.UTF-8

say() { printf '%s\n' "40-src: $*"; }
die() { printf '%s\n' "40-src: $*" >&2; exit 1; }
as_hg() { setpriv --reuid=hg --regid=hg --init-groups --reset-env -- env HGPLAIN=1 HGRCPATH= "$@"; }
hg() { as_hg /hgdev/venv-bootstrap/bin/hg "$@"; }

from_distribution() {
    local package=/hgdev/source-package name version date
    [[ -f $package/source.tar.gz ]] || die "$package holds no source; step 30-venv-bootstrap.sh puts it there"
    name=$(<"$package/name") version=$(<"$package/version") date=$(<"$package/date")

    say "unpacking $name"
    as_hg tar --extract --gzip --directory /hgdev/src --file "$package/source.tar.gz" || die "cannot unpack the source"

    # A fixed user and the date of the package make the node the same on every machine that bakes this version.
    say "committing it into a fresh repository"
    hg init /hgdev/src || die "cannot make a repository of /hgdev/src"
    hg --cwd /hgdev/src add --quiet . || die "cannot add the source to the repository"
    # .hgignore has every MANIFEST.in; upstream tracks this one all the same.
    if [[ -e /hgdev/src/contrib/python-zstandard/MANIFEST.in ]]; then
        hg --cwd /hgdev/src add contrib/python-zstandard/MANIFEST.in || die "cannot add the source to the repository"
    fi
    # The messages keep the rules that test-check-commit.t holds drafts to.
    hg --cwd /hgdev/src commit --quiet --user 'hg <hg@localhost>' --date "$date 0" --message "packaging: source package $name" ||
        die "cannot commit the source"
    # setup.py takes the version from the newest tag, and fails where there is none.
    hg --cwd /hgdev/src tag --user 'hg <hg@localhost>' --date "$date 0" --message "packaging: tag $version" -- "$version" ||
        die "cannot tag the source"
}

from_upstream() {
    [[ -n ${HG_SOURCE_URL:-} ]] || die "HG_SOURCE_URL is not set, but HG_SOURCE is upstream"
    say "cloning $HG_SOURCE_URL"
    hg clone --updaterev "${HG_SOURCE_REVISION:-default}" -- "$HG_SOURCE_URL" /hgdev/src ||
        die "cannot clone $HG_SOURCE_URL"
}

rm -rf /hgdev/src
install -d -o hg -g hg /hgdev/src
case ${HG_SOURCE:-} in
    distribution) from_distribution ;;
    upstream) from_upstream ;;
    *) die "HG_SOURCE is '${HG_SOURCE:-}', but must be distribution or upstream" ;;
esac

# Changesets pushed into it stay drafts, so that the next push may replace them.
as_hg bash -euo pipefail -c 'printf "%s\n" "" "[phases]" "publish = False" >>/hgdev/src/.hg/hgrc'
[[ -f /hgdev/src/tests/run-tests.py ]] || die "/hgdev/src holds no tests/run-tests.py"
[[ -z $(hg --cwd /hgdev/src status) ]] || die "/hgdev/src has changes right after it was made"
say "/hgdev/src is at $(hg --cwd /hgdev/src log --rev . --template '{node}')"
