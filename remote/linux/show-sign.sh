#!/bin/sh
# Shows `hold.sh` that the run's driver is there.
#
#   show-sign.sh FOLDER
#
# FOLDER   the run's folder, with `hold.sh` in it; where the folder has gone meanwhile, nothing is made in its place
[ ! -e "$1/hold.sh" ] || touch -- "$1/alive"
