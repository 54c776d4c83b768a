# Runs Mercurial's test runner in C:/hgdev/src/tests.
#
#   run_tests.py (--list | --run) N [--take NODE | --part K] PYTHON -- ARGUMENT...
#
# N             how many arguments at the end name tests; the others are flags
# --list        print the names of the tests that the same arguments would run, one on a line, and run none. On standard error, what
#               they would run on: `run-tests: on distro=NAME python=VERSION`
# --take NODE   take the machine's folders and check the changeset out before, as `sync_finish.py NODE take` does
# --part K      these tests are the Kth part of what the machine runs: their results land in a folder of that name beside those of the others
# PYTHON        the interpreter: an absolute path
# ARGUMENT      goes to run-tests.py as it is
#
# Results land in C:/hgdev/results, or a folder below it with --part, which is emptied first: events.jsonl, as run_tests_events.py, which must lie beside this program,
# describes it; report.json and xunit.xml, the runner's own reports; TEST.err, the output of each failed test.
#
# Tests that are scripts (.t) need a `sh` on the path, or in C:/hgdev/MinGW/msys/1.0/bin. Where there is none they are not given to the
# runner: each is reported as skipped, with that reason.
#
# Exit code: that of run-tests.py (0 none failed, 1 some failed, 2 its arguments were wrong, or it cannot build here); 64 for wrong arguments of this program;
# 75 where another run has taken the machine meanwhile. With --take, 65 says that the changeset cannot be checked out. With --list, 66 says that a named test does not exist: `unknown test: NAME` is
# on standard error and the names of those that do on standard output.
import glob
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import places  # noqa: E402

USAGE = "usage: run_tests.py (--list | --run) N [--take NODE | --part K] PYTHON -- ARGUMENT..."
TESTS = places.SOURCE + "/tests"
# The shell that Mercurial's own images for Windows have.
SHELL = places.HGDEV + "/MinGW/msys/1.0/bin"
NO_SHELL = "there is no `sh` on this machine"
# What the runner listed for this run, and for which arguments.
LISTED = places.HERE + "/listed.json"

# What the interpreter says of itself and of its system; Wine tells its version, which Windows does not have.
FACTS = """
import ctypes, sys
wine = getattr(ctypes.CDLL("ntdll"), "wine_get_version", None)
if wine:
    wine.restype = ctypes.c_char_p
    system = "wine" + wine().decode()
else:
    import platform
    system = "windows" + platform.version()
kind = {"cpython": "python", "pypy": "pypy"}.get(sys.implementation.name, "other")
print("on distro=%s %s=%s" % (system, kind, sys.version.split()[0]))
"""


def wrong(reason):
    return places.Failure("%s; %s" % (reason, USAGE), 64)


def parse(args):
    """Whether only a list is wanted; the number of tests that are named; the changeset to check out before, or none; the folder for the
    results; the interpreter; the runner's arguments."""
    if args[:1] not in (["--list"], ["--run"]) or not "".join(args[1:2]).isdigit():
        raise wrong("expected --list or --run, and a number")
    listing, count, node, results, args = args[0] == "--list", int(args[1]), None, places.RESULTS, args[2:]
    if args[:1] == ["--take"]:
        if not re.fullmatch("[0-9a-f]{40}", "".join(args[1:2])):
            raise wrong("expected 40 hexadecimal digits after --take")
        node, args = args[1], args[2:]
    elif args[:1] == ["--part"]:
        if not "".join(args[1:2]).isdigit():
            raise wrong("expected a number after --part")
        results, args = results + "/" + args[1], args[2:]
    if len(args) < 2 + count or args[1] != "--":
        raise wrong("expected an interpreter, -- and the names of tests")
    if not os.path.isfile(args[0]):
        there = sorted(os.path.basename(folder) for folder in glob.glob(places.HGDEV + "/python3*-*"))
        reason = "this machine has no %s; of Pythons it has in %s: %s"
        raise places.Failure(reason % (args[0], places.HGDEV, ", ".join(there) or "none"), 64)
    return listing, count, node, results, args[0], args[2:]


def check_out(node):
    try:
        places.check_out(node, take_first=True)
    except (places.Failure, OSError) as error:
        raise places.Failure(error, 65) from None


def need_runner(python, arguments, ours):
    """Refuses a source without the runner, and to have it build where it cannot."""
    if not os.path.isfile(TESTS + "/run-tests.py"):
        raise wrong("%s/run-tests.py is not there" % TESTS)
    if any(word.startswith("--with-hg") for word in arguments):
        return
    found = subprocess.run([python, "-c", "import venv"], env=ours, stderr=subprocess.DEVNULL)
    if found.returncode:
        reason = "%s has no module `venv`, so that the runner cannot install what it is to test; name a Mercurial that is installed"
        raise places.Failure((reason + ", as `--with-hg C:/hgdev/python/Scripts/hg.exe` with Python 3.13") % python, 2)


