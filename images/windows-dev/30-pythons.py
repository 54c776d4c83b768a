# Installs every Python that Mercurial is packaged for, for processors of 32 and 64 bits, each with what a build needs; what packaging
# needs, for the one that runs this; and cibuildwheel.
#
# Runs as an administrator. Input: none. pip is the one that each installer brings; what it installs is pinned by hashes.
#
#   C:/hgdev/pythonXY-ARCH         a Python, such as python313-x64
#   C:/hgdev/cibuildwheel          a virtual environment with cibuildwheel
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
ARCHITECTURES = ("x86", "x64")
# The Python that runs this, which the machine's first boot installed. Windows does not install the same one at two places.
RUNNING = "%d.%d-x64" % sys.version_info[:2]
# 3010 asks for a restart; 1638 says that it is there.
FINE = (0, 3010, 1638)
WORDS = ["/quiet", "InstallAllUsers=1", "AssociateFiles=0", "CompileAll=0", "PrependPath=0", "Shortcuts=0", "Include_doc=0",
         "Include_launcher=0", "Include_pip=1", "Include_test=0"]


def version(python):
    """The version and the bits of a Python."""
    said = "import platform, struct; print(platform.python_version(), struct.calcsize('P') * 8)"
    return hgdev.run([python, "-I", "-S", "-c", said], limit=60)


def link(target, path):
    if os.path.lexists(path):
        return
    if hgdev.WINDOWS:
        hgdev.run(["cmd.exe", "/d", "/c", "mklink", "/J", os.path.normpath(path), os.path.normpath(target)], limit=60)
    else:
        os.symlink(target, path)


def install(number, architecture):
    name = "python%s-%s" % (number.replace(".", ""), architecture)
    folder = hgdev.HGDEV + "/" + name
    python = folder + "/python.exe"
    if number + "-" + architecture == RUNNING:
        link(os.path.dirname(os.path.abspath(sys.executable)), folder)
    elif not os.path.exists(python):
        target = "TargetDir=" + (os.path.normpath(folder) if hgdev.WINDOWS else folder)
        hgdev.run([hgdev.fetch("python-%s-%s" % (number, architecture))] + WORDS + [target], fine=FINE, limit=900)
    found, bits = version(python).split()
    if not found.startswith(number + ".") or bits != ("64" if architecture == "x64" else "32"):
        raise hgdev.Failed("%s is Python %s of %s bits" % (folder, found, bits))
    pip(python, "requirements-build.txt")
    if number + "-" + architecture == RUNNING:
        pip(python, "requirements-packaging.txt")
    hgdev.baked(name, found)


def pip(python, requirements):
    words = ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location", "--no-deps",
             "--only-binary", ":all:", "--require-hashes", "-r", hgdev.own(requirements)]
    hgdev.run([python] + words, limit=900)


def main():
    for number in VERSIONS:
        for architecture in ARCHITECTURES:
            install(number, architecture)
    folder = hgdev.HGDEV + "/cibuildwheel"
    python = folder + ("/Scripts/python.exe" if hgdev.WINDOWS else "/bin/python.exe")
    if not os.path.exists(python):
        hgdev.run([hgdev.HGDEV + "/python313-x64/python.exe", "-I", "-m", "venv", folder], limit=300)
    pip(python, "requirements-cibuildwheel.txt")
    said = "import importlib.metadata as m; print(m.version('cibuildwheel'))"
    hgdev.baked("cibuildwheel", hgdev.run([python, "-I", "-c", said], limit=60))


hgdev.step(main)
