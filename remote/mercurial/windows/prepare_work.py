# Takes the folders of a Windows machine for this run, and empties those for results and temporary files.
#
#   prepare_work.py
#
# Exit codes: 0 ready; 1 something is missing, or cannot be emptied; standard error says what.
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import places  # noqa: E402


def main(_):
    places.need_source()
    places.take()
    return 0


places.run(main)
