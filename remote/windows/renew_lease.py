# Postpones the end of the machine. `watch-lease.ps1` reads the file that this writes.
#
#   UNTIL [STATE]    when the machine ends without another renewal, seconds since 1970; the folder of the machine's state
#
# Exit codes: 0 renewed; 1 not renewed, and standard error says why; 64 wrong arguments.
import os
import sys


def main(words):
    if len(words) not in (1, 2) or not words[0].isdecimal():
        sys.stderr.write("renew_lease: it takes a number of seconds and a folder\n")
        return 64
    state = words[1] if len(words) == 2 else os.path.join(os.environ["PROGRAMDATA"], "hg-automation")
    lease = os.path.join(state, "lease")
    try:
        # Under a new name first, so that the watcher never reads half of it.
        with open(lease + ".new", "w", encoding="ascii", newline="\n") as file:
            file.write(words[0] + "\n")
        os.replace(lease + ".new", lease)
    except OSError as error:
        sys.stderr.write("renew_lease: cannot write `%s`: %s\n" % (lease, error.strerror or error))
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
