#!/bin/bash
# Checks the machine it runs on against the machine contract (docs/remote-machine.md) and prints one JSON object a line:
#
#   {"clause": NAME, "ok": true|false, "required": true|false, "found": STRING, "remedy": STRING}
#
# `found` is what is there, `remedy` is how to mend it, empty where nothing is to be mended. A machine is used without what is not
# `required`: tests that ask for a file system which it lacks are refused when they ask. Changes nothing: a clause that needs
# a trial is tried in a mount namespace that ends with the trial. The caller checks the clauses that show only from outside (that
# port 22 and SFTP answer).
#
#   check-contract.sh [OWN...]
#
# OWN is the name of a file beside this one that has the clauses of what is run there. It is sourced, so that it has the functions
# of this one: report, check, answer and yes_if. It may set `user` to the login user that it asks for, whom remedies name then, and may
# ask `hold.sh`, which lies beside it, who holds the machine. Its clauses stand before those of every machine.
#
# Runs as the login user. Exit code: 0 checked, whatever the verdict; else the check itself failed.
set -euo pipefail
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
own='' required=true

quote() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=$(tr -s '[:cntrl:]' ' ' <<<"$text")
    printf '"%s"' "${text% }"
}
# report CLAUSE FOUND REMEDY: a clause without a remedy is kept.
report() {
    local ok=true
    [[ -z $3 ]] || ok=false
    printf '{"clause": %s, "ok": %s, "required": %s, "found": %s, "remedy": %s}\n' \
        "$(quote "$1")" "$ok" "$required" "$(quote "$2")" "$(quote "$3")"
}
# check CLAUSE FOUND WANTED REMEDY: kept when FOUND is WANTED.
check() {
    local remedy=
    [[ $2 == "$3" ]] || remedy=$4
    report "$1" "$2" "$remedy"
}
# Runs a command and prints what it says, or why it failed; that it was one of these scripts which did not find it is nobody's
# business.
answer() {
    local said
    said=$("$@" 2>&1) || true
    said=${said#"$0: line "*": "}
    printf '%s\n' "${said#"$here/$own: line "*": "}"
}
yes_if() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }

# A user without a name has a number, and that `id` fails for it is no reason to end here.
user=$(id -un 2>/dev/null) || true
for own; do
    # shellcheck source=/dev/null
    . "$here/$own"
done

check "login shell" "$(getent passwd "$(id -u)" | cut -d : -f 7)" /bin/bash \
    "run 'sudo usermod --shell /bin/bash $user'"
check "bash" "$(yes_if test -x /bin/bash)" yes "install the package bash"
# The remedy follows from what sudo says: where it cannot become root at all, no line in a file helps.
said=$(answer sudo -n true)
case $said in
    '') said=yes remedy= ;;
    *'command not found'*) remedy="install the package sudo" ;;
    *'no new privileges'* | *'owned by uid 0'* | *setuid* | *'effective uid'*)
        remedy="start sshd where programs may become root: without 'no_new_privs', on a file system without 'nosuid'"
        ;;
    *'parse error'* | *'syntax error'*) remedy="mend what 'sudo visudo -c' names" ;;
    *) remedy="write the line '$user ALL=(ALL:ALL) NOPASSWD:ALL' to /etc/sudoers.d/90-$user, mode 0440" ;;
esac
report "sudo without a password" "$said" "$remedy"

sftp=none
for candidate in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/lib/ssh/sftp-server; do
    if [[ -x $candidate ]]; then
        sftp=$candidate
        break
    fi
done
remedy=
[[ $sftp != none ]] || remedy="install the package openssh-sftp-server"
report "SFTP server" "$sftp" "$remedy"

# Any port will do where the caller reached it; the images of the tool listen on 22.
read -r _ _ _ port <<<"${SSH_CONNECTION:-- - - none}"
report "SSH port" "${port/none/not an SSH session}" ""

required=false
tried=$(answer sudo -n unshare --mount sh -c 'mount -t tmpfs probe /mnt && echo yes')
check "mount works" "$tried" yes "give the machine the right to mount (CAP_SYS_ADMIN); without it only --filesystem default works"
lacking=
for tool in mkfs.btrfs:btrfs-progs mkfs.ext3:e2fsprogs mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs; do
    command -v "${tool%:*}" >/dev/null || lacking+="${tool#*:} "
done
remedy=
[[ -z $lacking ]] || remedy="install the packages ${lacking% }, or use other file systems"
report "mkfs for btrfs, ext3, ext4, xfs" "${lacking:+lacking: }${lacking:-all}" "$remedy"
