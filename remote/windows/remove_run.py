# Removes all that a run left on a machine that stays: what the run's own program removes, then its tasks, its folder, and the file by which
# it held the machine.
#
#   remove_run.py FOLDER [PROGRAM]
#
# FOLDER    the run's folder, in which the supervisor and the tasks' folders lie
# PROGRAM   the name of a Python program in it that removes what the run made outside of it. A run that was cut short while its programs
#           came has none yet, and has made nothing outside
#
# Exit codes: 0 nothing is left; that of PROGRAM where it fails; anything else: FOLDER could not be removed, and standard error says why.
import os
import shutil
import stat
import subprocess
import sys
import time

# Seconds in which a process that has ended lets go of its files.
PATIENCE = 5


def python(*words):
    return subprocess.run([sys.executable, "-I", "-S", "-X", "utf8", *words], stdin=subprocess.DEVNULL).returncode


def again(remove, path, _):
    """A file that is marked as read-only is not removed before the mark is."""
    os.chmod(path, stat.S_IRWXU)
    remove(path)


def remove(folder):
    end = time.monotonic() + PATIENCE
    while os.path.lexists(folder):
        try:
            shutil.rmtree(folder, onerror=again)
        except OSError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.1)


def held(folder):
    """The file by whose lock the run held the machine, if it did."""
    try:
        with open(os.path.join(folder, "holds"), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def let_go(path):
    """Removes that file. Windows removes none that somebody has open: who waits for the machine keeps it, and removes it in the end.
    Elsewhere it stays, or two runs could each hold a file of that name."""
    if os.name == "nt" and path:
        try:
            os.unlink(path)
        except OSError:
            pass


def main(folder, program=None):
    if program and os.path.exists(os.path.join(folder, program)):
        code = python(os.path.join(folder, program))
        if code:
            return code
    lock = held(folder)
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            if os.path.exists(os.path.join(folder, name, "lock")):
                python(os.path.join(folder, "supervise.py"), "cancel", os.path.join(folder, name), "2")
    remove(folder)
    let_go(lock)
    return 0


sys.exit(main(*sys.argv[1:]))
