"""Has the program of Linux with the name of this file do the work of a program of Windows.

A program of Linux gives no exit code to one of Windows: `relay.sh` leaves a file that tells.
"""

import _winapi
import os
import shutil
import subprocess
import sys
import tempfile
import time

NAME = os.path.splitext(os.path.basename(sys.argv[0]))[0]
DRIVE = "/srv/windows/drive_c/"
LIMIT = 60


def linux(word):
    """A path of Windows as one of Linux; any other word as it is."""
    return DRIVE + word[3:].replace("\\", "/") if word[1:3] in (":/", ":\\") else word


def main():
    folder = tempfile.mkdtemp(dir="C:/standin")
    try:
        with open(folder + "/words", "w", encoding="utf-8", newline="\n") as file:
            file.write("".join(linux(word) + "\0" for word in sys.argv[1:]))
        line = subprocess.list2cmdline(["Z:\\usr\\local\\lib\\standin\\relay.sh", NAME, linux(folder)])
        # The handles of such a program are none, so that `subprocess`, which closes them, has errors of it.
        _winapi.CreateProcess(None, line, None, None, False, 0, None, None, subprocess.STARTUPINFO())
        end = time.monotonic() + LIMIT
        while not os.path.exists(folder + "/status"):
            if time.monotonic() > end:
                sys.stderr.write("%s has not ended within %d s\n" % (NAME, LIMIT))
                return 97
            time.sleep(0.05)
        for name, stream in (("output", sys.stdout), ("errors", sys.stderr)):
            with open(folder + "/" + name, "rb") as file:
                stream.buffer.write(file.read())
        with open(folder + "/status", encoding="ascii") as file:
            return int(file.read())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


sys.exit(main())
