# Does the parts of build_installer.py that need the packages of the machine's Python (jinja2, docutils), in a process of their own.
#
#   stage_installer.py docs SOURCE PAGE...
#   stage_installer.py inno SOURCE WORK EMBED WHEEL COMPILER VERSION ARCH
#
# docs   builds the documentation with the source's own programs for it, where its setup.py, which asks for a compiler of C first,
#        cannot: doc/PAGE.html of mercurial/helptext/PAGE.txt
# inno   fills WORK/stage with the embeddable Python of the folder EMBED, the files of the wheel WHEEL, and what the source's packaging
#        adds; and has that make an installer of it with COMPILER, in the folder SOURCE/dist
#
# Exit codes: 0 done; 1 something failed, with the reason in the last line; 2 wrong arguments.
import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import places  # noqa: E402

# The embeddable Python looks at no variable and no folder of the user. The program that Mercurial's own installers carry looks for
# extensions where these two say.
CUSTOMIZE = '''"""Lets Mercurial find what was installed for the user, and what PYTHONPATH names."""

import os
import sys

sys.path.extend(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)
if os.environ.get("APPDATA"):
    sys.path.append(os.path.join(os.environ["APPDATA"], "Python", "Python%d%d" % sys.version_info[:2], "site-packages"))
'''


def run(words, folder, output=None):
    done = subprocess.run([sys.executable, "-X", "utf8"] + words, cwd=folder, stdin=subprocess.DEVNULL, stdout=output)
    if done.returncode:
        raise places.Failure("%s ended with %d" % (" ".join(words), done.returncode))


def build_docs(source, *pages):
    doc = source + "/doc"
    for name in ["common"] + [name for page in pages for name in (page, page + ".gendoc")]:
        with open("%s/%s.txt" % (doc, name), "wb") as file:
            run(["gendoc.py", name], doc, file)
    style = ["--link-stylesheet", "--stylesheet-path", "style.css"]
    for page in pages:
        run(["runrst", "html", "--halt", "warning"] + style + [page + ".txt", page + ".html"], doc)


def put_python(embed, stage):
    """Puts the embeddable Python there, with one more folder in which it finds modules."""
    shutil.copytree(embed, stage)
    (listed,) = glob.glob(stage + "/python*._pth")
    with open(listed, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line.strip() and not line.startswith("#")]
    with open(listed, "w", encoding="utf-8") as file:
        file.write("\n".join(lines + ["lib", "import site"]) + "\n")


def put_wheel(wheel, stage):
    """Puts the packages of the wheel there, and its programs, which lie beside Python and look for it there."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            found = re.fullmatch(r"[^/]+\.data/scripts/([^/]+)", name)
            if found:
                target = stage + "/" + found.group(1)
            elif "/" in name and not re.match(r"[^/]+\.data/", name) or re.fullmatch(r"[^/]+\.py", name):
                target = stage + "/lib/" + name
            else:
                # A library of Python is at the top of the wheel too: the archive has its own.
                continue
            if not name.endswith("/"):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with archive.open(name) as content, open(target, "wb") as file:
                    shutil.copyfileobj(content, file)
    if not os.path.isfile(stage + "/hg.exe"):
        raise places.Failure("the wheel %s has no hg.exe" % os.path.basename(wheel))
    with open(stage + "/lib/sitecustomize.py", "w", encoding="utf-8") as file:
        file.write(CUSTOMIZE)


def put_additions(source, stage):
    """Puts there what the source's packaging says."""
    from hgpackaging import inno, pyoxidizer, util

    here, there = pathlib.Path(source), pathlib.Path(stage)
    util.process_install_rules(pyoxidizer.STAGING_RULES_APP, there, there)
    util.process_install_rules(pyoxidizer.STAGING_RULES_WINDOWS, here, there)
    util.process_install_rules(inno.EXTRA_INSTALL_RULES, here, there)
    for name in getattr(pyoxidizer, "STAGING_EXCLUDES_WINDOWS", []):
        if os.path.isfile(stage + "/" + name):
            os.unlink(stage + "/" + name)


def build_inno(source, work, embed, wheel, compiler, version, arch):
    # Behind the others, as packaging.py there has the name of a package that others import.
    sys.path.append(source + "/contrib/packaging")
    try:
        from hgpackaging import inno
    except ImportError as error:
        raise places.Failure("%s lacks what the source's packaging needs: %s" % (sys.executable, error)) from None
    stage = work + "/stage"
    put_python(embed, stage)
    put_wheel(wheel, stage)
    put_additions(source, stage)
    paths = [pathlib.Path(path) for path in (source, work, stage, compiler)]
    try:
        inno.build_installer(*paths, version, arch="x64" if arch == "x64" else None)
    except subprocess.CalledProcessError as error:
        raise places.Failure("%s ended with %d" % (compiler, error.returncode)) from None


def main(args):
    if args[:1] == ["docs"] and len(args) > 2:
        build_docs(*args[1:])
    elif args[:1] == ["inno"] and len(args) == 8:
        build_inno(*args[1:])
    else:
        raise places.Failure("usage: stage_installer.py docs SOURCE PAGE... or inno SOURCE WORK EMBED WHEEL COMPILER VERSION ARCH", 2)
    return 0


places.run(main)
