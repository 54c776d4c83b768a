#!/bin/sh
# Stands for every program that the steps of `images/windows-dev` install or call: by its own name and by its words it does what the
# step looks at afterwards. A program that it was not taught fails.
#
#   HG_ROOT     the folder that stands for the drive
#   FAKES       this file
#   CALLS       a file that gets a line for every call
#   DIES        the name of a call that ends half-way, as if the machine had gone
set -eu
name=${0##*/}
printf '%s %s\n' "$name" "$*" >>"$CALLS"

# FILE: makes a program that is this one.
make() {
    mkdir -p "${1%/*}"
    cp "$FAKES" "$1"
    chmod 755 "$1"
}
die() { [ "${DIES:-}" != "$1" ] || exit 137; }
# WORDS...: the value of the word that begins with TargetDir= or /DIR=.
target() {
    for word; do
        case $word in TargetDir=* | /DIR=*) printf '%s\n' "${word#*=}" ;; esac
    done
}

case $name in
    vs_BuildTools.exe)
        mkdir -p "$HG_ROOT/vs"
        die "$name"
        make "$HG_ROOT/Program Files (x86)/Microsoft Visual Studio/Installer/vswhere.exe"
        ;;
    vswhere.exe) printf '[{"installationPath": "%s/vs", "installationVersion": "17.14.1"}]\n' "$HG_ROOT" ;;
    cmd.exe)
        [ "$*" = "/d /c compile.cmd" ] && grep -q 'cl.exe' compile.cmd
        die "$name"
        printf '#!/bin/sh\nprintf 7\n' >program.exe
        ;;
    python-3.*.exe)
        folder=$(target "$@")
        mkdir -p "$folder"
        die "$name"
        make "$folder/python.exe"
        number=${name#python-}
        bits=32
        case $number in *-amd64.exe) bits=64 ;; esac
        printf '%s %s\n' "$(printf '%s' "$number" | grep -o '^[0-9]*\.[0-9]*\.[0-9]*')" "$bits" >"$folder/version"
        ;;
    python.exe)
        case "$*" in
            *'-m pip install'*--require-hashes*) die pip ;;
            *'-m venv '*) for folder; do :; done; make "$folder/bin/python.exe" ;;
            *cibuildwheel*) echo 3.3.0 ;;
            *'/embed.py '*)
                die embed
                for folder; do :; done
                make "$folder/python.exe"
                cp "${0%/*}/version" "$folder/version"
                ;;
            *platform*) cat "${0%/*}/version" ;;
            *) exit 9 ;;
        esac
        ;;
    gettext*.exe) die gettext; make "$(target "$@")/bin/msgfmt.exe" ;;
    msgfmt.exe) echo 'msgfmt (GNU gettext-tools) 0.26' ;;
    innosetup*.exe) make "$(target "$@")/ISCC.exe" ;;
    ISCC.exe) echo 'Inno Setup 5.6.1 (u)'; exit 1 ;;
    sh.exe) echo 'GNU bash, version 3.1.17' ;;
    msiexec.exe)
        case "$*" in
            *mercurial-*) die msiexec; make "$HG_ROOT/Program Files/Mercurial/hg.exe" ;;
            *PyOxidizer-*) make "$HG_ROOT/Program Files/PyOxidizer/pyoxidizer.exe" ;;
            *) exit 9 ;;
        esac
        ;;
    pyoxidizer.exe) echo 'PyOxidizer 0.17.0' ;;
    rustup-init.exe) make "$CARGO_HOME/bin/rustup.exe" ;;
    rustup.exe)
        case "$*" in
            'run stable rustc --version') echo 'rustc 1.90.0' ;;
            'run 1.52.0 rustc --version') echo 'rustc 1.52.0' ;;
            'toolchain install '* | 'target add '* | 'default stable') die rustup ;;
            *) exit 9 ;;
        esac
        ;;
    hg.exe)
        case "$*" in
            'version -q') echo 'Mercurial Distributed SCM (version 7.1.2)' ;;
            clone*) for folder; do :; done; mkdir "$folder"; die clone; mkdir "$folder/.hg" ;;
            *update*) die update ;;
            *'log --rev .'*) echo 0123456789012345678901234567890123456789 ;;
            *) exit 9 ;;
        esac
        ;;
    powershell)
        case "$*" in
            *'-Mode on '*) echo on ;;
            *'-Mode off '*) echo "${SCANS:-off}" ;;
            *) exit 9 ;;
        esac
        echo "${SPARED:-excluded}"
        ;;
    sc.exe) [ "$*" = "config sshd start= demand" ] ;;
    EC2Launch.exe) [ "$*" = "reset --clean" ] ;;
    *) exit 9 ;;
esac
