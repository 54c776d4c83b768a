# Removes all that a run left on a machine that stays: what the run's own program removes, then its tasks, and its folder last.
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


def main(folder, program=None):
    if program and os.path.exists(os.path.join(folder, program)):
        code = python(os.path.join(folder, program))
        if code:
            return code
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            if os.path.exists(os.path.join(folder, name, "lock")):
                python(os.path.join(folder, "supervise.py"), "cancel", os.path.join(folder, name), "2")
    remove(folder)
    return 0


sys.exit(main(*sys.argv[1:]))
