#!/bin/sh
# Runs first at every boot of an instance, before its SSH server starts: arms the dead-man switch, then takes the host key and
# the login key that its driver handed over. The driver sends this file as user data, below a line `#cloud-boothook`, which
# cloud-init takes away, and above a line `__DATA__` and lines `KEY VALUE`:
#
#   watcher BASE64            `watch-lease.sh`, which ends the machine
#   keeper BASE64             `keep-watcher.sh`, which brings the watcher back where there is no systemd
#   machine NAME              the machine's id
#   user NAME                 the login user, which need not exist yet
#   authorized-key BASE64     the public key that logs in, one line in OpenSSH form
#   host-key BASE64           the private host key, a file in OpenSSH form; without both, the machine is not reached by SSH
#   lease EPOCH               when the machine ends without a sign of its driver
#   expires EPOCH             when it ends in any case
#   idle SECONDS              after how long without a login or a task it ends; 0 for none
#
# cloud-init runs a boothook at every boot. The keys are taken once for a machine: by the second boot its host key was replaced
# by one of its own, and the handed-over one, which user data still shows, must not come back. Keys that an image brings from
# the machine that it was made of are replaced. Runs as root, with or without systemd. Always exits 0: a machine whose keys could not
# be put in place still ends by itself, and one that could not be armed is powered off; the console says why.
#
# Variables of the whole script: machine, user (as given), state (the folder of this machine's state).
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

states=/var/lib/hg-automation
run=/run/hg-automation
host_key=/etc/ssh/hg_host_ed25519_key
settings=/etc/ssh/sshd_config.d/00-hg-automation.conf
login_keys=/etc/ssh/hg-authorized-keys

say() { { printf '%s\n' "first-boot: $*" >/dev/console; } 2>/dev/null || printf '%s\n' "first-boot: $*"; }
value() { sed -n -e '1,/^__DATA__$/d' -e "s/^$1 //p" -- "$0" | head -n 1; }
is_time() {
    case $1 in
        '' | *[!0-9]* | ????????????*) return 1 ;;
    esac
}

# NAME FILE: decodes a base64 value to a file, all of it or nothing.
unpack() {
    value "$1" | base64 -d >"$2.new" && [ -s "$2.new" ] && mv -f "$2.new" "$2"
}

# WATCHER ARGUMENT...: starts the watcher where systemd runs. The manager, which cannot be killed, restarts it and refuses to
# stop it.
watch_by_systemd() {
    local tries
    [ -d /run/systemd/system ] || return
    cat >/run/systemd/system/hg-automation-watch.service <<EOF
[Unit]
Description=Ends this machine when its lease is over
DefaultDependencies=no
StartLimitIntervalSec=0
RefuseManualStop=yes

[Service]
ExecStart=/bin/sh $*
Restart=always
RestartSec=1
OOMScoreAdjust=-1000
EOF
    # Neither may wait for the boot, which in turn waits for us.
    systemctl daemon-reload && systemctl start --no-block hg-automation-watch.service || return
    tries=0
    until [ -e "$run/armed" ]; do
        [ "$tries" -lt 50 ] || return
        sleep 0.1
        tries=$((tries + 1))
    done
}

# WATCHER FOLDER USER LEASE EXPIRES IDLE: starts the watcher below the keeper where systemd does not run.
watch_by_keeper() {
    unpack keeper "$state/keep" || return
    watch=$1 folder=$2 user=$3 lease=$4 expires=$5 idle=$6 setsid sh -s <"$state/keep" >/dev/null 2>&1 &
}

# Starts the dead-man switch; fails where there would be none.
arm() {
    local now lease expires idle last
    now=$(date +%s)
    lease=$(value lease) expires=$(value expires)
    is_time "$expires" || expires=$((now + 3600))
    is_time "$lease" || lease=$expires
    idle=$(value idle)
    is_time "$idle" || idle=0
    if [ -e "$state/lease" ]; then
        # Not the first boot: the lease of the launch is long over, and the last renewal counts. A boot gives no more time, or
        # a machine that boots again and again would outlive its driver.
        last=$(cat "$state/lease")
        if is_time "$last"; then lease=$last; fi
    fi
    mkdir -p "$run"
    rm -f "$run/armed" "$state/keep"
    printf '%s\n' "$lease" >"$run/lease"
    unpack watcher "$state/watch" || return
    set -- "$state/watch" "$run" "$user" "$lease" "$expires" "$idle"
    watch_by_systemd "$@" || watch_by_keeper "$@" || return
    say "$machine ends at $lease without a sign of its driver, at $expires in any case (seconds since 1970)"
}

# The keys get files of their own: cloud-init writes to those of the system and of the user later in the boot, and deletes host
# keys of the usual names.
take_keys() {
    [ -n "$(value host-key)$(value authorized-key)" ] || return 0
    mkdir -p /etc/ssh/sshd_config.d "$login_keys" || return
    umask 077
    rm -f "$host_key.pub"
    unpack host-key "$host_key" || return
    umask 022
    rm -f "$login_keys"/*
    unpack authorized-key "$login_keys/$user" || return
    chmod 755 "$login_keys" && chmod 644 "$login_keys/$user" || return
    cat >"$settings" <<EOF
HostKey $host_key
PermitRootLogin prohibit-password
AuthorizedKeysFile $login_keys/%u .ssh/authorized_keys
EOF
    if ! grep -q '^[[:space:]]*Include[[:space:]]*/etc/ssh/sshd_config.d/' /etc/ssh/sshd_config 2>/dev/null; then
        { echo "Include /etc/ssh/sshd_config.d/*.conf"; cat /etc/ssh/sshd_config 2>/dev/null; } >/etc/ssh/sshd_config.new
        mv -f /etc/ssh/sshd_config.new /etc/ssh/sshd_config || return
    fi
    # Where the server runs already, it has to read its settings again.
    if [ -s /run/sshd.pid ]; then kill -HUP "$(cat /run/sshd.pid)" 2>/dev/null || true; fi
}

# Removes the folders in which runs worked on the machine that this one's image was made of, with the sources that they were sent. Their
# scripts mark them.
drop_work() {
    local marker
    for marker in /*/.made-by-automation /var/tmp/*/.made-by-automation; do
        if [ -f "$marker" ] && [ ! -L "${marker%/*}" ]; then rm -rf --one-file-system -- "${marker%/*}"; fi
    done
}

machine=$(value machine)
user=$(value user)
state=$states/${machine:-unknown}
umask 022
mkdir -p "$state"
if ! arm; then
    say "cannot arm $machine, powering off"
    systemctl poweroff || poweroff -f
    exit 0
fi
if [ ! -e "$state/keys" ]; then
    # Before anybody can log in.
    drop_work
    if take_keys; then
        touch "$state/keys"
        # The states of the machines that this one's image was made of.
        for other in "$states"/*; do
            [ "$other" = "$state" ] || rm -rf "$other"
        done
        say "the keys of $machine are in place"
    else
        say "cannot put the keys of $machine in place"
    fi
fi
exit 0
