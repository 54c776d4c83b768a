# The clauses of the machine contract (docs/remote-machine.md) that only Mercurial's tests and builds ask of a Windows machine. Run by
# check_contract.py of remote/windows, whose names it uses (report, check, answer) and whose rules it keeps.
#
#   check_contract.py check_mercurial.py
import glob

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
