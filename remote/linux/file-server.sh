#!/bin/sh
# Prints where the SSH server's configuration says that its file server is, an empty line where it says nothing of it; and a second
# line `there` where there is such a program.
#
#   file-server.sh
path=$(awk 'tolower($1) == "subsystem" && $2 == "sftp" { print $3; exit }' \
    /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null)
printf '%s\n' "$path"
if [ "$path" = internal-sftp ] || [ -x "$path" ]; then echo there; fi
