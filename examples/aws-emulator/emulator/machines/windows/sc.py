"""Stands for the program that configures services: knows that of the SSH server, which is started by the first boot alone."""

import sys

if sys.argv[1:] != ["config", "sshd", "start=", "demand"]:
    sys.stderr.write("sc: not known here: %s\n" % " ".join(sys.argv[1:]))
    sys.exit(97)
