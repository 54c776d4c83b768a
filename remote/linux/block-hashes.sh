#!/bin/sh
# Says what a file holds, block by block: one line for each, the SHA-256 as `sha256sum` prints it. The last block may be short.
#
#   block-hashes.sh PATH BYTES COUNT OWNER
#
# PATH   the file
# BYTES  the size of a block
# COUNT  how many blocks at most
# OWNER  `own`: only a plain file that belongs to the caller; `any`: whatever PATH leads to, where that is a plain file
#
# Exit codes: 0 all printed; 1 something failed; 3 PATH is not such a file.
path=$1 bytes=$2 count=$3
[ -f "$path" ] || exit 3
if [ "$4" = own ]; then
    [ ! -L "$path" ] && [ -O "$path" ] || exit 3
fi
size=$(wc -c <"$path") || exit 1
block=0
while [ "$block" -lt "$count" ] && [ $((block * bytes)) -lt "$size" ]; do
    dd if="$path" bs="$bytes" skip="$block" count=1 2>/dev/null | sha256sum || exit 1
    block=$((block + 1))
done
