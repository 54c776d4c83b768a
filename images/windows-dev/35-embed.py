# Makes of each Python that is installed one that installers can carry: a folder that works wherever it lies.
#
# Runs as an administrator. Input: none; `embed.py` beside this file is run by each Python.
#
#   C:/hgdev/embed/pythonXY-ARCH   what its makers call embeddable, such as python313-x64
import glob
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402

# What an installed Mercurial imports of modules that are libraries of Windows.
CHECK = "import bz2, ctypes, hashlib, lzma, platform, socket, ssl, zlib; print(platform.python_version())"


def make(installed):
    name = os.path.basename(installed)
    folder = hgdev.HGDEV + "/embed/" + name
    if not os.path.exists(folder):
        hgdev.run([installed + "/python.exe", "-I", "-S", hgdev.own("embed.py"), folder], limit=600)
    hgdev.baked("embed/" + name, hgdev.run([folder + "/python.exe", "-c", CHECK], limit=60))


def main():
    os.makedirs(hgdev.HGDEV + "/embed", exist_ok=True)
    installed = sorted(glob.glob(hgdev.HGDEV + "/python3*-x*"))
    if not installed:
        raise hgdev.Failed("there is no Python in %s" % hgdev.HGDEV)
    for folder in installed:
        make(folder)


hgdev.step(main)
