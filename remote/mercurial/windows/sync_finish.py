# Brings the working copy of C:/hgdev/src to a changeset that was pushed into it, and removes everything else from it, ignored files
# and an earlier build included. Prints the node that is checked out.
#
#   sync_finish.py NODE [take]
#
# NODE   the full hash, 40 hexadecimal digits
# take   does before what prepare_work.py does, for a run that needs no more than one changeset
#
# Exit codes: 0 checked out; 1 something failed; 2 wrong arguments.
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import places  # noqa: E402


def main(args):
    if args[1:] not in ([], ["take"]) or not re.fullmatch("[0-9a-f]{40}", "".join(args[:1])):
        raise places.Failure("usage: sync_finish.py NODE [take], where NODE has 40 hexadecimal digits", 2)
    places.check_out(args[0], args[1:] == ["take"])
    print(args[0], flush=True)
    return 0


places.run(main)
