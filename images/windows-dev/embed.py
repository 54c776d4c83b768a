"""Makes an embeddable Python of the installed one that runs this.

    embed.py FOLDER

FOLDER holds the programs, their libraries side by side, the compiled modules as `pythonXY.zip`, and `pythonXY._pth`, by which that
Python looks at nothing but these: the shape of the archives that Python's makers publish. It must not be there yet, and is there only
when it is whole. Two runs of the same Python make the same files.

Exit codes: 0 made; 1 something failed, with a traceback.
"""

import glob
import os
import py_compile
import shutil
import sys
import zipfile

# What the makers leave out of theirs: tests, what draws windows, and what installs packages.
LEFT_OUT = ("__pycache__", "ensurepip", "idlelib", "site-packages", "test", "tests", "tkinter", "turtle.py", "turtledemo", "venv")
LIBRARIES_LEFT_OUT = ("_ctypes_test", "_test", "_tkinter", "tcl", "tk", "xxlimited", "zlib1")
# The first moment that a zip file can tell.
MOMENT = (1980, 1, 1, 0, 0, 0)


def put_libraries(home, folder):
    """Copies the programs and the libraries, which lie in two folders where Python was installed."""
    wanted = [home + "/" + name for name in ("python.exe", "pythonw.exe", "LICENSE.txt")]
    for pattern in ("/*.dll", "/*.pyd", "/DLLs/*.dll", "/DLLs/*.pyd"):
        wanted += glob.glob(home + pattern)
    for path in wanted:
        if os.path.isfile(path) and not os.path.basename(path).startswith(LIBRARIES_LEFT_OUT):
            shutil.copyfile(path, os.path.join(folder, os.path.basename(path)))


def modules(lib):
    """The files of the library of modules, as paths from it with slashes."""
    for place, folders, files in os.walk(lib):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(files):
            if name not in LEFT_OUT:
                yield os.path.relpath(os.path.join(place, name), lib).replace(os.sep, "/")


def put_modules(lib, archive, work):
    """Puts the modules into the archive, compiled: a program that is installed for all cannot keep what it compiles."""
    for name in modules(lib):
        path = os.path.join(lib, name)
        if name.endswith(".py"):
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            path = py_compile.compile(path, cfile=work, dfile=name, doraise=True, invalidation_mode=mode)
            name += "c"
        with open(path, "rb") as file:
            archive.writestr(zipfile.ZipInfo(name, MOMENT), file.read(), zipfile.ZIP_DEFLATED)


def main():
    (folder,) = sys.argv[1:]
    home = os.path.dirname(os.path.abspath(sys.executable))
    name = "python%d%d" % sys.version_info[:2]
    if os.path.lexists(folder):
        sys.exit("embed: %s is there already" % folder)
    new = folder + ".new"
    if os.path.lexists(new):
        shutil.rmtree(new)
    os.makedirs(new)
    put_libraries(home, new)
    work = new + "/module.pyc"
    with zipfile.ZipFile("%s/%s.zip" % (new, name), "w") as archive:
        put_modules(home + "/Lib", archive, work)
    if os.path.exists(work):
        os.remove(work)
    with open("%s/%s._pth" % (new, name), "w", encoding="utf-8", newline="\r\n") as file:
        file.write("%s.zip\n.\n" % name)
    os.rename(new, folder)


main()
