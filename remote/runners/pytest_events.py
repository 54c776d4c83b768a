"""Writes what pytest learns, as it learns it, to the file that AUTOMATION_REPORT names: a plugin (`-p pytest_events`).

Where AUTOMATION_LIST names a file, the names of the collected tests are written to that instead, one a line.

The report is of events, one JSON object on a line (docs/runners.md): "start" and "finish" of each test, with a "detail" before the finish of
one that failed, and "end" where pytest came to its own end. With pytest-xdist the process that distributes the tests writes, of what its
workers report. A test is called by its node id, whose file is relative to the folder that pytest was started in, as its arguments are.

AUTOMATION_TEST_TIMEOUT is how many seconds a test may take, its set-up and tear-down included: an exception is raised in it then. A test
that goes on all the same ends the whole process ten seconds later, with the place where each thread hangs on standard error. Of a worker
of pytest-xdist the other tests go on in a new one.
"""

import faulthandler
import json
import os
import signal
import sys
import threading
import time

import pytest

# The most characters of a failure that are told.
_DETAIL_CAP = 64 << 10

# How many seconds a test has to end after it was told to.
_GRACE = 10

_here = os.path.dirname(os.path.abspath(__file__))
_path = os.pathsep.join(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and os.path.abspath(p) != _here)
_report, _list = os.environ.get("AUTOMATION_REPORT"), os.environ.get("AUTOMATION_LIST")


