"""Writes what Mercurial's test runner learns, as it learns it, to the file that HG_TEST_EVENTS names.

run-tests.py loads this module by name from CUSTOM_TEST_RESULT, its own hook for reports. Its two other reports are
written at the end only, leave out tests that errored, and give no reasons (report.json) or no times (xunit.xml).

One JSON object on a line:

    {"event": "options", "debug": BOOL, "foreign": {FLAG: PATH}, "building": NUMBER}
                                                  once, first: options that make green mean less: whether no output is compared,
                                                  and the programs under test that do not lie in the
                                                  source whose tests these are, by the flag that names them; and how many seconds the runner took
                                                  to build and install what it tests, which it does before its first test
    {"event": "expected", "tests": [NAME, ...]}   once, before the first test: everything that was selected
    {"event": "start", "test": NAME, "at": NUMBER}
                                                  when, by the clock of the machine: seconds since 1970
    {"event": "diff", "test": NAME, "text": STRING, "file": PATH, "sha256": STRING or null}
                                                  before the finish of a test whose output is not what was expected: how it differs, from
                                                  its beginning on (of one that was longer the last line says so); the file that says what is
                                                  expected, from the top of the source, and its sum; null where there is no such file
    {"event": "finish", "test": NAME, "outcome": OUTCOME, "seconds": NUMBER, "reason": STRING or null}
    {"event": "end"}                              once, when the runner came to its own end

OUTCOME is "passed", "failed", "timed_out" (the test took longer than --timeout allows, and was ended), "errored" (the runner
could not run the test), "skipped", "ignored" (it was selected, but a filter like --keywords took it out), "missing" (it was selected, and its file is not there) or "interrupted". A test that never
finishes was lost. With --runs-per-test and --loop a test finishes more than once.
"""

import __main__
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

# The most bytes of a difference, and the line at the end of one that was longer.
_DIFF_CAP = 64 << 10
_DIFF_CUT = "[the rest of the difference was left out]\n"

_here = os.path.dirname(os.path.abspath(__file__))
_path = os.environ["HG_TEST_EVENTS"]

# Some tests run the runner, and all inherit its environment: they must see the one that they would have without this module.
for _environ in (os.environ, getattr(__main__, "origenviron", {})):
    _environ.pop("CUSTOM_TEST_RESULT", None)
    _environ.pop("HG_TEST_EVENTS", None)
    _parts = [p for p in _environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != _here]
    if _parts:
        _environ["PYTHONPATH"] = os.pathsep.join(_parts)
    else:
        _environ.pop("PYTHONPATH", None)
sys.path[:] = [p for p in sys.path if p != _here]


def _foreign(options):
    """The programs under test that are not the source's own, by the flag that names them."""
    source = os.path.dirname(os.path.realpath(os.getcwd()))
    found = {}
    for flag, name in (("--with-hg", "with_hg"), ("--with-chg", "with_chg"), ("--with-rhg", "with_rhg"), ("--hg-wheel", "wheel")):
        path = getattr(options, name, None)
        if path:
            path = os.path.realpath(os.fsdecode(path))
            if not path.startswith(source + os.sep):
                found[flag] = path
    return found


