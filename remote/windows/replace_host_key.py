# Replaces the host key that the machine was given by one that it makes itself, and prints the new public key.
#
#   [SSH STATE PORT]    the folders of the server's configuration and of the machine's state, and the server's port
#
# Runs as an administrator, once its driver has proved the machine by the key that it handed over. That key was in user data, which any
# process of the machine and others on the account may read: from here on it proves nothing. It waits for `first-boot.ps1` to have ended,
# which writes `ready` last. Servers up to 9.7 read the key for each connection; a later one is started again where it still shows the
# old key, which leaves connections that are open alone.
#
# Exit codes: 0 replaced, and the one line on standard output is the public key; 1 something failed and the old key is in force, or
# standard error says that no key is shown; 64 wrong arguments.
import os
import shutil
import subprocess
import sys
import tempfile
import time

WINDOWS = os.name == "nt"
# How long the rest of the first boot may take once the server answers, in seconds.
READY = 120
# How long one program may take, in seconds.
LIMIT = 30


class Failed(Exception):
    """Why the key is not replaced."""


def program(name):
    if not WINDOWS:
        return name
    return os.path.join(os.environ["SYSTEMROOT"], "System32", "OpenSSH", name + ".exe")


def run(words):
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed("cannot run `%s`: %s" % (words[0], error)) from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        raise Failed("`%s` ended with %d: %s" % (words[0], done.returncode, said))
    return done.stdout.decode("utf-8", "replace")


def until_ready(state):
    deadline = time.monotonic() + READY
    while not os.path.exists(os.path.join(state, "ready")):
        if time.monotonic() > deadline:
            raise Failed("the machine's first boot did not end within %d s; its log and console say why" % READY)
        time.sleep(1)


def protect(path):
    """Only SYSTEM and administrators may have rights to it, or the server refuses the key."""
    if WINDOWS:
        run(["icacls.exe", path, "/inheritance:r", "/grant:r", "*S-1-5-18:F", "/grant:r", "*S-1-5-32-544:F"])
        run(["icacls.exe", path, "/setowner", "*S-1-5-32-544"])


def shown(port, blob):
    """Whether the server shows the key; one that shows none gets some time to start."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            keys = run([program("ssh-keyscan"), "-T", "5", "-t", "ed25519", "-p", port, "127.0.0.1"])
        except Failed:
            keys = ""
        if keys.strip():
            return blob in keys.split()
        if time.monotonic() > deadline:
            return False
        time.sleep(1)


def restart():
    if WINDOWS:
        for verb in ("stop", "start"):
            run([os.path.join(os.environ["SYSTEMROOT"], "System32", "net.exe"), verb, "sshd"])


def replace(ssh, state, port):
    key = os.path.join(ssh, "hg_host_ed25519_key")
    if not os.path.exists(key):
        raise Failed("there is no `%s`: the machine's first boot did not take its keys" % key)
    until_ready(state)
    folder = tempfile.mkdtemp(prefix="hg-new-key-", dir=ssh)
    try:
        new = os.path.join(folder, "key")
        run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "hg-automation-host", "-f", new])
        with open(new + ".pub", encoding="ascii") as file:
            public = file.read().strip()
        protect(new)
        os.replace(new, key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    blob = public.split()[1]
    if not shown(port, blob):
        restart()
        if not shown(port, blob):
            raise Failed("the key was replaced, and the server does not show it")
    return public


def main(words):
    if len(words) not in (0, 3):
        sys.stderr.write("replace_host_key: it takes two folders and a port, or nothing\n")
        return 64
    if not words:
        data = os.environ["PROGRAMDATA"]
        words = [os.path.join(data, "ssh"), os.path.join(data, "hg-automation"), "22"]
    try:
        print(replace(*words))
    except (Failed, OSError) as error:
        sys.stderr.write("replace_host_key: %s\n" % error)
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
