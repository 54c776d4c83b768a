#!/bin/sh
# What an instance does first at every boot, before its SSH server starts: arms the dead-man switch, then takes the host key and
# the login key that its driver handed over. The driver sends this file as user data, below a line `#cloud-boothook`, which
# cloud-init takes away, and above a line `__DATA__` and lines `KEY VALUE`:
#
#   machine NAME              the machine's id
#   user NAME                 who logs in; it need not exist yet
#   authorized-key BASE64     the public key that logs in, one line in OpenSSH form
#   host-key BASE64           the private host key, a file in OpenSSH form; without both, the machine is not reached by SSH
#   lease EPOCH               when the machine ends without a sign of its driver
#   expires EPOCH             when it ends in any case
#
# cloud-init runs a boothook at every boot. The keys are taken once for a machine: by the second boot its host key was replaced
# by one of its own, and the handed-over one, which user data still shows, must not come back. What an image brings from the
# machine that it was made of is replaced. Runs as root, with or without systemd. Always exits 0: a machine whose keys could not
# be put in place still ends by itself, and the console says why.
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

# Writes the watcher: a loop of its own, because cloud-init waits for this script.
#
#   watch FOLDER USER LEASE EXPIRES
#
# What runs on the machine may be root, and a stray `pkill` must not make the machine immortal: whoever started the watcher
# starts it again, and where that is not the system's own manager, the watcher starts its keeper again.
write_watcher() {
    cat >"$state/watch.new" <<'EOF'
folder=$1 user=$2 lease=$3 expires=$4 owned=
touch "$folder/armed"

# Whether who started this is there still: an orphan gets another parent.
is_kept() {
    read -r _ _ _ parent _ </proc/$$/stat && [ "$parent" = "$PPID" ]
}

# Gives the second volume a name of its own: the first disk that nothing uses. It may appear only after the boot.
name_volume() {
    [ ! -e "/dev/hg-volume" ] || return 0
    for disk in /sys/block/*; do
        name=${disk##*/}
        case $name in loop* | ram* | zram* | sr* | fd* | md* | dm-* | nbd*) continue ;; esac
        [ -b "/dev/$name" ] && [ "$(cat "$disk/ro" 2>/dev/null)" = 0 ] && [ "$(cat "$disk/size")" != 0 ] || continue
        [ -z "$(ls -A "$disk/holders" 2>/dev/null)" ] || continue
        partitions=$(ls -d "$disk/$name"* 2>/dev/null)
        [ -z "$partitions" ] || continue
        if grep -q " $(cat "$disk/dev") " /proc/self/mountinfo; then continue; fi
        if grep -q "^/dev/$name " /proc/mounts /proc/swaps; then continue; fi
        ln -s "/dev/$name" "/dev/hg-volume"
        return
    done
}

while :; do
    name_volume
    # The login user renews the lease; it may be made only later in the boot.
    [ -n "$owned" ] || ! chown "$user" "$folder" "$folder/lease" 2>/dev/null || owned=yes
    told=$(head -c 12 "$folder/lease" 2>/dev/null)
    # A lease that cannot be read is no longer life: the last one that could be counts.
    case $told in
        '' | *[!0-9]* | ????????????*) ;;
        *) lease=$told ;;
    esac
    now=$(date +%s)
    [ "$now" -lt "$lease" ] && [ "$now" -lt "$expires" ] || break
    printf '%s\n' "$lease" >"${0%/*}/lease"
    if ! is_kept && [ -e "${0%/*}/keep" ]; then
        # The new keeper starts another watcher.
        watch=$0 folder=$folder user=$user lease=$lease expires=$expires setsid sh -s <"${0%/*}/keep" >/dev/null 2>&1 &
        exit 0
    fi
    sleep 2
done
{ echo "first-boot: the lease is over, powering off" >/dev/console; } 2>/dev/null
tries=0
while :; do
    systemctl poweroff || poweroff -f || shutdown -P now
    sleep 10
    tries=$((tries + 1))
    # A service that does not stop must not keep the machine.
    [ "$tries" -lt 4 ] || poweroff -f -f
done
EOF
    mv -f "$state/watch.new" "$state/watch"
}

# Starts the watcher where systemd is: the manager, which nobody can kill, starts it again and refuses to stop it.
watch_by_systemd() {
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
    # Neither waits for the boot to get on, which in turn waits for us.
    systemctl daemon-reload && systemctl start --no-block hg-automation-watch.service || return
    tries=0
    until [ -e "$run/armed" ]; do
        [ "$tries" -lt 50 ] || return
        sleep 0.1
        tries=$((tries + 1))
    done
}

# Starts the watcher where it is not: below a keeper, which starts it again. Each of the two brings the other back, and no one
# word of a command line finds both.
watch_by_keeper() {
    cat >"$state/keep" <<'EOF'
while :; do
    sh "$watch" "$folder" "$user" "$lease" "$expires" </dev/null
    sleep 1
done
EOF
    watch=$1 folder=$2 user=$3 lease=$4 expires=$5 setsid sh -s <"$state/keep" >/dev/null 2>&1 &
}

arm() {
    now=$(date +%s)
    lease=$(value lease) expires=$(value expires)
    is_time "$expires" || expires=$((now + 3600))
    is_time "$lease" || lease=$expires
    if [ -e "$state/lease" ]; then
        # Not the first boot: the lease of the launch is long over, and what was told last counts. A boot gives no more time, or
        # a machine that boots again and again would outlive its driver.
        last=$(cat "$state/lease")
        if is_time "$last"; then lease=$last; fi
    fi
    mkdir -p "$run"
    rm -f "$run/armed" "$state/keep"
    printf '%s\n' "$lease" >"$run/lease"
    write_watcher
    set -- "$state/watch" "$run" "$user" "$lease" "$expires"
    watch_by_systemd "$@" || watch_by_keeper "$@"
    say "$machine ends at $lease without a sign of its driver, at $expires in any case (seconds since 1970)"
}

# The keys get files of their own: cloud-init writes to those of the system and of the user later in the boot, and deletes host
# keys of the usual names.
take_keys() {
    [ -n "$(value host-key)$(value authorized-key)" ] || return 0
    mkdir -p /etc/ssh/sshd_config.d "$login_keys" || return
    umask 077
    value host-key | base64 -d >"$host_key.new" && [ -s "$host_key.new" ] || return
    umask 022
    rm -f "$login_keys"/*
    value authorized-key | base64 -d >"$login_keys/$user" && [ -s "$login_keys/$user" ] || return
    chmod 755 "$login_keys" && chmod 644 "$login_keys/$user" || return
    rm -f "$host_key.pub"
    mv -f "$host_key.new" "$host_key" || return
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

machine=$(value machine)
user=$(value user)
state=$states/${machine:-unknown}
umask 022
mkdir -p "$state"
arm
if [ ! -e "$state/keys" ]; then
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
