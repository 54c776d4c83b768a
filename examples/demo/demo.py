#!/usr/bin/env python3
"""Two tests of the machine that they run on, and a runner for them that reports in the tool's own format (docs/runners.md).

    demo.py list             prints the name of each test on a line
    demo.py run [TEST...]    runs these, or all, and writes what became of them to $AUTOMATION_REPORT

A test fails by an AssertionError, whose text is shown. Exit code: 0 all passed, 1 some failed.
"""

import getpass
import json
import os
import subprocess
import sys
import time
import traceback

# Long enough to be seen on the screen while it runs.
SHOWN = 1.0


def is_its_own():
    """Nothing of the computer that made the machine is to be seen: no process, no network; and its user may do anything."""
    processes = [name for name in os.listdir("/proc") if name.isdigit()]
    assert len(processes) < 50, f"{len(processes)} processes on a machine that was just made"
    networks = os.listdir("/sys/class/net")
    assert networks == ["lo"], f"it has the networks {networks}"
    assert getpass.getuser() == "hg", f"the user is {getpass.getuser()}"
    root = subprocess.run(["sudo", "-n", "id", "-u"], capture_output=True, text=True, check=True).stdout.strip()
    assert root == "0", f"sudo gives the user {root}"


def is_new():
    """Nobody was on the machine before, and what is written there is there: it goes with the machine."""
    mark = "/etc/automation-demo"
    assert not os.path.exists(mark), "somebody ran this test on the machine before"
    subprocess.run(["sudo", "-n", "tee", mark], input="here\n", capture_output=True, text=True, check=True)
    with open(mark, encoding="utf-8") as file:
        assert file.read() == "here\n", "what was written is not there"


TESTS = {"machine-is-its-own": is_its_own, "machine-is-new": is_new}


def run(names):
    """Runs tests; whether all passed."""
    failed = False
    with open(os.environ["AUTOMATION_REPORT"], "w", encoding="utf-8") as report:

        def tell(**event):
            print(json.dumps(event), file=report, flush=True)

        for name in names:
            tell(event="start", test=name, at=time.time())
            began = time.monotonic()
            outcome = "passed"
            try:
                TESTS[name]()
                time.sleep(max(0.0, SHOWN - (time.monotonic() - began)))
            except Exception as error:
                failed, outcome = True, "failed"
                tell(event="detail", test=name, text="".join(traceback.format_exception_only(type(error), error)))
            took = time.monotonic() - began
            tell(event="finish", test=name, outcome=outcome, seconds=took, reason=None)
        tell(event="end")
    return not failed


def main():
    if sys.argv[1:] == ["list"]:
        print(*TESTS, sep="\n")
        return 0
    return 0 if run(sys.argv[2:] or TESTS) else 1


if __name__ == "__main__":
    sys.exit(main())
