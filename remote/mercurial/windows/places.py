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


class Mercurial:
    """One `hg` that runs several commands on the source: to start it takes longer than most of what it is asked. Closed by `with`.

    It is spoken to as `hg help internals.cmdserver` describes: a message is a channel of one byte, the length of the data, the data.
    """

    def __init__(self, *options):
        words = ["hg", "--cwd", SOURCE] + list(options) + ["serve", "--cmdserver", "pipe"]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.process = subprocess.Popen(words, env=plain_environment(), **pipes)
        except FileNotFoundError:
            raise Failure("there is no `hg` on the path; `automation machine check` says what a machine must have") from None
        self.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The end of its input ends it.
        self.process.stdin.close()
        self.process.wait()

    def read(self):
        """The next message: its channel and its data. A question gets no answer, as from a user who is not there."""
        while True:
            head = self.process.stdout.read(5)
            if len(head) < 5:
                raise Failure("`hg` ended before it did what it was asked")
            channel, length = head[:1], int.from_bytes(head[1:], "big")
            if not channel.isupper():
                return channel, self.process.stdout.read(length)
            self.write(b"")

    def write(self, data):
        self.process.stdin.write(len(data).to_bytes(4, "big") + data)
        self.process.stdin.flush()

    def run(self, *arguments):
        """Runs a command; gives its exit code and its output. What it says on standard error is said here as well."""
        self.process.stdin.write(b"runcommand\n")
        self.write(b"\0".join(argument.encode() for argument in arguments))
        output = b""
        while True:
            channel, data = self.read()
            if channel == b"r":
                return int.from_bytes(data, "big", signed=True), output.decode("utf-8", "replace")
            if channel == b"o":
                output += data
            elif channel == b"e":
                sys.stderr.write(data.decode("utf-8", "replace"))
                sys.stderr.flush()

    def ask(self, *arguments):
        """The output of a command, or none where it fails."""
        code, output = self.run(*arguments)
        return output if code == 0 else None


def ask_hg(*arguments):
    """The output of one command, or none where it fails."""
    with Mercurial() as hg:
        return hg.ask(*arguments)


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


def take():
    """Takes the folders for this run, and empties those for results and temporary files."""
    for folder in (RESULTS, TEMPORARY):
        remove_tree(folder)
        os.mkdir(folder)
    with open(MARKER, "w", encoding="utf-8") as marker:
        marker.write(HERE + "\n")


def check_out(node, take_first):
    """Brings the working copy of the source to a changeset that was pushed into it, and removes everything else from it, ignored files
    and an earlier build included. Takes the folders before, where that is asked for."""
    need_source()
    if take_first:
        take()
    with Mercurial("--config", "extensions.purge=") as hg:
        if hg.ask("--hidden", "log", "--rev", node, "--template", "{node}") != node:
            raise Failure("changeset %s did not arrive in %s" % (node, SOURCE))
        # First back to a tree without changes, then the purge: what an unfinished earlier synchronisation had added counts as unknown
        # only then.
        if hg.ask("--hidden", "update", "--quiet", "--clean", "--rev", node) is None:
            raise Failure("cannot check out %s" % node)
        if hg.ask("purge", "--all") is None:
            raise Failure("cannot purge %s: a file of an earlier run may still be open" % SOURCE)
        here = hg.ask("--hidden", "log", "--rev", ".", "--template", "{node}")
    if here != node:
        raise Failure("checked out %s in place of %s" % (here, node))


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
