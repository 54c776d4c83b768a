# Applies uncommitted changes to the working copy of C:/hgdev/src and leaves them uncommitted: content, additions, removals, renames,
# copies, binary files. Prints the status that results, as `hg status` does.
#
#   apply_working_copy.py < PATCH
#
# PATCH   what `hg diff --git` printed (HGPLAIN=1) against the changeset that is checked out; may be empty
#
# Exit codes: 0 applied; 1 something failed, and nothing is applied; 2 wrong arguments.
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import places  # noqa: E402


def apply(hg, patch):
    handle, path = tempfile.mkstemp(suffix=".patch", dir=places.TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(patch)
        # The patch was made against exactly this changeset: an imprecise match would be a mistake, not a service.
        exact = ("--config", "patch.fuzz=0", "--config", "patch.eol=strict")
        code, output = hg.run(*exact, "import", "--quiet", "--no-commit", path)
        sys.stderr.write(output)
        if code:
            hg.run("update", "--quiet", "--clean", "--rev", ".")
            raise places.Failure("the patch does not fit the changeset that is checked out")
    finally:
        os.unlink(path)


def main(args):
    if args:
        raise places.Failure("usage: apply_working_copy.py < PATCH", 2)
    places.need_source()
    status = ("status", "--modified", "--added", "--removed")
    with places.Mercurial() as hg:
        if hg.ask(*status, "--deleted") != "":
            raise places.Failure("%s has changes already" % places.SOURCE)
        patch = sys.stdin.buffer.read()
        if not patch:
            return 0
        apply(hg, patch)
        code, output = hg.run(*status)
    sys.stdout.write(output)
    return code


places.run(main)
