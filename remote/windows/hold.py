# Holds the machine for one run: where all runs work in the same folder, a second one would remove it under the tests of the first.
#
#   hold.py FOLDER RUN SILENCE OWNER    waits until no other run holds the machine, and holds it
#   hold.py who FOLDER                  prints `RUN SINCE OWNER` of the run that holds it, and nothing where none does
#
# FOLDER    a folder of the machine, by its absolute path: of all runs that name the same one, one holds the machine at a time
# RUN       the run's id
# SILENCE   seconds without a sign of the run's driver after which the driver counts as gone
# OWNER     the run's owner
#
# Lies in the run's folder and prints a line `waits RUN SINCE OWNER` whenever it learns for whom it waits, then the line `held`, and goes on.
# It holds a lock on the file `.hg-automation-hold` in FOLDER, which is released when this process ends, in whatever way; who holds it
# stands behind the locked byte, and where it lies in the file `holds` of the run's folder, by which remove_run.py removes it. It ends when the
# run's folder has gone; and when neither the driver gives a sign, by touching the file `alive` in the run's folder, nor any task of that folder
# runs: tests that were left to themselves hold the machine, and no longer than that.
#
# Exit codes: 0 nothing is held any more; 1 there is nothing to hold; 64 wrong arguments.
import datetime
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))

# The file of the run's folder that names the one that is locked.
HOLDS = "holds"

# Bytes that the name of a holder has at most.
MOST = 4096


def say(text):
    os.write(1, (text + "\n").encode("utf-8", "replace"))


def lock(file):
    """Tries to lock the first byte of a file; the lock ends with the file."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def opened(path, how=0):
    return os.fdopen(os.open(path, os.O_RDWR | how | getattr(os, "O_BINARY", 0), 0o666), "r+b", 0)


def holder(path):
    """Who holds the machine; empty where nobody does."""
    try:
        file = opened(path)
    except FileNotFoundError:
        return ""
    with file:
        if lock(file):
            return ""
        file.seek(1)
        return file.read(MOST).decode("utf-8", "replace").strip() or "of - somebody else"


def works():
    """Whether a task of the folder other than this one runs: its supervisor holds the lock then."""
    for name in os.listdir(HERE):
        path = os.path.join(HERE, name, "lock")
        if name != os.environ.get("HG_AUTOMATION_TASK") and os.path.exists(path):
            with opened(path) as file:
                if not lock(file):
                    return True
    return False


def is_over():
    return not os.path.exists(os.path.join(HERE, "hold.py"))


def sign():
    try:
        return os.stat(os.path.join(HERE, "alive")).st_mtime_ns
    except OSError:
        return None


def opened_to_lock(path):
    """The file, made where it is missing; Windows refuses that at the moment at which another run removes it."""
    for _ in range(20):
        try:
            return opened(path, os.O_CREAT)
        except PermissionError:
            time.sleep(0.1)
    return opened(path, os.O_CREAT)


def hold(path, run, silence, owner):
    with open(os.path.join(HERE, HOLDS), "w", encoding="utf-8") as file:
        file.write(path)
    file, told = opened_to_lock(path), ""
    while not lock(file):
        if is_over():
            return
        found = holder(path)
        if found and found != told:
            say("waits " + found)
            told = found
        time.sleep(0.2)
    since = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    file.seek(1)
    file.write(("%s %s %s\n" % (run, since, owner)).encode("utf-8", "replace").ljust(MOST)[:MOST])
    say("held")
    last, silent = sign(), 0
    while not is_over():
        time.sleep(1)
        now = sign()
        silent = 0 if now != last else silent + 1
        last = now
        if silent >= silence and not works():
            return


def main(args):
    if len(args) == 2 and args[0] == "who":
        folder = args[1]
    elif len(args) == 4 and args[2].isdigit():
        folder = args[0]
    else:
        os.write(2, b"usage: hold.py FOLDER RUN SILENCE OWNER, or hold.py who FOLDER\n")
        return 64
    if not os.path.isdir(folder):
        os.write(2, ("hold: there is no %s\n" % folder).encode("utf-8", "replace"))
        return 1
    path = os.path.join(folder, ".hg-automation-hold")
    if args[0] == "who" and len(args) == 2:
        found = holder(path)
        if found:
            say(found)
    else:
        hold(path, args[1], int(args[2]), args[3])
    return 0


sys.exit(main(sys.argv[1:]))
