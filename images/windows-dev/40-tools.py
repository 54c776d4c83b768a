# Installs what builds and tests of Mercurial call beside compilers and Pythons: gettext, Inno Setup, a Unix shell, and Mercurial itself.
#
# Runs as an administrator. Input: none.
import os
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402

SILENT = ["/SP-", "/VERYSILENT", "/SUPPRESSMSGBOXES", "/NORESTART"]
GETTEXT = hgdev.HGDEV + "/gettext"
# Where Mercurial's own packaging looks for it.
INNO = hgdev.ROOT + "Program Files (x86)/Inno Setup 5"
SHELL = hgdev.HGDEV + "/MinGW/msys/1.0/bin"
MERCURIAL = hgdev.ROOT + "Program Files/Mercurial"
# 3010 asks for a restart.
FINE = (0, 3010)


def native(path):
    return os.path.normpath(path) if hgdev.WINDOWS else path


def need(path):
    if not os.path.exists(path):
        raise hgdev.Failed("`%s` was installed and is not there" % path)


def gettext():
    program = GETTEXT + "/bin/msgfmt.exe"
    if not os.path.exists(program):
        hgdev.run([hgdev.fetch("gettext")] + SILENT + ["/DIR=" + native(GETTEXT)], limit=600)
    need(program)
    hgdev.baked("gettext", hgdev.run([program, "--version"], limit=60).splitlines()[0])


def inno():
    program = INNO + "/ISCC.exe"
    if not os.path.exists(program):
        hgdev.run([hgdev.fetch("inno-setup")] + SILENT + ["/DIR=" + native(INNO)], limit=600)
    need(program)
    # Called without a script it says its name and ends with 1.
    hgdev.baked("inno-setup", hgdev.run([program, "/?"], fine=(0, 1), limit=60).splitlines()[0])


def shell():
    program = SHELL + "/sh.exe"
    if not os.path.exists(program):
        with zipfile.ZipFile(hgdev.fetch("mingw")) as archive:
            # The shell last: it says that all the rest is there.
            names = sorted(archive.namelist(), key=lambda name: name.endswith("/sh.exe"))
            archive.extractall(hgdev.HGDEV, names)
    need(program)
    hgdev.baked("sh", hgdev.run([program, "--version"], limit=60).splitlines()[0])


def mercurial():
    program = MERCURIAL + "/hg.exe"
    if not os.path.exists(program):
        log = native(hgdev.ASSETS + "/mercurial.log")
        hgdev.run(["msiexec.exe", "/i", native(hgdev.fetch("mercurial")), "/qn", "/norestart", "/l*", log], fine=FINE, limit=600)
    need(program)
    hgdev.baked("mercurial", hgdev.run([program, "version", "-q"], limit=60))


def main():
    gettext()
    inno()
    shell()
    mercurial()
    hgdev.add_path(native(GETTEXT + "/bin"), native(MERCURIAL), native(SHELL), native(hgdev.HGDEV + "/cibuildwheel/Scripts"))


hgdev.step(main)
