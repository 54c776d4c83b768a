# Spares C:/hgdev from the real-time scanning of files, which takes half of a build, and switches it off while the image is made.
#
# Runs as an administrator. Input: none. That the folder is spared is required; the last step switches scanning on again.
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402
from scanning import scanning  # noqa: E402


def main():
    spared, mode = scanning("off")
    if not spared:
        raise hgdev.Failed("C:/hgdev is still scanned: is the protection against tampering on?")
    if mode == "on":
        hgdev.say("scanning stays on elsewhere, which makes this image slower to bake and changes nothing else")


hgdev.step(main)