def _with_descendants(pids):
    """The processes PIDS, those that they started, and those that these started, parents first."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as stat:
                    # The name of the program, in parentheses, may hold anything; what follows it is plain.
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(name))
    found = list(pids)
    for process in found:
        found.extend(child for child in children.get(process, []) if child not in found)
    return found


def _terminate_tree(process, terminate=__main__.terminate):
    """Ends a test that took too long with all that it started.

    The runner ends the shell of the test only, and then waits until the command that the shell was waiting for closes the
    output: a test that hangs in `sleep 1000` would hang for 1000 seconds, whatever --timeout says.
    """
    family = _with_descendants([process.pid])[1:]
    for pid in family:
        _signal(pid, signal.SIGTERM)
    terminate(process)
    time.sleep(0.5)
    for pid in _with_descendants(family):
        _signal(pid, signal.SIGKILL)


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        pass  # The process has ended by itself.


def _terminate_tree_of_windows(process, terminate=__main__.terminate):
    """The same where processes have no signals; `taskkill` is a part of every Windows."""
    subprocess.call(["taskkill", "/f", "/t", "/pid", str(process.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    terminate(process)


__main__.terminate = _terminate_tree_of_windows if os.name == "nt" else _terminate_tree


class TestResult(__main__.TestResult):
    """The runner's own result, which also writes events."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._events = open(_path, "a", encoding="utf-8")
        self._events_lock = threading.Lock()
        self._begun = {}
        self._verdicts = {}
        # The runner makes its result, builds and installs, and only then calls `onStart`: the time between is that of the build.
        self._made = time.monotonic()

    def _event(self, **fields):
        with self._events_lock:
            self._events.write(json.dumps(fields) + "\n")
            self._events.flush()

    def _verdict(self, test, outcome, reason=None):
        if reason is not None:
            reason = str(reason)
        if id(test) not in self._begun:
            # The test was taken out before its start: it does not exist, is blacklisted, or does not match the keywords.
            self._event(event="finish", test=test.name, outcome=outcome, seconds=0, reason=reason)
        elif self._verdicts.get(id(test), ("", None))[0] != "errored":
            self._verdicts[id(test)] = (outcome, reason)

    def onStart(self, test):
        options = self._options
        building = round(time.monotonic() - self._made, 3)
        self._event(event="options", debug=bool(options.debug), foreign=_foreign(options), building=building)
        self._event(event="expected", tests=sorted({t.name for t in test}))
        super().onStart(test)

    def onEnd(self):
        super().onEnd()
        self._event(event="end")

    def startTest(self, test):
        self._begun[id(test)] = time.monotonic()
        self._event(event="start", test=test.name, at=round(time.time(), 3))
        super().startTest(test)

    def stopTest(self, test, interrupted=False):
        super().stopTest(test, interrupted)
        seconds = round(time.monotonic() - self._begun.pop(id(test)), 3)
        outcome, reason = self._verdicts.pop(id(test), ("interrupted", None))
        self._event(event="finish", test=test.name, outcome=outcome, seconds=seconds, reason=reason)

    def addSuccess(self, test):
        self._verdict(test, "passed")
        super().addSuccess(test)

    def addOutputMismatch(self, test, ret, got, expected):
        try:
            self._diff(test, got, expected)
        except Exception as error:
            # A report that lacks a difference is better than a runner that ends.
            print("run_tests_events: no difference of %s: %s" % (test.name, error), file=sys.stderr)
        return super().addOutputMismatch(test, ret, got, expected)

    def _diff(self, test, got, expected):
        text, left = "", _DIFF_CAP
        for line in __main__.getdiff(expected or [], got, test.refpath, test.errpath)[1]:
            left -= len(line)
            if left < 0:
                text += _DIFF_CUT
                break
            text += line.decode("utf-8", "replace")
        path, sum = os.fsdecode(test.refpath), None
        if os.path.isfile(path):
            with open(path, "rb") as file:
                sum = hashlib.sha256(file.read()).hexdigest()
        path = os.path.relpath(path, os.path.dirname(os.getcwd())).replace(os.sep, "/")
        self._event(event="diff", test=test.name, text=text, file=path, sha256=sum)

    def addFailure(self, test, reason):
        # The runner itself tells a timeout from a failure by these words alone.
        self._verdict(test, "timed_out" if str(reason) == "timed out" else "failed", reason)
        super().addFailure(test, reason)

    def addError(self, test, err):
        self._verdict(test, "errored", "%s: %s" % (err[0].__name__, err[1]))
        super().addError(test, err)

    def addSkip(self, test, reason):
        self._verdict(test, "skipped" if os.path.exists(test.path) else "missing", reason)
        super().addSkip(test, reason)

    def addIgnore(self, test, reason):
        self._verdict(test, "ignored", reason)
        super().addIgnore(test, reason)
