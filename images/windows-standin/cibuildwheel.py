"""Stands for `cibuildwheel`, as far as that goes without a compiler.

    cibuildwheel --only ID --output-dir DIR FOLDER

The wheel of a release of Mercurial is the one that its project published, where this machine has it; every other source must
need no compiler, and `pip` builds it; it is named for ID as if it had compiled parts. Its ID is `cpXY-win_amd64`: there is no Python of
another architecture here.

Exit codes: 0 the wheel is in DIR; 1 it cannot be made here, standard error says why; 2 wrong arguments.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

WHEELS = "C:/standin/wheels"


def fail(reason):
    sys.stderr.write("cibuildwheel (a stand-in): %s\n" % reason)
    sys.exit(1)


def ask_hg(folder, *words):
    done = subprocess.run(["hg", "--cwd", folder] + list(words), stdout=subprocess.PIPE, encoding="utf-8")
    return done.stdout.strip() if done.returncode == 0 else None


def versions(folder):
    """The releases that a source of Mercurial is, by its tags: none where it is later, or was changed. A wheel that was published is that of
    no other source."""
    distance, _, tags = (ask_hg(folder, "log", "-r", ".", "-T", "{latesttagdistance} {latesttag}") or "").partition(" ")
    changed = ask_hg(folder, "status", "--modified", "--added", "--removed", "--deleted")
    return tags.split(":") if distance == "0" and changed == "" else []


def published(folder, identifier):
    """The wheel that was published of a source, and its version; fails where there is none."""
    releases = versions(folder)
    if not releases:
        fail("Mercurial cannot be compiled here, and the source is no release as it was tagged, whose published wheel could be taken")
    for release in releases:
        for path in glob.glob("%s/mercurial-%s-*-%s.whl" % (WHEELS, release, identifier)):
            return path, release
    fail("Mercurial cannot be compiled here, and no wheel of %s for %s was published" % (" or ".join(releases), identifier))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", required=True)
    parser.add_argument("--output-dir", required=True)
    parser.add_argument("folder", nargs="?", default=".")
    args = parser.parse_args()
    os.makedirs(args.output_dir, exist_ok=True)
    try:
        with open(os.path.join(args.folder, "pyproject.toml"), encoding="utf-8") as file:
            name = re.search(r'^name = "([^"]+)"', file.read(), re.MULTILINE)
    except FileNotFoundError:
        fail("%s has no pyproject.toml" % args.folder)
    if name and name.group(1) == "mercurial":
        shutil.copy(published(args.folder, args.only)[0], args.output_dir)
        return 0
    found = re.fullmatch(r"cp(3\d+)-win_amd64", args.only)
    if not found or not os.path.isfile("C:/hgdev/python%s-x64/python.exe" % found.group(1)):
        fail("there is no Python for %s here" % args.only)
    # Of the Pythons here one has what builds a package; what it builds has no compiled parts, so that it fits the others.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    with tempfile.TemporaryDirectory() as made:
        if subprocess.call(command + ["--wheel-dir", made, args.folder]):
            fail("pip cannot build it")
        python, platform = args.only.split("-")
        tags = ["--python-tag", python, "--abi-tag", python, "--platform-tag", platform, "--remove"]
        if subprocess.call([sys.executable, "-m", "wheel", "tags"] + tags + glob.glob(made + "/*.whl"), stdout=sys.stderr):
            fail("the wheel cannot be named for %s" % args.only)
        for path in glob.glob(made + "/*.whl"):
            shutil.copy(path, args.output_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())
