#!/bin/sh
# Ends the machine when its lease is over: its dead-man switch. `first-boot.sh` starts it at every boot, before anything else.
#
#   watch-lease.sh FOLDER USER LEASE EXPIRES IDLE
#
# FOLDER   the folder with the file `lease`, which USER renews and this reads; `armed` appears there at the start
# USER     who logs in and renews the lease; the user need not exist yet
# LEASE    when the machine ends without a sign of its driver, seconds since 1970
# EXPIRES  when it ends in any case
# IDLE     after how many seconds without a login or a task it ends, 0 for none. Who logs in is seen by the SSH server's processes, a task by the
#          lock that its supervisor holds; the watcher that comes in place of one that was killed begins to count anew
#
# It is a process of its own, because cloud-init waits for `first-boot.sh`. Tests may run as root, and a stray `pkill` must
# not make the machine immortal: whatever started this script starts it again. That is the system's own manager, or
# `keep-watcher.sh`, which lies beside this file as `keep` and which this script starts again. The last lease that could be read
# is kept beside this file as `lease`, for the next boot. Runs as root; never ends while the machine lives.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

folder=$1 user=$2 lease=$3 expires=$4 idle=${5:-0} owned=
used=$(date +%s) looked=0 seen='' why="the lease is over"
state=${0%/*}
touch "$folder/armed"

# Whether the process that started this one is still there: an orphan gets another parent.
is_kept() {
    local parent=
    read -r _ _ _ parent _ </proc/$$/stat && [ "$parent" = "$PPID" ]
}

# Gives the second volume, the first disk that nothing uses, a name of its own. The disk may appear only after the boot.
name_volume() {
    local disk name partitions
    [ ! -e "/dev/hg-volume" ] || return 0
    for disk in /sys/block/*; do
        name=${disk##*/}
        case $name in loop* | ram* | zram* | sr* | fd* | md* | dm-* | nbd*) continue ;; esac
        [ -b "/dev/$name" ] || continue
        [ "$(cat "$disk/ro" 2>/dev/null)" = 0 ] || continue
        [ "$(cat "$disk/size")" != 0 ] || continue
        [ -z "$(ls -A "$disk/holders" 2>/dev/null)" ] || continue
        partitions=$(ls -d "$disk/$name"* 2>/dev/null)
        [ -z "$partitions" ] || continue
        if grep -q " $(cat "$disk/dev") " /proc/self/mountinfo; then continue; fi
        if grep -q "^/dev/$name " /proc/mounts /proc/swaps; then continue; fi
        ln -s "/dev/$name" "/dev/hg-volume"
        return
    done
}

# Whether somebody is logged in, or a task runs. A server that listens and a login that is not proved yet are no use.
is_used() {
    local lock
    for lock in /tmp/hg-automation-*/*/lock; do
        [ -e "$lock" ] && ! flock -n -s "$lock" true && return
    done
    grep -hsaE '^sshd(-session)?: ' /proc/[0-9]*/cmdline | tr '\0' '\n' | grep -E '^sshd' |
        grep -qvE '\[(listener|accepted|net|preauth)\]|: unknown '
}

# How many connections were accepted so far: a login may be over before anybody looks for it.
accepted() {
    awk '$1 == "Tcp:" && $7 ~ /^[0-9]+$/ { print $7 }' /proc/net/snmp 2>/dev/null
}

# Whether nobody has used the machine for too long, as far as that was looked at: at most every 20 s.
is_idle() {
    [ "$idle" -gt 0 ] && [ "$((now - looked))" -ge 20 ] || return
    looked=$now
    if is_used || [ "$(accepted)" != "$seen" ]; then used=$now; fi
    seen=$(accepted)
    [ "$((now - used))" -gt "$idle" ]
}

while :; do
    name_volume
    # The login user renews the lease; it may be made only later in the boot.
    [ -n "$owned" ] || ! chown "$user" "$folder" "$folder/lease" 2>/dev/null || owned=yes
    told=$(head -c 12 "$folder/lease" 2>/dev/null)
    # A lease that cannot be read gives no time: the last readable one counts.
    case $told in
        '' | *[!0-9]* | ????????????*) ;;
        *) lease=$told ;;
    esac
    now=$(date +%s)
    # A time that cannot be compared counts as over.
    if ! { [ "$now" -lt "$lease" ] && [ "$now" -lt "$expires" ]; }; then break; fi
    if is_idle; then why="nobody has used the machine for $idle s" && break; fi
    printf '%s\n' "$lease" >"$state/lease"
    if ! is_kept && [ -e "$state/keep" ]; then
        # The new keeper starts another watcher.
        watch=$0 folder=$folder user=$user lease=$lease expires=$expires idle=$idle setsid sh -s <"$state/keep" >/dev/null 2>&1 &
        exit 0
    fi
    sleep 2
done
{ echo "watch-lease: $why, powering off" >/dev/console; } 2>/dev/null
tries=0
while :; do
    systemctl poweroff || poweroff -f || shutdown -P now
    sleep 10
    tries=$((tries + 1))
    # A service that does not stop must not keep the machine.
    [ "$tries" -lt 4 ] || poweroff -f -f
done
