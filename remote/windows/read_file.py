# Reads a file that others write: its ends, a piece of it, or its content as it grows.
#
#   ends PATH HALF         the size in bytes on a line of its own, then all of it where it has at most twice HALF bytes, else its first
#                          and its last HALF bytes
#   piece PATH FROM MOST   at most MOST bytes from the offset FROM on; nothing where it is not there
#   follow PATH FROM       its bytes from the offset FROM on, and all that is added, until standard input ends; the file may appear later
#
# Exit codes: 0 done; 1 it is not a plain file, or cannot be read, and standard error says why; 64 wrong arguments.
import os
import sys
import threading
import time

# Bytes of one read, and seconds between two looks at a file that may grow.
PIECE = 1 << 16
PAUSE = 0.2


def put(data):
    while data:
        data = data[os.write(1, data) :]


def copy(file, most):
    while most > 0:
        data = file.read(min(PIECE, most))
        if not data:
            return
        most -= len(data)
        put(data)


def opened(path):
    if not os.path.isfile(path):
        raise OSError("`%s` is not a plain file" % path)
    return open(path, "rb", 0)


def ends(path, half):
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        put(b"%d\n" % size)
        if size <= 2 * half:
            copy(file, size)
            return
        copy(file, half)
        file.seek(size - half)
        copy(file, half)


def piece(path, start, most):
    with opened(path) as file:
        file.seek(start)
        copy(file, most)


def follow(path, start):
    threading.Thread(target=watch, daemon=True).start()
    while True:
        # It is opened anew for each look: an open file would keep others from replacing it.
        if os.path.exists(path):
            with opened(path) as file:
                file.seek(start)
                copy(file, max(os.fstat(file.fileno()).st_size - start, 0))
                start = file.tell()
        time.sleep(PAUSE)


def watch():
    while os.read(0, PIECE):
        pass
    os._exit(0)


def main(args):
    if len(args) == 3 and args[0] == "ends":
        ends(args[1], int(args[2]))
    elif len(args) == 4 and args[0] == "piece":
        piece(args[1], int(args[2]), int(args[3]))
    elif len(args) == 3 and args[0] == "follow":
        follow(args[1], int(args[2]))
    else:
        os.write(2, b"there is no such request\n")
        return 64
    return 0


sys.exit(main(sys.argv[1:]))