def environment():
    """The variables of the tests: none that describes the session of this program."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HG", "SSH_"))}
    ours.update(TMP=places.TEMPORARY.replace("/", "\\"), TEMP=places.TEMPORARY.replace("/", "\\"), MSYSTEM="MINGW64")
    # The runner installs with pip, which would fetch build tools from the Internet. The machine has them.
    for name, value in (("PIP_NO_BUILD_ISOLATION", "0"), ("PIP_NO_INDEX", "1"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1")):
        ours.setdefault(name, value)
    if not shutil.which("sh", path=ours.get("PATH")) and os.path.isfile(SHELL + "/sh.exe"):
        ours["PATH"] = SHELL.replace("/", "\\") + os.pathsep + ours.get("PATH", "")
    return ours


def unknown(name):
    places.say("the tests that exist are on standard output")
    print("unknown test: " + name, file=sys.stderr, flush=True)
    for pattern in ("test-*.t", "test-*.py"):
        for path in sorted(glob.glob(TESTS + "/" + pattern)):
            print(os.path.basename(path))
    sys.stdout.flush()
    return 66


def listed(python, arguments, ours):
    """The names of the tests that the runner would run; none where it does not accept its arguments, with its exit code."""
    # With --verbose, --restart and the like the runner says more than names.
    done = subprocess.run(
        [python, "run-tests.py"] + arguments + ["--list-tests"], cwd=TESTS, env=ours, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    lines = done.stdout.decode("utf-8", "replace").split("\n")
    names = [line.strip() for line in lines]
    return [name for name in names if re.fullmatch(r"([^#]*/)?test-[^/]*\.(t|py)(#[^/]*)?", name)], done.returncode


def file_of(name):
    return os.path.join(TESTS, name.partition("#")[0])


def show_list(count, node, python, arguments, ours):
    # Beside the others: none of them needs it, and all take a while to start.
    facts = subprocess.Popen([python, "-I", "-S", "-c", FACTS], env=ours, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if node:
        check_out(node)
    places.need_own()
    need_runner(python, arguments, ours)
    code = print_names(count, python, arguments, ours)
    print("run-tests: %s" % facts.communicate()[0].decode("utf-8", "replace").strip(), file=sys.stderr, flush=True)
    return code


def print_names(count, python, arguments, ours):
    for name in arguments[len(arguments) - count :] if count else []:
        plain = os.path.basename(name.partition("#")[0])
        if not re.fullmatch(r"test-.*\.(t|py)", plain) or not os.path.isfile(file_of(name)):
            return unknown(name)
    names, code = listed(python, arguments, ours)
    if code:
        return code
    for name in names:
        if not os.path.isfile(file_of(name)):
            return unknown(name.partition("#")[0])
    with open(LISTED, "w", encoding="utf-8") as file:
        json.dump([[python] + arguments, names], file)
    print("\n".join(names), flush=True)
    return 0


def known_list(python, arguments, ours):
    """The same as `listed`, which is not asked again for what it has told this run already."""
    try:
        with open(LISTED, encoding="utf-8") as file:
            asked, names = json.load(file)
    except FileNotFoundError:
        asked, names = None, []
    return (names, 0) if asked == [python] + arguments else listed(python, arguments, ours)


def write_events(results, events):
    with open(results + "/events.jsonl", "a", encoding="utf-8") as file:
        for event in events:
            file.write(json.dumps(event) + "\n")


def skipped(names):
    return [dict(event="finish", test=name, outcome="skipped", seconds=0, reason=NO_SHELL) for name in names]


def without_shell(count, python, arguments, ours):
    """The arguments that name the tests that need no shell, and the names of the others; nothing to change where there is a shell."""
    if shutil.which("sh", path=ours["PATH"]):
        return arguments, []
    names, code = known_list(python, arguments, ours)
    scripts = [name for name in names if file_of(name).endswith(".t")]
    if code or not scripts:
        return arguments, []
    places.say("%s: %d tests are skipped" % (NO_SHELL, len(scripts)))
    others = [name for name in names if name not in scripts]
    # Those that were named, or chosen by an option, are named one by one now.
    flags = arguments[: len(arguments) - count]
    return (flags + others if others else None), scripts


def main(args):
    listing, count, node, results, python, arguments = parse(args)
    ours = environment()
    if listing:
        return show_list(count, node, python, arguments, ours)
    places.need_own()
    need_runner(python, arguments, ours)
    places.remove_tree(results)
    os.makedirs(results)
    given, scripts = without_shell(count, python, arguments, ours)
    if given is None:
        options = dict(event="options", debug=False, foreign={}, building=0)
        write_events(results, [options, dict(event="expected", tests=scripts)] + skipped(scripts) + [dict(event="end")])
        return 0
    write_events(results, skipped(scripts))
    ours.update(CUSTOM_TEST_RESULT="run_tests_events", HG_TEST_EVENTS=results + "/events.jsonl")
    ours["PYTHONPATH"] = os.pathsep.join([places.HERE] + [path for path in [ours.get("PYTHONPATH")] if path])
    reports = ["--outputdir", results, "--json", "--xunit", results + "/xunit.xml"]
    return subprocess.run([python, "run-tests.py"] + reports + given, cwd=TESTS, env=ours, stdin=subprocess.DEVNULL).returncode


places.run(main)
