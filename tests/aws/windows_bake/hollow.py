"""Does what a step of `windows-dev` looks at after a program, in the place of that program; one that it was not taught fails.

It is run under the program's name: in `C:/standin/programs`, or as the module `pip` or `venv` of a Python.
"""

import glob
import json
import os
import shutil
import sys
import urllib.request

NAME = os.path.splitext(os.path.basename(sys.argv[0]))[0]
WORDS = sys.argv[1:]
LINE = " ".join(WORDS)
RECORDER = "C:/standin/recorder.exe"


def make(path):
    """Makes a program that is a recorder."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copyfile(RECORDER, path)


def target():
    """The folder that an installer is told."""
    return next(word.split("=", 1)[1] for word in WORDS if word.startswith(("TargetDir=", "/DIR=")))


def own_folder():
    """The folder of the program that is meant: its path stands in its newest record."""
    newest = max(glob.glob("C:/standin/records/*-" + NAME + ".json"))
    with open(newest, encoding="utf-8") as file:
        return os.path.dirname(json.load(file)["path"])


def curl():
    if "--head" not in WORDS:
        urllib.request.urlretrieve(WORDS[-1], WORDS[WORDS.index("--output") + 1])


def build_tools():
    os.makedirs("C:/vs/VC/Auxiliary/Build", exist_ok=True)
    with open("C:/vs/VC/Auxiliary/Build/vcvarsall.bat", "w") as file:
        file.write("@set PATH=C:\\vs\\bin;%PATH%\r\n")
    make("C:/vs/bin/cl.exe")
    make("C:/Program Files (x86)/Microsoft Visual Studio/Installer/vswhere.exe")


def install_python():
    folder = target()
    make(folder + "/python.exe")
    bits = "64" if NAME.endswith("-amd64") else "32"
    with open(folder + "/version", "w") as file:
        file.write("%s %s\n" % (NAME.split("-")[1], bits))


def python():
    if "-m pip install" in LINE and "--require-hashes" in LINE:
        return
    if "cibuildwheel" in LINE:
        print("3.3.0")
    elif "embed.py" in LINE:
        make(WORDS[-1] + "/python.exe")
        shutil.copyfile(own_folder() + "/version", WORDS[-1] + "/version")
    elif "platform" in LINE:
        with open(own_folder() + "/version") as file:
            print(file.read(), end="")
    else:
        sys.exit("python: " + LINE)


def msiexec():
    package = os.path.basename(WORDS[WORDS.index("/i") + 1])
    if package.startswith("mercurial-"):
        make("C:/Program Files/Mercurial/hg.exe")
    elif package.startswith("PyOxidizer-"):
        make("C:/Program Files/PyOxidizer/pyoxidizer.exe")
    else:
        sys.exit("msiexec: " + LINE)


def rustup():
    versions = {"run stable rustc --version": "rustc 1.90.0", "run 1.52.0 rustc --version": "rustc 1.52.0"}
    if LINE in versions:
        print(versions[LINE])
    elif WORDS[:1] not in (["toolchain"], ["target"], ["default"]):
        sys.exit("rustup: " + LINE)


def hg():
    if LINE == "version -q":
        print("Mercurial Distributed SCM (version 7.1.2)")
    elif WORDS[0] == "clone":
        os.makedirs(WORDS[-1] + "/.hg")
    elif "log" in WORDS:
        print("0123456789" * 4, end="")
    elif "update" not in WORDS:
        sys.exit("hg: " + LINE)


def hashes():
    if "--require-hashes" not in WORDS:
        sys.exit("pip: " + LINE)


WORK = {
    "__main__": lambda: hashes() if "pip" in sys.argv[0] else make(WORDS[-1] + "/Scripts/python.exe"),
    "cl": lambda: make(os.getcwd() + "/program.exe"),
    "curl": curl,
    "hg": hg,
    "iscc": lambda: (print("Inno Setup 5.6.1 (u)"), sys.exit(1)),
    "msgfmt": lambda: print("msgfmt (GNU gettext-tools) 0.26"),
    "msiexec": msiexec,
    "program": lambda: print("7", end=""),
    "pyoxidizer": lambda: print("PyOxidizer 0.17.0"),
    "python": python,
    "rustup": rustup,
    "rustup-init": lambda: make(os.environ["CARGO_HOME"] + "/bin/rustup.exe"),
    "sh": lambda: print("GNU bash, version 3.1.17"),
    "vs_buildtools": build_tools,
    "vswhere": lambda: print(json.dumps([dict(installationPath="C:\\vs", installationVersion="17.14.1")])),
}


def main():
    if NAME in WORK:
        WORK[NAME]()
    elif NAME.startswith("python-3."):
        install_python()
    elif NAME.startswith("gettext"):
        make(target() + "/bin/msgfmt.exe")
    elif NAME.startswith("innosetup"):
        make(target() + "/ISCC.exe")
    else:
        sys.exit("hollow: nothing is known of `%s`" % NAME)


main()
