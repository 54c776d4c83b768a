#!/bin/sh
# Runs user data as cloud-init does at an instance's first boot: a boot hook or a script, as root.
#
#   user-data.sh INSTANCE <USER-DATA
#
# Its output goes to the console. Its exit status changes nothing, as on an instance.
set -eu

INSTANCE_ID=$1
export INSTANCE_ID
folder=/var/lib/cloud/instance/boothooks
mkdir -p "$folder"
file=$folder/part-001
cat >"$file.whole"
first=$(head -n 1 "$file.whole" | tr -d '\r')
case $first in
    '#cloud-boothook'*) tail -n +2 "$file.whole" >"$file" ;;
    '#!'*) cp "$file.whole" "$file" ;;
    '') rm -f "$file.whole"; exit 0 ;;
    *) printf 'emulator: user data of an unknown kind: %s\n' "$first" >/dev/console; exit 0 ;;
esac
rm -f "$file.whole"
chmod 700 "$file"
if "$file" >/dev/console 2>&1 </dev/null; then
    printf 'emulator: user data has run\n' >/dev/console
else
    printf 'emulator: user data ended with %s\n' "$?" >/dev/console
fi
