"""The places of a Windows machine on which Mercurial is built and tested, and what the programs beside this one do alike.

    C:/hgdev/src       the repository whose working copy is built and tested; nothing is published from it
    C:/hgdev/results   what a run of tests leaves
    C:/hgdev/tmp       the folder for temporary files of tests and builds
    C:/hgdev/.used-by-automation   names the folder of the run that uses all this

`hg` and `sh` are found by PATH; the Pythons lie in C:/hgdev/pythonXY-ARCH.
"""

import os
import shutil
import stat
import subprocess
import sys

HGDEV = "C:/hgdev"
SOURCE = HGDEV + "/src"
RESULTS = HGDEV + "/results"
TEMPORARY = HGDEV + "/tmp"
MARKER = HGDEV + "/.used-by-automation"

# The folder of the run: that of these programs.
HERE = os.path.dirname(os.path.abspath(sys.argv[0])).replace("\\", "/")
NAME = os.path.splitext(os.path.basename(sys.argv[0]))[0]


class Failure(Exception):
    """Why a program cannot go on, and its exit code."""

    def __init__(self, reason, code=1):
        super().__init__(reason)
        self.code = code


def say(text):
    print("%s: %s" % (NAME, text), file=sys.stderr, flush=True)


def run(main):
    """Runs a program to its end. What it prints ends its lines as on every other system."""
    sys.stdout.reconfigure(newline="\n")
    sys.stderr.reconfigure(newline="\n")
    try:
        code = main(sys.argv[1:])
    except Failure as failure:
        say(failure)
        code = failure.code
    except OSError as error:
        say(error)
        code = 1
    sys.exit(code)


def plain_environment():
    """The variables of this process without those by which a user shapes Mercurial, and with those that make it plain."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HG")}
    environment.update(HGPLAIN="1", HGRCPATH="", HGENCODING="utf-8")
    return environment


def hg(*arguments, **more):
    """Runs `hg` in the source; gives its end, with its output as text where `stdout` asks for it."""
    words = ["hg", "--cwd", SOURCE] + list(arguments)
    try:
        return subprocess.run(words, env=plain_environment(), encoding="utf-8", errors="replace", **more)
    except FileNotFoundError:
        raise Failure("there is no `hg` on the path; `automation machine check` says what a machine must have") from None


def ask_hg(*arguments):
    """The output of `hg`, or none where it fails."""
    done = hg(*arguments, stdout=subprocess.PIPE)
    return done.stdout if done.returncode == 0 else None


def need_source():
    if not os.path.isdir(SOURCE + "/.hg"):
        raise Failure("%s is not a Mercurial repository" % SOURCE)


def owner():
    """The folder of the run that uses the machine; none where none does."""
    try:
        with open(MARKER, encoding="utf-8") as marker:
            return marker.readline().strip()
    except FileNotFoundError:
        return None


def need_own():
    if owner() != HERE:
        raise Failure("another run uses the machine now", 75)


def remove_again(remove, path, _):
    """A file that is marked as read-only is not removed before the mark is."""
    os.chmod(path, stat.S_IRWXU)
    remove(path)


def remove_tree(path):
    if os.path.lexists(path):
        shutil.rmtree(path, onerror=remove_again)
