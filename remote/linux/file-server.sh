#!/bin/sh
# Prints the path of the file server in the SSH server's configuration, or an empty line where it names none; and a second line
# `there` where that program exists.
#
#   file-server.sh
path=$(awk 'tolower($1) == "subsystem" && $2 == "sftp" { print $3; exit }' \
    /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null)
printf '%s\n' "$path"
if [ "$path" = internal-sftp ] || [ -x "$path" ]; then echo there; fi
