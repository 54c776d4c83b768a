# Removes what a run left on a machine that somebody else made: results, temporary files, and the mark that the run uses the machine.
# Mercurial's repository in C:/hgdev/src stays, as a part of the machine.
#
#   cleanup.py
#
# Removes nothing of another run. Prints each thing removed, and nothing if there was nothing.
#
# Exit codes: 0 nothing of this run is left; 1 something is left, with a sentence on standard error.
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import places  # noqa: E402


def main(_):
    if places.owner() != places.HERE:
        return 0
    for folder in (places.RESULTS, places.TEMPORARY):
        if os.path.lexists(folder):
            places.remove_tree(folder)
            print("removed %s" % folder, flush=True)
    os.unlink(places.MARKER)
    return 0


places.run(main)
