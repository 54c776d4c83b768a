"""Stands for Amazon's launch agent: `reset --clean` lets user data be run again, by the first boot of a machine of the image."""

import os
import sys

if sys.argv[1:] != ["reset", "--clean"]:
    sys.stderr.write("EC2Launch: not known here: %s\n" % " ".join(sys.argv[1:]))
    sys.exit(97)
once = os.path.join(os.environ["PROGRAMDATA"], "Amazon", "EC2Launch", "state", ".run-once")
if os.path.exists(once):
    os.remove(once)
