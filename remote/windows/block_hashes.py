# Says what a file holds, block by block: one line for each, the SHA-256 as `sha256sum` prints it. The last block may be short.
#
#   block_hashes.py PATH BYTES COUNT OWNER
#
# PATH   the file
# BYTES  the size of a block
# COUNT  how many blocks at most
# OWNER  `own`: only a plain file that is no link; `any`: whatever PATH leads to, where that is a plain file. Whose file it is does not
#        matter on Windows: an administrator's new files belong to the group of all of them
#
# Exit codes: 0 all printed; 1 something failed; 3 PATH is not such a file.
import hashlib
import os
import stat
import sys

# Bytes of one read.
PIECE = 1 << 20


def main(path, size, count, owner):
    try:
        found = os.lstat(path) if owner == "own" else os.stat(path)
    except OSError:
        return 3
    if not stat.S_ISREG(found.st_mode):
        return 3
    with open(path, "rb", 0) as file:
        for _ in range(count):
            digest, left = hashlib.sha256(), size
            while left:
                data = file.read(min(PIECE, left))
                if not data:
                    break
                left -= len(data)
                digest.update(data)
            if left == size:
                break
            os.write(1, digest.hexdigest().encode() + b"  -\n")
    return 0


sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