def _clean_environment():
    """Tests may start pytest too, and must see the environment that they would have without this module."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != _here]
    if _path:
        os.environ["PYTHONPATH"] = _path
    else:
        os.environ.pop("PYTHONPATH", None)
    for name in ("AUTOMATION_REPORT", "AUTOMATION_LIST", "AUTOMATION_TESTS"):
        os.environ.pop(name, None)


class _Tests:
    """The tests by the names that they have as arguments."""

    def __init__(self, config):
        self._root = str(getattr(config, "rootpath", None) or config.rootdir)
        self._start = str(config.invocation_params.dir)

    def name(self, nodeid):
        if self._root == self._start:
            return nodeid
        file, colons, rest = nodeid.partition("::")
        return os.path.relpath(os.path.join(self._root, file), self._start) + colons + rest


class _Events:
    """What is known of the tests that run now."""

    def __init__(self, path, tests, limit):
        self._file = open(path, "a", encoding="utf-8", errors="replace")
        self._lock = threading.RLock()
        self._running = {}
        self._began = {}
        self._tests = tests
        self._limit = limit
        self._late = {}

    def write(self, **fields):
        # A name may hold half a surrogate pair, which is no text: ASCII can write it all the same, and the reader refuses it alone.
        with self._lock:
            self._file.write(json.dumps(fields) + "\n")
            self._file.flush()

    def give_up(self, nodeid, reason):
        """The process ends now, by the limit of this test."""
        self.write(event="finish", test=self._tests.name(nodeid), outcome="timed_out", seconds=None, reason=reason)

    def pytest_runtest_logstart(self, nodeid, location):
        # Of a test that is run again (by a plugin that does so) the last try counts.
        self._running[nodeid] = ["lost", None, None, 0.0]
        now = time.time()
        self._began[nodeid] = now
        self.write(event="start", test=self._tests.name(nodeid), at=round(now, 3))

    def pytest_runtest_logreport(self, report):
        known = self._running.setdefault(report.nodeid, ["lost", None, None, 0.0])
        known[3] += report.duration
        if hasattr(report, "automation_late"):
            self._late[report.nodeid] = report.automation_late
        outcome, reason = _outcome(report)
        if outcome == "rerun":
            known[:3] = ["lost", None, None]
            return
        rank = ["lost", "passed", "skipped", "failed", "errored"]
        if rank.index(outcome) > rank.index(known[0]):
            detail = report.longreprtext if outcome in ("failed", "errored") else None
            known[:3] = [outcome, reason, detail]
        # The worker of pytest-xdist that ran it is gone: nothing more is told of this test.
        if report.when == "???":
            took = time.time() - self._began.get(report.nodeid, time.time())
            known[3] = took
            if self._limit and took >= self._limit:
                self._late[report.nodeid] = "timed out after %s s and went on, which ended its worker" % self._limit
            self.pytest_runtest_logfinish(report.nodeid, None)

    def pytest_runtest_logfinish(self, nodeid, location):
        outcome, reason, detail, seconds = self._running.pop(nodeid, ["lost", None, None, 0.0])
        if nodeid in self._late:
            # A test may swallow what tells it that its time is over, and pass.
            outcome, reason = "timed_out", self._late[nodeid]
        if outcome == "lost":
            return
        test = self._tests.name(nodeid)
        if detail:
            self.write(event="detail", test=test, text=detail[-_DETAIL_CAP:])
        self.write(event="finish", test=test, outcome=outcome, seconds=round(seconds, 3), reason=reason)

    def pytest_sessionfinish(self, session, exitstatus):
        # Anything but "all passed" and "some failed" is not an end that pytest chose: an internal error, an interruption.
        if int(exitstatus) in (0, 1):
            self.write(event="end")

    def pytest_unconfigure(self, config):
        self._file.close()


def _outcome(report):
    if report.outcome == "rerun":
        return "rerun", None
    if report.skipped:
        if hasattr(report, "wasxfail"):
            return "skipped", ("expected to fail: %s" % report.wasxfail).rstrip(": ")
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        return "skipped", why[len("Skipped: "):] if why.startswith("Skipped: ") else why
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        line = (getattr(crash, "message", None) or report.longreprtext or "failed").strip().split("\n")[0]
        return ("failed" if report.when == "call" else "errored"), line
    return "passed", None


class _Names:
    """Writes the names of the tests, and nothing else."""

    def __init__(self, tests):
        self._tests = tests

    def pytest_collection_finish(self, session):
        with open(_list, "w", encoding="utf-8") as file:
            file.writelines(self._tests.name(item.nodeid) + "\n" for item in session.items)


class _Limit:
    """Ends a test that takes too long, in the process that runs it."""

    def __init__(self, seconds, events):
        self._seconds = seconds
        self._events = events
        self._late = set()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        def ring(*_):
            if item.nodeid in self._late:
                self._end(item.nodeid)
            self._late.add(item.nodeid)
            pytest.fail(self._words())

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, _GRACE)
        # One that hangs where Python takes no signal ends without a word in the report.
        faulthandler.dump_traceback_later(self._seconds + _GRACE + 2, exit=True, file=sys.__stderr__)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        if item.nodeid in self._late:
            # With pytest-xdist it goes on to the process that writes.
            outcome.get_result().automation_late = self._words()

    def _words(self):
        return "timed out after %s s" % self._seconds

    def _end(self, nodeid):
        faulthandler.dump_traceback(file=sys.__stderr__)
        if self._events:
            self._events.give_up(nodeid, self._words() + " and went on, which ended pytest")
        os._exit(1)


def _distributes(config):
    """Whether the tests run in workers of pytest-xdist, which this process starts."""
    return bool(getattr(config.option, "numprocesses", None)) or getattr(config.option, "dist", "no") != "no"


def pytest_configure(config):
    limit, worker, tests = os.environ.get("AUTOMATION_TEST_TIMEOUT"), hasattr(config, "workerinput"), _Tests(config)
    if _list:
        config.pluginmanager.register(_Names(tests), "automation-names")
        return
    events = None
    if _report and not worker:
        events = _Events(_report, tests, int(limit or 0))
        config.pluginmanager.register(events, "automation-events")
    # Workers are started with the environment of now and with its path, and need the plugin; they clean up for themselves.
    if worker or (_report and not _distributes(config)):
        _clean_environment()
    if limit:
        config.pluginmanager.register(_Limit(int(limit), events), "automation-limit")
