# Checks the machine it runs on against the machine contract (docs/remote-machine.md) and prints one JSON object a line:
#
#   {"clause": NAME, "ok": true|false, "required": true|false, "found": STRING, "remedy": STRING}
#
# `found` is what is there, `remedy` is how to mend it, empty where nothing is to be mended. A machine is used without what is not
# `required`. Changes nothing but its own folder, in which a link is tried. The caller checks the clauses that show only from outside (that
# SSH, SFTP and the login's `python` answer).
#
#   check_contract.py [OWN...]
#
# OWN is the name of a Python file beside this one that has the clauses of what is run there. It is run with the names of this one:
# report, check, answer. Its clauses stand before those of every machine.
#
# Runs as the login user. Exit code: 0 checked, whatever the verdict; else the check itself failed.
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
WINDOWS = os.name == "nt"

# The oldest Python that the programs of the tool run on.
OLDEST = (3, 9)


def report(clause, found, remedy, required=True):
    """A clause without a remedy is kept."""
    line = {"clause": clause, "ok": not remedy, "required": required, "found": found, "remedy": remedy}
    os.write(1, json.dumps(line).encode() + b"\n")


def check(clause, found, wanted, remedy, required=True):
    """Kept when what was found is what is wanted."""
    report(clause, found, "" if found == wanted else remedy, required)


def answer(*words):
    """What a program says, or why it failed."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        return str(error)
    return done.stdout.decode("utf-8", "replace").strip()


def registry(key, name):
    """A value below HKEY_LOCAL_MACHINE; None where there is none."""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return winreg.QueryValueEx(opened, name)[0]
    except OSError:
        return None


def check_python():
    version = "%d.%d.%d, %d bits" % (sys.version_info[:3] + (64 if sys.maxsize > 2**32 else 32,))
    good = sys.version_info[:2] >= OLDEST and sys.maxsize > 2**32
    report("python", version, "" if good else "install Python 3.9 or newer, of 64 bits, before any other on the `PATH` of the system")
    try:
        import ctypes
        import hashlib
        import tarfile

        lacking = "" if ctypes and hashlib and tarfile else "?"
    except ImportError as error:
        lacking = str(error)
    report("python's own library", lacking or "all", "install a whole Python: %s" % lacking if lacking else "")


def check_shell():
    shell = registry("SOFTWARE\\OpenSSH", "DefaultShell") or "cmd.exe"
    good = os.path.basename(shell.replace("\\", "/")).lower() == "cmd.exe"
    report("login shell", shell, "" if good else "remove `DefaultShell` below `HKLM\\SOFTWARE\\OpenSSH`, and start sshd again")


def check_breakaway():
    """A task must not end with the session's job object."""
    quiet = subprocess.DEVNULL
    flags = 0x01000000 | 0x08000000  # CREATE_BREAKAWAY_FROM_JOB, CREATE_NO_WINDOW
    try:
        subprocess.Popen(["cmd.exe", "/c", "exit"], stdin=quiet, stdout=quiet, stderr=quiet, creationflags=flags).wait()
        found = "allowed"
    except OSError as error:
        found = str(error)
    remedy = "use the SSH server of Windows, whose sessions let processes leave their job object"
    check("processes outlive a session", found, "allowed", remedy)


def check_links():
    link = os.path.join(HERE, "link")
    try:
        os.symlink("none", link)
        os.unlink(link)
        found = "yes"
    except OSError as error:
        found = str(error)
    check("symbolic links", found, "yes", "log in as an administrator, or turn on the developer mode", required=False)


def check_long_paths():
    found = "yes" if registry("SYSTEM\\CurrentControlSet\\Control\\FileSystem", "LongPathsEnabled") == 1 else "no"
    remedy = "set `LongPathsEnabled` below `HKLM\\SYSTEM\\CurrentControlSet\\Control\\FileSystem` to 1"
    check("paths of more than 260 characters", found, "yes", remedy, required=False)


def main(own):
    for name in own:
        path = os.path.join(HERE, name)
        with open(path, encoding="utf-8") as file:
            exec(compile(file.read(), path, "exec"), {"report": report, "check": check, "answer": answer})
    check_python()
    if WINDOWS:
        check_shell()
        check_breakaway()
        check_long_paths()
    check_links()


main(sys.argv[1:])
