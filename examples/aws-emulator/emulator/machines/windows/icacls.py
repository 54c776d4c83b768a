"""Stands for the program that gives rights to files: there are none of Windows here, so it holds against what the driver must ask for.

A key that others have rights to is refused by the SSH server of Windows, so only SYSTEM and administrators may have any.
"""

import os
import sys

FORMS = (
    ["/inheritance:r", "/grant:r", "*S-1-5-18:F", "/grant:r", "*S-1-5-32-544:F"],
    ["/setowner", "*S-1-5-32-544"],
)


def main(words):
    if not words or words[1:] not in FORMS:
        sys.stderr.write("icacls: not known here: %s\n" % " ".join(words))
        return 97
    if not os.path.exists(words[0]):
        sys.stderr.write("%s: The system cannot find the file specified.\n" % words[0])
        return 2
    return 0


sys.exit(main(sys.argv[1:]))
