# Shows `hold.py` that the run's driver is there.
#
#   show_sign.py FOLDER
#
# FOLDER   the run's folder, with `hold.py` in it; where the folder has gone meanwhile, nothing is made in its place
import os
import sys

folder = sys.argv[1]
if os.path.exists(folder + "/hold.py"):
    with open(folder + "/alive", "ab"):
        os.utime(folder + "/alive")
