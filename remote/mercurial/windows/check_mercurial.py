# The clauses of the machine contract (docs/remote-machine.md) that only Mercurial's tests and builds ask of a Windows machine; those that
# only packages ask are not required. Run by check_contract.py of remote/windows, whose names it uses (report, check, answer) and whose
# rules it keeps.
#
#   check_contract.py check_mercurial.py
import glob
import shutil
import sys

SOURCE = "C:/hgdev/src"

pythons = sorted(glob.glob("C:/hgdev/python3*-*/python.exe"))
names = " ".join(python.replace("\\", "/").split("/")[2] for python in pythons)
remedy = "" if pythons else "install Pythons as C:/hgdev/pythonXY-x64 or C:/hgdev/pythonXY-x86, such as C:/hgdev/python39-x64"
report("Pythons in C:/hgdev", names or "none", remedy)  # noqa: F821

version = answer("hg", "version", "--quiet")  # noqa: F821
remedy = "" if "Mercurial" in version else "install Mercurial, with its folder in the `PATH` of the system"
report("`hg` runs", version, remedy)  # noqa: F821

node = answer("hg", "--cwd", SOURCE, "log", "--rev", ".", "--template", "{node}")  # noqa: F821
remedy = "" if len(node) == 40 else "run `hg init %s`, or clone Mercurial there" % SOURCE
report("%s is a Mercurial repository" % SOURCE, node, remedy)  # noqa: F821
publishes = answer("hg", "--cwd", SOURCE, "config", "phases.publish")  # noqa: F821
check(  # noqa: F821
    "%s does not publish" % SOURCE, publishes, "False", "append the lines `[phases]` and `publish = False` to %s/.hg/hgrc" % SOURCE
)


def report_packaging(clause, found, remedy):
    """What only one kind of package asks for."""
    report(clause, found or "none", "" if found else remedy, required=False)  # noqa: F821


def places(pattern, at):
    """The parts at one place of the paths of what is there."""
    return ", ".join(sorted(path.replace("\\", "/").split("/")[at] for path in glob.glob(pattern)))


remedy = "install cibuildwheel, with its folder in the `PATH` of the system"
report_packaging("for wheels: `cibuildwheel`", shutil.which("cibuildwheel"), remedy)
found = answer(sys.executable, "-c", "import docutils, jinja2; print('docutils jinja2')")  # noqa: F821
remedy = "run `python -m pip install docutils jinja2`"
check("for installers: python's packages", found, "docutils jinja2", remedy, required=False)  # noqa: F821
remedy = "unpack Python's embeddable archives, as C:/hgdev/embed/python313-x64"
report_packaging("for inno: embeddable Pythons", places("C:/hgdev/embed/python3*-*/python.exe", 3), remedy)
found = places("C:/Program Files (x86)/Inno Setup [56]/ISCC.exe", 2)
report_packaging("for inno: its compiler", found, "install Inno Setup 5.6.1")
remedy = "install PyOxidizer 0.17, with its folder in the `PATH` of the system"
report_packaging("for wix: `pyoxidizer`", shutil.which("pyoxidizer"), remedy)
