# Makes the repository C:/hgdev/src, from which nothing is published.
#
# Runs as an administrator. Input:
#   HG_SOURCE_URL        where upstream's source is published
#   HG_SOURCE_REVISION   which of its changesets; the newest where it is empty
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402

HG = hgdev.ROOT + "Program Files/Mercurial/hg.exe"
SOURCE = hgdev.HGDEV + "/src"
PLAIN = {"HGPLAIN": "1", "HGENCODING": "utf-8"}


def hg(*words, limit=300):
    return hgdev.run([HG] + list(words), env=PLAIN, limit=limit)


def main():
    url, revision = os.environ["HG_SOURCE_URL"], os.environ.get("HG_SOURCE_REVISION", "")
    if not os.path.isdir(SOURCE + "/.hg"):
        if hgdev.WINDOWS:
            # So Windows has the certificate of the authority before Mercurial asks for it.
            hgdev.run(["curl.exe", "--silent", "--show-error", "--head", "--output", "NUL", url], limit=120)
        # Under another name first: what was cut off is no repository of that name.
        hgdev.remove(SOURCE + ".new")
        hg("clone", "--noupdate", "--config", "phases.publish=false", url, SOURCE + ".new", limit=3000)
        with open(SOURCE + ".new/.hg/hgrc", "a", encoding="utf-8") as file:
            file.write("\n[phases]\npublish = False\n")
        os.rename(SOURCE + ".new", SOURCE)
    hg("-R", SOURCE, "update", "--clean", "--rev", revision or "tip", limit=900)
    hgdev.baked("source", hg("-R", SOURCE, "log", "--rev", ".", "--template", "{node}"))


hgdev.step(main)
