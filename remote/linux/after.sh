#!/bin/sh
# Waits until a task has ended, and becomes the command.
#
#   after.sh DIR COMMAND ARGUMENT...
#
# DIR is the folder of the task, which supervise.sh describes: its record is not empty when the task has ended.
set -eu

dir=$1
shift
until { read -r record <"$dir/record"; } 2>/dev/null && [ -n "$record" ]; do
    sleep 1
done
exec "$@"
