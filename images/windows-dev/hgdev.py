"""What the steps of this image do alike: files are loaded by their pins, programs run, and versions written down.

    C:/hgdev              all that is made for Mercurial
    C:/hgdev/assets       what was loaded, while the image is made
    C:/hgdev/baked.json   what the image holds, by name; two bakes of the same things end with the same text

A step may run again over its own result, whole or half-way. Elsewhere than on Windows, for tests, HG_ROOT names the folder that stands
for the drive.
"""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
import urllib.request

WINDOWS = os.name == "nt"
ROOT = "C:/" if WINDOWS else os.environ["HG_ROOT"] + "/"
HGDEV = ROOT + "hgdev"
ASSETS = HGDEV + "/assets"
BAKED = HGDEV + "/baked.json"

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
NAME = os.path.splitext(os.path.basename(sys.argv[0]))[0]

# How often a file is loaded that does not come, and the pause between, in seconds.
TRIES = 3
PAUSE = 10 if WINDOWS else 0


class Failed(Exception):
    """Why a step cannot go on."""


def say(text):
    print("%s: %s" % (NAME, text), flush=True)


def step(main):
    """Runs a step to its end."""
    try:
        os.makedirs(ASSETS, exist_ok=True)
        main()
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        print("%s: %s" % (NAME, error), file=sys.stderr, flush=True)
        sys.exit(1)


def own(name):
    """The path of a file beside the step."""
    return os.path.join(HERE, name)


def digest(path):
    sum = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sum.update(block)
    return sum.hexdigest()


def load(url, path):
    """Loads a file. On Windows by the system's own program: the certificates of authorities come there as they are needed, and Python
    sees only those that are there already."""
    for left in reversed(range(TRIES)):
        try:
            if WINDOWS:
                run(["curl.exe", "--fail", "--silent", "--show-error", "--location", "--output", path, url], limit=1800)
            else:
                urllib.request.urlretrieve(url, path)
            return
        except (OSError, Failed) as error:
            if not left:
                raise Failed("cannot load %s: %s" % (url, error)) from None
            say("cannot load %s, trying again: %s" % (url, error))
            time.sleep(PAUSE)


def fetch(name):
    """The path of a pinned file, loaded where it is not there. Another file than the pinned one is never there."""
    with open(own("pins.json"), encoding="utf-8") as file:
        pin = json.load(file)[name]
    path = ASSETS + "/" + pin["url"].rsplit("/", 1)[1]
    if os.path.exists(path) and digest(path) == pin["sha256"]:
        return path
    say("loading %s" % pin["url"])
    load(pin["url"], path + ".part")
    found = digest(path + ".part")
    if found != pin["sha256"]:
        os.remove(path + ".part")
        raise Failed("%s has the SHA-256 %s and not %s; nothing of it was run" % (pin["url"], found, pin["sha256"]))
    os.replace(path + ".part", path)
    return path


def run(words, fine=(0,), env=None, limit=3600, cwd=None):
    """Runs a program and gives its output; a code that is not fine is an error."""
    say("running %s" % " ".join(words))
    if not WINDOWS and os.path.isfile(words[0]):
        # Windows runs whatever ends in `.exe`.
        os.chmod(words[0], 0o755)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=None if env is None else dict(os.environ, **env), timeout=limit, cwd=cwd)
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode not in fine:
        raise Failed("`%s` ended with %d: %s" % (words[0], done.returncode, said[-2000:]))
    return said


def remove(path):
    """Removes a file or a folder where it is there, also what is marked as read-only."""
    def again(remove_it, name, _):
        os.chmod(name, stat.S_IRWXU)
        remove_it(name)

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, onerror=again)
    elif os.path.lexists(path):
        os.remove(path)


def add_path(*folders):
    """Puts folders at the end of the system's path, where they are not on it; logins from now on have them."""
    if WINDOWS:
        import winreg

        name = r"SYSTEM\CurrentControlSet\Control\Session Manager\Environment"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, name, 0, winreg.KEY_READ | winreg.KEY_WRITE) as key:
            path = with_folders(winreg.QueryValueEx(key, "Path")[0], folders)
            winreg.SetValueEx(key, "Path", 0, winreg.REG_EXPAND_SZ, path)
    else:
        with open(ROOT + "path", "a+", encoding="utf-8") as file:
            file.seek(0)
            path = with_folders(file.read(), folders)
            file.truncate(0)
            file.write(path)


def with_folders(path, folders):
    known = [folder for folder in path.split(";") if folder]
    have = {folder.rstrip("\\/").replace("/", "\\").lower() for folder in known}
    return ";".join(known + [folder for folder in folders if folder.replace("/", "\\").lower() not in have])


def baked(name, value):
    """Writes down that the image holds something."""
    known = {}
    if os.path.exists(BAKED):
        with open(BAKED, encoding="utf-8") as file:
            known = json.load(file)
    known[name] = value
    with open(BAKED + ".new", "w", encoding="utf-8", newline="\n") as file:
        json.dump(known, file, indent=2, sort_keys=True)
        file.write("\n")
    os.replace(BAKED + ".new", BAKED)
