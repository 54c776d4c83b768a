# Makes of each Python that is installed one that installers can carry: a folder that works wherever it lies.
#
# Runs as an administrator. Input: none; `embed.py` beside this file is run by each Python.
#
#   C:/hgdev/embed/pythonXY-ARCH   what its makers call embeddable, such as python313-x64
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402

# What an installed Mercurial imports of modules that are libraries of Windows.
CHECK = "import bz2, ctypes, hashlib, lzma, platform, socket, ssl, zlib; print(platform.python_version())"


def make(name):
    folder = hgdev.HGDEV + "/embed/" + name
    if not os.path.exists(folder):
        hgdev.run([hgdev.HGDEV + "/" + name + "/python.exe", "-I", "-S", hgdev.own("embed.py"), folder], limit=600)
    hgdev.baked("embed/" + name, hgdev.run([folder + "/python.exe", "-c", CHECK], limit=60))


def main():
    os.makedirs(hgdev.HGDEV + "/embed", exist_ok=True)
    names = [name for name in sorted(os.listdir(hgdev.HGDEV)) if re.fullmatch(r"python3\d+-x(86|64)", name)]
    if not names:
        raise hgdev.Failed("there is no Python in %s" % hgdev.HGDEV)
    for name in names:
        make(name)


hgdev.step(main)
