# Builds one wheel of the source in C:/hgdev/src, by the build front end that Mercurial's project uses. The last line of standard
# output tells of the wheel in JSON: `path`, `size`, `sha256`, `version`. What the tools say goes to standard error.
#
#   build_wheel.py PYTHON-VERSION ARCH OUTPUT [VERSION]
#
# PYTHON-VERSION   as 3.13, or 3.14t for the one without the global lock; which wheels the source has is up to the caller
# ARCH             x86, x64 or arm64
# OUTPUT           the folder for the wheel: an absolute path; it is made where it is not there
# VERSION          what the wheel's version has to be
#
# Needs `cibuildwheel` on the path. The file wheels.py must lie beside this program.
#
# Exit codes: 0 built; 1 it cannot be built, or something else came of it than was asked for, and then nothing is in OUTPUT; 2 wrong
# arguments; 75 where another run has taken the machine meanwhile.
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import places  # noqa: E402
import wheels  # noqa: E402

USAGE = "usage: build_wheel.py PYTHON-VERSION ARCH OUTPUT [VERSION]"


def main(args):
    if len(args) not in (3, 4) or not re.fullmatch(r"3\.\d+t?", args[0]) or args[1] not in wheels.PLATFORMS:
        raise places.Failure("%s, where ARCH is %s" % (USAGE, ", ".join(wheels.PLATFORMS)), 2)
    if not os.path.isabs(args[2]):
        raise places.Failure("`%s` is not an absolute path; %s" % (args[2], USAGE), 2)
    places.need_source()
    places.need_own()
    path, version = wheels.build(*args)
    wheels.tell(path, version)
    return 0


places.run(main)
