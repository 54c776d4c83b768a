# Lists what stands below some paths, a NUL behind each record:
#
#   rBYTES PATH   a file that the caller may read, of so many bytes with its holes; a link to a file counts as that file
#   uBYTES PATH   a file that the caller may not read
#   d0 PATH       a folder
#   l0 PATH       a link or junction to a folder, to nothing, or to something else
#
#   list_files.py PATH...
#
# A PATH that is a link is followed, other links are not. Paths have slashes. Standard error has a line `find: 'PATH': Permission denied`
# for each folder that may not be entered.
# Exit codes: 0 all listed; 1 a PATH is not there, or something could not be listed.
import os
import stat
import sys

failed = False
# Windows tells a junction by this, which is a link that is none to Python.
REPARSE = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)


def out(record):
    sys.stdout.buffer.write(record.encode("utf-8", "surrogateescape" if os.name != "nt" else "surrogatepass") + b"\0")


def complain(path, error):
    global failed
    failed = True
    reason = "Permission denied" if isinstance(error, PermissionError) else error.strerror
    text = "find: '%s': %s\n" % (path, reason)
    os.write(2, text.encode("utf-8", "surrogateescape" if os.name != "nt" else "surrogatepass"))


def is_link(found):
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_file_attributes", 0) & REPARSE)


def may_read(path):
    if os.name != "nt":
        return os.access(path, os.R_OK)
    # Windows has no answer but a try; a file that a program shares with nobody cannot be read either.
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_BINARY))
    except OSError:
        return False
    return True


def tell_file(path, found):
    out("%s%d %s" % ("r" if may_read(path) else "u", found.st_size, path))


def tell(path, found, is_start):
    """Prints the record of one entry; gives whether it is a folder to be entered."""
    if is_link(found) and not is_start:
        try:
            behind = os.stat(path)
        except OSError:
            behind = found
        if stat.S_ISREG(behind.st_mode):
            tell_file(path, behind)
        else:
            out("l0 " + path)
        return False
    if stat.S_ISDIR(found.st_mode):
        out("d0 " + path)
        return True
    if stat.S_ISREG(found.st_mode):
        tell_file(path, found)
    return False


def walk(start):
    try:
        found = os.stat(start)
    except OSError as error:
        complain(start, error)
        return
    todo = [start] if tell(start, found, True) else []
    while todo:
        folder = todo.pop()
        try:
            entries = sorted(entry.name for entry in os.scandir(folder))
        except OSError as error:
            complain(folder, error)
            continue
        for name in entries:
            path = folder.rstrip("/") + "/" + name
            try:
                if tell(path, os.lstat(path), False):
                    todo.append(path)
            except OSError as error:
                complain(path, error)


for start in sys.argv[1:]:
    walk(start)
sys.stdout.buffer.flush()
sys.exit(1 if failed else 0)
