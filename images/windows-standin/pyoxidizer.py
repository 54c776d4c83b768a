"""Stands for `pyoxidizer`, as far as that goes without a compiler.

    pyoxidizer build --path DIR --release --target-triple TRIPLE [--var KEY VALUE]... [TARGET]

What it makes of a source of Mercurial (DIR is its folder rust/hgcli) is what this machine has: Python's embeddable archive and the wheel
of that version that Mercurial's project published. It becomes SRC/build/pyoxidizer/TRIPLE/release/app, with the program hg.exe and the
packages in `lib`; the file pyoxidizer.bzl is not read.

With the target `msi`, SRC/build/pyoxidizer/TRIPLE/release/msi/NAME-VERSION-PLATFORM.msi is made of it as well, for the values of MSI_NAME
and VERSION; not by WiX, but by `wixl` on the Linux side of this machine.

Exit codes: 0 made; 1 it cannot be made here, standard error says why; 2 wrong arguments.
"""

import _winapi
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
from xml.sax.saxutils import quoteattr

import cibuildwheel

EMBED = "C:/hgdev/embed/python313-x64"
DIGITS = "313"
WIXL = "/usr/local/lib/standin/wixl.sh"
# Seconds: an installer of Mercurial takes three.
LIMIT = 300
UPGRADE = "{A1CC6134-E945-4399-BE36-EB0017FDF7CF}"


def fail(reason):
    sys.stderr.write("pyoxidizer (a stand-in): %s\n" % reason)
    sys.exit(1)


def make_app(source, app):
    """Puts the embeddable Python and the wheel of a source into a folder as PyOxidizer does: the program beside `lib`."""
    path, version = cibuildwheel.published(source, "cp%s-win_amd64" % DIGITS)
    shutil.copytree(EMBED, app)
    with open("%s/python%s._pth" % (app, DIGITS), "w", encoding="utf-8") as file:
        file.write("python%s.zip\n.\nlib\n" % DIGITS)
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            if re.match(r"(mercurial|hgext|hgext3rd|hgdemandimport)/", name):
                wheel.extract(name, app + "/lib")
        for name in ("hg", "hg.exe"):
            with wheel.open("mercurial-%s.data/scripts/%s" % (version, name)) as content, open(app + "/" + name, "wb") as file:
                shutil.copyfileobj(content, file)


def elements(folder, top, indent, components):
    """The lines that describe a folder's files and folders for WiX."""
    for name in sorted(os.listdir(folder)):
        path = folder + "/" + name
        sign = "i" + uuid.uuid5(uuid.NAMESPACE_URL, path[len(top) :]).hex
        if os.path.isdir(path):
            yield "%s<Directory Id='d%s' Name=%s>" % (indent, sign, quoteattr(name))
            yield from elements(path, top, indent + " ", components)
            yield indent + "</Directory>"
        else:
            components.append("c" + sign)
            guid = str(uuid.uuid5(uuid.NAMESPACE_URL, "component" + path[len(top) :]))
            yield "%s<Component Id='c%s' Guid='%s' Win64='yes'>" % (indent, sign, guid)
            yield "%s <File Id='f%s' KeyPath='yes' Name=%s Source=%s/>" % (indent, sign, quoteattr(name), quoteattr(path[len(top) + 1 :]))
            yield indent + "</Component>"


def describe(app, version):
    """The text from which an installer of a folder is made."""
    components = []
    files = list(elements(app, app, "    ", components))
    lines = [
        "<?xml version='1.0' encoding='utf-8'?>",
        "<Wix xmlns='http://schemas.microsoft.com/wix/2006/wi'>",
        "<Product Id='*' Name='Mercurial %s (x64)' UpgradeCode='%s' Language='1033' Version='%s'" % (version, UPGRADE, version),
        "  Manufacturer='Olivia Mackall and others'>",
        " <Package InstallerVersion='300' Compressed='yes' Comments='Made on a stand-in for Windows'/>",
        " <Media Id='1' Cabinet='mercurial.cab' EmbedCab='yes'/>",
        " <Directory Id='TARGETDIR' Name='SourceDir'>",
        "  <Directory Id='ProgramFiles64Folder' Name='PFiles'>",
        "   <Directory Id='INSTALLDIR' Name='Mercurial'>",
    ]
    lines += files + ["   </Directory>", "  </Directory>", " </Directory>", " <Feature Id='Complete' Level='1'>"]
    lines += ["  <ComponentRef Id='%s'/>" % component for component in components]
    return "\n".join(lines + [" </Feature>", "</Product>", "</Wix>"]) + "\n"


def make_msi(app, folder, name, version):
    """Has `wixl` make the installer. A program of Linux gives no exit code to one of Windows: it leaves a file that tells."""
    if not re.fullmatch(r"\d+(\.\d+){1,3}", version):
        fail("`%s` is not a version of Windows: WiX takes numbers only" % version)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(folder + "/installer.wxs", "w", encoding="utf-8", newline="\n") as file:
        file.write(describe(app, version))
    # The handles of such a program are none, so that `subprocess`, which closes them, has errors of it.
    line = subprocess.list2cmdline(["Z:" + WIXL.replace("/", "\\"), app, folder, name])
    try:
        _winapi.CreateProcess(None, line, None, None, False, 0, None, None, subprocess.STARTUPINFO())
    except OSError as error:
        fail("cannot start %s: %s" % (WIXL, error))
    end = time.monotonic() + LIMIT
    while not os.path.exists(folder + "/status"):
        if time.monotonic() > end:
            fail("wixl has not ended within %d s" % LIMIT)
        time.sleep(0.1)
    with open(folder + "/output", encoding="utf-8", errors="replace") as file:
        sys.stderr.write(file.read())
    with open(folder + "/status", encoding="utf-8") as file:
        code = file.read().strip()
    if code != "0":
        fail("wixl ended with " + code)


def main():
    parser = argparse.ArgumentParser(prog="pyoxidizer")
    parser.add_argument("command", choices=["build"])
    parser.add_argument("--path", required=True)
    parser.add_argument("--release", action="store_true", required=True)
    parser.add_argument("--target-triple", required=True)
    parser.add_argument("--var", nargs=2, action="append", default=[])
    parser.add_argument("target", nargs="?", default="app", choices=["app", "msi"])
    args = parser.parse_args()
    if args.target_triple != "x86_64-pc-windows-msvc":
        fail("there is no Python for %s here" % args.target_triple)
    source = os.path.abspath(args.path + "/../..").replace("\\", "/")
    values = dict(args.var)
    release = "%s/build/pyoxidizer/%s/release" % (source, args.target_triple)
    shutil.rmtree(release, ignore_errors=True)
    make_app(source, release + "/app")
    if args.target == "msi":
        version = values.get("VERSION", "0.0")
        make_msi(release + "/app", release + "/msi", "%s-%s-x64.msi" % (values.get("MSI_NAME", "mercurial"), version), version)
    return 0


sys.exit(main())
