# Removes what belongs to the machine that baked the image and must not be on those that boot from it: the keys that it let in, its host
# keys, what was loaded. Files are scanned again, below C:/hgdev excepted.
#
# Runs as an administrator, as the last step: who is connected stays connected, a new login is not possible. Input: none. The task that ends
# the machine stays; on another computer it does nothing until that one's first boot has replaced it.
import glob
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402
from scanning import scanning  # noqa: E402

SSH = hgdev.ROOT + "ProgramData/ssh"
KEYS = ("ssh_host_*", "hg_host_*", "hg-new-key-*", "administrators_authorized_keys")
# Runs user data at the next boot as at a first one; without this a machine of the image would never take its keys.
LAUNCHER = hgdev.ROOT + "Program Files/Amazon/EC2Launch/EC2Launch.exe"
SERVICES = hgdev.ROOT + "Windows/System32/sc.exe"


def main():
    spared, mode = scanning("on")
    if mode != "on" or not spared:
        raise hgdev.Failed("files are not scanned again, or C:/hgdev is: scanning is %s" % mode)
    hgdev.remove(hgdev.ASSETS)
    # Its first boot starts it, once it has the key that the driver handed over.
    hgdev.run([SERVICES, "config", "sshd", "start=", "demand"], limit=60)
    for pattern in KEYS:
        for path in glob.glob(SSH + "/" + pattern):
            hgdev.say("removing %s" % path)
            hgdev.remove(path)
    hgdev.run([LAUNCHER, "reset", "--clean"], limit=300)
    with open(hgdev.BAKED, encoding="utf-8") as file:
        print(file.read(), end="")


hgdev.step(main)
