"""Stands for the program that shuts Windows down: the machine's watcher sees the file, and the instance switches itself off."""

import sys

if "/s" not in sys.argv[1:]:
    sys.stderr.write("shutdown: not known here: %s\n" % " ".join(sys.argv[1:]))
    sys.exit(97)
open("C:/standin/power-off", "w").close()
