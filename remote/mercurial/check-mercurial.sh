#!/bin/bash
# The clauses of the machine contract (docs/remote-machine.md) that only Mercurial's tests ask for: the user and the group, the Pythons,
# the Mercurial that receives pushes, the source, and room for the folder that the tests work in. Sourced by check-contract.sh of
# remote/linux, whose functions it uses (report, check, answer, yes_if) and whose rules it keeps; `$0` and the shell's options are that
# one's, and `here` is the folder of both.
#
#   check-contract.sh check-mercurial.sh

# shellcheck disable=SC2034 # check-contract.sh names it in remedies
user=hg
remedy="run 'sudo useradd --create-home --shell /bin/bash hg' and log in as hg"
! id hg >/dev/null 2>&1 || remedy="log in as hg: that user is there"
check "login user" "$(id -un)" hg "$remedy"
remedy="run 'sudo groupadd -f hg && sudo usermod --gid hg hg'"
[[ $(id -gn hg 2>/dev/null) != hg ]] || remedy="log in as hg, whose group is hg"
check "group" "$(id -gn)" hg "$remedy"
remedy="run 'sudo install -d -o hg -g hg /hgdev'"
[[ ! -e /hgdev ]] || remedy="run 'sudo chown -R hg:hg /hgdev'"
check "/hgdev belongs to hg:hg" "$(answer stat -c %U:%G /hgdev)" hg:hg "$remedy"

broken=
pythons=
for python in /hgdev/pyenv/versions/*/bin/python; do
    [[ -e $python || -L $python ]] || continue
    name=${python#/hgdev/pyenv/versions/}
    name=${name%/bin/python}
    if "$python" -c '' 2>/dev/null; then pythons+="$name "; else broken+="$name "; fi
done
remedy=
[[ -z $broken ]] || remedy="mend or remove under /hgdev/pyenv/versions: ${broken% }"
report "Pythons under /hgdev/pyenv run" "${pythons:-none beyond the one of the system}" "$remedy"
check "python3" "$(yes_if python3 -c '')" yes "install the package python3"

version=$(answer /hgdev/venv-bootstrap/bin/hg --cwd / version --quiet)
remedy=
if [[ $version != Mercurial* ]]; then
    remedy="run 'python3 -m venv /hgdev/venv-bootstrap' and '/hgdev/venv-bootstrap/bin/pip install mercurial' as hg"
    [[ ! -e /hgdev/venv-bootstrap/bin/hg ]] || remedy="it is there and does not run: make /hgdev/venv-bootstrap anew as hg"
fi
report "/hgdev/venv-bootstrap/bin/hg runs" "$version" "$remedy"

hg() { HGPLAIN=1 HGRCPATH='' /hgdev/venv-bootstrap/bin/hg --cwd /hgdev/src "$@"; }
node=$(answer hg log --rev . --template '{node}')
remedy=
if [[ ! $node =~ ^[0-9a-f]{40}$ ]]; then
    remedy="run '/hgdev/venv-bootstrap/bin/hg clone URL /hgdev/src' as hg"
    [[ ! -e /hgdev/src/.hg ]] || remedy="it is there: mend what hg says of it, or move it away and clone anew"
fi
report "/hgdev/src is a Mercurial repository" "$node" "$remedy"
remedy="append the lines '[phases]' and 'publish = False' to /hgdev/src/.hg/hgrc"
! grep -qs '^publish' /hgdev/src/.hg/hgrc || remedy="set 'publish = False' below '[phases]' in /hgdev/src/.hg/hgrc: a line says otherwise"
check "/hgdev/src does not publish" "$(answer hg config phases.publish)" False "$remedy"
check "/hgdev/src holds the test runner" "$(yes_if test -f /hgdev/src/tests/run-tests.py)" yes \
    "check out a changeset of Mercurial in /hgdev/src"

work=absent
[[ ! -e /hgwork ]] || work="there, of another owner"
[[ ! -e /hgwork/.made-by-automation ]] || work="there, of an earlier run"
holder=$(bash "${here:?}/hold.sh" who /hgdev 2>/dev/null || true)
[[ -z $holder ]] || work="there, in use by run $holder"
remedy=
[[ $work != *owner ]] || remedy="move /hgwork away: it was not made by this tool, which will not touch it"
report "/hgwork may be made" "$work" "$remedy"
