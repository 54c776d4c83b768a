# Receives or sends a tree as one archive, for a driver that streams it; and the machine's side of a sync: what a folder holds, and what
# makes it equal to another. Run as the user whose files they are.
#
#   unpack PATH PARTIAL MODE   the archive on standard input becomes the folder PATH, or is merged into it; MODE is for a new folder, where
#                          the system keeps permissions
#   pack PATH              the folder PATH as an archive on standard output
#   pick PATH              of the folder PATH, the files that standard input names, a NUL after each; a link as its file
#   pour PATH, extents PATH   ends with a reason: Windows has no devices or pipes among its files, and tells no holes
#   look PATH              lists the folder, and prints the records of the last sync
#   hash PATH              SHA-256 of the files that standard input names, a NUL after each; unreadable ones are left out
#   apply PATH             makes the changes that the archive on standard input holds
#
# An archive to unpack holds `tree`, and behind it `whole`, by which it is known that nothing is missing. It is unpacked under PARTIAL, a
# name that nothing has yet, and every file gets its name when all are whole; a link or anything else that has the name of a file stops
# everything. A name that Windows cannot have, or two that are one name there, stop everything as well. Windows keeps no permissions: a file
# is sent with 644, or 444 where it is marked as read-only, a folder with 755, and what comes has no mark.
#
# The records of syncs are in PATH/.hg-automation-sync, which goes with the tree when that is removed:
#
#   sent       the files that syncs put there: KIND HASH PATH, or F HASH TOKEN PATH with what the file looked like where it came from
#   pending    the files that a sync which did not end was about to put there
#   seen       the listing of `look` at the end of the sync
#   fresh      the files that were new then, looked at before anybody could change them: SIZE INODE MTIME PATH
#   stamp      the time just before the sync looked, by the clock that gives files their times
#   modes      the permissions that syncs gave, which Windows does not keep: MODE PATH. The listing has them for what is there
#
# `look` prints sections: `=NAME BYTES`, a NUL, and so many bytes, which are records with a NUL after each; `odd` says that something else is in the
# place of records. A listing has two records a file, `KIND MODE SIZE INODE MTIME CTIME PATH` and a link's target. The archive of `apply` holds `tree`, the new files; lists with a NUL after each name: files to
# `delete`, `folders` to be removed where they are empty, folders to `open` for their owner, and one `modes.MODE` for each mode; `sent`,
# `pending` and `stamp`; and behind it all `whole`. Nothing is changed before all has arrived. CTIME is the time of the last change to the file
# or to anything that is said of it; Python tells the time of the making in its place, so Windows is asked for it.
#
# Exits with 0; with 66 where PATH of `pack` is a file; with 1 and a reason on standard error.
import errno
import hashlib
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import time

WINDOWS = os.name == "nt"
IS_FILE = 66

# The folder in which syncs are remembered.
KEEP = ".hg-automation-sync"

# The files in it.
RECORDS = ("lock", "stamp", "seen", "fresh", "sent", "pending", "modes")

# Bytes of one read.
PIECE = 1 << 18

# Seconds in which the clock that gives files their times has moved on: that of Windows moves every 15.6 ms at the slowest.
TICK = 0.032

# Names that Windows gives to devices, whatever ending they have.
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"}
DEVICES |= {kind + digit for kind in ("com", "lpt") for digit in "123456789\u00b9\u00b2\u00b3"}


class Failure(Exception):
    pass


def shown(path):
    """A path as a message has it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not WINDOWS else path


def check_name(name):
    """Refuses a name that Windows would change, or take for something else."""
    why = None
    if any(sign in '\\:*?"<>|' or ord(sign) < 32 for sign in name):
        why = "Windows has no such sign in names"
    elif name.endswith((".", " ")):
        why = "Windows has no name that ends in a dot or a blank"
    elif name.split(".")[0].rstrip(" ").lower() in DEVICES:
        why = "Windows gives that name to a device"
    elif any(0xD800 <= ord(sign) < 0xE000 for sign in name):
        why = "it is not UTF-8"
    if why:
        raise Failure("the name `%s` cannot be made: %s, and nothing was copied" % (ascii(name)[1:-1], why))


def is_link(found):
    return stat.S_ISLNK(found.st_mode)


def is_odd(found):
    """Whether it is neither a file, a folder nor a symbolic link; a junction of Windows is none of them."""
    if getattr(found, "st_reparse_tag", 0) == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1):
        return True
    return not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) or is_link(found))


def look(path):
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(path):
    """Removes a folder with all that is in it, also what is marked as read-only or closed to its owner."""

    def again(call, where, _):
        os.chmod(os.path.dirname(where), stat.S_IRWXU)
        if not os.path.islink(where):
            os.chmod(where, stat.S_IRWXU)
        call(where)

    if os.path.isdir(path):
        shutil.rmtree(path, onerror=again)


class Receiver:
    """Unpacks an archive below a folder that nobody else knows."""

    def __init__(self, stage):
        self.stage, self.names, self.modes, self.told = stage, {}, [], {}

    def place(self, name):
        """The path of an entry, which lies in a folder that came before it."""
        parts = name.rstrip("/").split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise Failure("the archive has the name `%s`" % shown(name))
        if WINDOWS:
            for part in parts:
                check_name(part)
            key = "/".join(parts).lower()
            other = self.names.setdefault(key, parts)
            if other != parts:
                both = ("/".join(other), "/".join(parts))
                raise Failure("`%s` and `%s` are one name on Windows, and nothing was copied" % both)
        above = os.path.join(self.stage, *parts[:-1])
        if not stat.S_ISDIR(os.lstat(above).st_mode):
            raise Failure("the archive goes through `%s`" % shown("/".join(parts[:-1])))
        return os.path.join(self.stage, *parts)

    def receive(self):
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", bufsize=PIECE, encoding="utf-8") as archive:
            for entry in archive:
                path = self.place(entry.name)
                if entry.isdir():
                    if look(path) is None:
                        os.mkdir(path)
                elif entry.issym():
                    self.link(entry, path)
                elif entry.isreg():
                    self.file(archive.extractfile(entry), path)
                else:
                    raise Failure("the archive has `%s`, which is neither a file, a folder nor a link" % shown(entry.name))
                if not entry.issym():
                    self.told[entry.name.rstrip("/")] = entry.mode
                    if not WINDOWS:
                        self.modes.append((path, entry.mode))
        # A folder that its owner may not write gets its mode after its content.
        for path, mode in reversed(self.modes):
            os.chmod(path, mode)
        if look(os.path.join(self.stage, "whole")) is None:
            raise Failure("the archive broke off")

    def file(self, source, path):
        with open(path, "xb") as file:
            shutil.copyfileobj(source, file, PIECE)

    def link(self, entry, path):
        target = entry.linkname.replace("/", "\\") if WINDOWS else entry.linkname
        behind = os.path.join(os.path.dirname(path), target)
        try:
            os.symlink(target, path, target_is_directory=os.path.isdir(behind))
            # Not every system that says so has made it.
            os.lstat(path)
        except OSError as error:
            reason = "%s; links need the right to make them, or the developer mode" if WINDOWS else "%s"
            raise Failure("cannot make the link `%s`: %s" % (shown(entry.name), reason % error.strerror)) from None


def walk(top, folder=""):
    """The entries below `top`, by their paths from there with slashes; a folder comes before its entries."""
    for name in sorted(os.listdir(os.path.join(top, folder))):
        below = folder + "/" + name if folder else name
        found = os.lstat(os.path.join(top, below))
        yield below, found
        if stat.S_ISDIR(found.st_mode) and not is_odd(found):
            yield from walk(top, below)


KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISLNK, "a link"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))


def check_free(new, old):
    """Fails where an entry has the name of something that it may not replace."""
    for below, found in walk(new):
        there = look(os.path.join(old, below))
        if there is None:
            continue
        if stat.S_ISDIR(found.st_mode):
            free = stat.S_ISDIR(there.st_mode) and not is_odd(there)
        elif is_link(found):
            free = stat.S_ISREG(there.st_mode) or is_link(there)
        else:
            free = stat.S_ISREG(there.st_mode)
        if not free:
            other = "something that is not a folder" if stat.S_ISDIR(found.st_mode) else "a device"
            what = next((name for test, name in KINDS if test(there.st_mode)), other)
            raise Failure("%s has the name `%s`, and nothing was copied" % (what, shown(below)))


def merge(new, old):
    """Gives every file below `new` its name below `old`."""
    for below, found in list(walk(new)):
        source, target = os.path.join(new, below), os.path.join(old, below)
        if stat.S_ISDIR(found.st_mode):
            if look(target) is None:
                os.mkdir(target)
                if not WINDOWS:
                    os.chmod(target, stat.S_IMODE(found.st_mode))
            continue
        try:
            put_in_place(source, target)
        except OSError as error:
            raise Failure("cannot write `%s`: %s; files before it have come" % (shown(below), error.strerror)) from None


def put_in_place(source, target):
    try:
        os.replace(source, target)
    except PermissionError:
        # Windows replaces no file that is marked as read-only.
        if not WINDOWS or look(target) is None:
            raise
        os.chmod(target, stat.S_IWRITE)
        os.replace(source, target)


def unpack(path, partial, mode):
    there = look(path)
    if os.path.isdir(path):
        stage = os.path.join(path, partial)
    elif there is not None:
        raise Failure("something that is not a folder has its name")
    else:
        above = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(above):
            raise Failure("no such file or folder")
        if WINDOWS:
            check_name(os.path.basename(path))
        stage = os.path.join(above, partial)
    os.mkdir(stage, 0o700)
    try:
        Receiver(stage).receive()
        new = os.path.join(stage, "tree")
        if os.path.isdir(path):
            check_free(new, path)
            merge(new, path)
        else:
            os.rename(new, path)
            if not WINDOWS:
                os.chmod(path, mode)
    finally:
        remove(stage)


def mode_of(found):
    if not WINDOWS:
        return stat.S_IMODE(found.st_mode) & 0o1777
    if stat.S_ISDIR(found.st_mode):
        return 0o755
    return 0o644 if found.st_mode & stat.S_IWRITE else 0o444


def add(archive, path, name, found):
    """Adds one entry; a file must not change while it is read."""
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = mode_of(found), int(found.st_mtime)
    if stat.S_ISDIR(found.st_mode):
        entry.type = tarfile.DIRTYPE
    elif is_link(found):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
        if WINDOWS:
            entry.linkname = entry.linkname.replace("\\\\?\\", "", 1).replace("\\", "/")
    else:
        add_file(archive, path, entry)
        return
    archive.addfile(entry)


def add_file(archive, path, entry):
    with open(path, "rb") as file:
        before = os.fstat(file.fileno())
        entry.size = before.st_size
        try:
            archive.addfile(entry, file)
            after = os.fstat(file.fileno())
            same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        except OSError as error:
            if "unexpected end of data" not in str(error):
                raise
            same = False
        if not same:
            raise Failure("`%s`: it changed while it was read" % shown(entry.name))


def written():
    return tarfile.open(
        fileobj=sys.stdout.buffer,
        mode="w|",
        bufsize=PIECE,
        format=tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="strict" if WINDOWS else "surrogateescape",
    )


def pack(path):
    if not os.path.exists(path):
        raise Failure("no such file or folder")
    if os.path.isfile(path):
        return IS_FILE
    if not os.path.isdir(path):
        raise Failure("it is neither a file nor a folder")
    entries = list(walk(path))
    for below, found in entries:
        if is_odd(found):
            raise Failure("`%s` is neither a file, a folder nor a symbolic link" % shown(below))
    with written() as archive:
        add(archive, path, "./", os.stat(path))
        for below, found in entries:
            add(archive, os.path.join(path, below), "./" + below, found)
    return 0


def pick(path):
    if not os.path.isdir(path):
        raise Failure("no such file or folder")
    names = sys.stdin.buffer.read().decode("utf-8", "strict" if WINDOWS else "surrogateescape").split("\0")[:-1]
    with written() as archive:
        for name in names:
            where = os.path.join(path, name)
            add(archive, where, name, os.stat(where))


def coded(text):
    return text.encode("utf-8", "surrogatepass" if WINDOWS else "surrogateescape")


def decoded(data):
    return data.decode("utf-8", "surrogatepass" if WINDOWS else "surrogateescape")


def out(*records):
    for record in records:
        sys.stdout.buffer.write(record + b"\0")


def section(name, data=b""):
    sys.stdout.buffer.write(b"=%s %d\0" % (name.encode(), len(data)) + data)


def moment(nanoseconds):
    return "%d.%09d0" % divmod(nanoseconds, 10**9)


class Clock:
    """The time of the last change to a file, its attributes or its names."""

    def __init__(self):
        if WINDOWS:
            import ctypes
            from ctypes import wintypes

            self.ctypes = ctypes
            self.kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            self.kernel.CreateFileW.restype = wintypes.HANDLE
            number = wintypes.DWORD
            self.kernel.CreateFileW.argtypes = [
                wintypes.LPCWSTR, number, number, ctypes.c_void_p, number, number, wintypes.HANDLE,
            ]
            self.kernel.GetFileInformationByHandleEx.argtypes = [
                wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, number,
            ]
            self.kernel.CloseHandle.argtypes = [wintypes.HANDLE]

    def changed(self, path, found):
        """Nanoseconds since 1970."""
        if not WINDOWS:
            return found.st_ctime_ns
        # FILE_READ_ATTRIBUTES; shared with all; OPEN_EXISTING; FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT.
        handle = self.kernel.CreateFileW(os.path.abspath(path), 0x80, 7, None, 3, 0x02200000, None)
        if handle in (None, self.ctypes.c_void_p(-1).value):
            raise self.ctypes.WinError(self.ctypes.get_last_error())
        try:
            # FILE_BASIC_INFO: times of the making, the last access, the last write, the last change; attributes.
            info = self.ctypes.create_string_buffer(40)
            if not self.kernel.GetFileInformationByHandleEx(handle, 0, info, 40):
                raise self.ctypes.WinError(self.ctypes.get_last_error())
        finally:
            self.kernel.CloseHandle(handle)
        # Hundreds of nanoseconds since 1601.
        return (int.from_bytes(info[24:32], "little") - 116444736000000000) * 100


def is_record(path):
    found = look(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def kept(name):
    """A record of the last sync; none where there is no such file."""
    path, folder = os.path.join(KEEP, name), look(KEEP)
    if folder is None or not stat.S_ISDIR(folder.st_mode) or not is_record(path):
        return b""
    with open(path, "rb") as file:
        return file.read()


def is_odd_memory():
    """Whether something else is in the place of records."""
    there = look(KEEP)
    if there is None:
        return False
    if not stat.S_ISDIR(there.st_mode) or is_odd(there):
        return True
    paths = [os.path.join(KEEP, name) for name in RECORDS]
    return any(look(path) is not None and not is_record(path) for path in paths)


def open_memory():
    """Makes the folder of the records, in the place of anything else, and removes from it what is none."""
    if is_odd_memory():
        for path in [os.path.join(KEEP, name) for name in RECORDS] + [KEEP]:
            there = look(path)
            if there is None:
                continue
            if not stat.S_ISDIR(there.st_mode) or is_odd(there):
                delete(path)
            elif path != KEEP:
                remove(path)
    os.makedirs(KEEP, 0o700, exist_ok=True)


def keep(name, data):
    with open(os.path.join(KEEP, name + ".new"), "wb") as file:
        file.write(data)
    put_in_place(os.path.join(KEEP, name + ".new"), os.path.join(KEEP, name))


def remembered():
    """The permissions that syncs gave, by path."""
    records = (record.partition(b" ") for record in kept("modes").split(b"\0"))
    # What is damaged counts as not remembered.
    return {decoded(path): int(mode, 8) for mode, _, path in records if path and mode.isdigit() and not set(mode) & set(b"89")}


def listing():
    """The records of the current folder."""
    clock, modes, records = Clock(), remembered() if WINDOWS else {}, []
    for below, found in walk("."):
        if below == KEEP or below.startswith(KEEP + "/"):
            continue
        if is_odd(found):
            kind = "o"
        else:
            kind = "d" if stat.S_ISDIR(found.st_mode) else "l" if is_link(found) else "f"
        mode = modes.get(below, mode_of(found)) if WINDOWS else stat.S_IMODE(found.st_mode)
        times = moment(found.st_mtime_ns), moment(clock.changed(below, found))
        fields = (kind, mode, found.st_size, found.st_ino) + times + (below,)
        target = os.readlink(below) if kind == "l" else ""
        if WINDOWS:
            target = target.replace("\\\\?\\", "", 1).replace("\\", "/")
        records += [coded("%s %o %d %d %s %s %s" % fields), coded(target)]
    return b"".join(record + b"\0" for record in records)


def sync_look(path):
    handle, name = tempfile.mkstemp()
    try:
        os.write(handle, b"x")
        section("began", coded(moment(Clock().changed(name, os.stat(name)))) + b"\0")
    finally:
        os.close(handle)
        os.unlink(name)
    if not os.path.isdir(path):
        if look(path) is not None:
            raise Failure("something that is not a folder has its name")
        section("end")
        return
    os.chdir(path)
    now = listing()
    if now == kept("seen"):
        section("same")
    else:
        section("now", now)
    for name in ("stamp", "seen", "fresh", "sent", "pending"):
        section(name, kept(name))
    if is_odd_memory():
        section("odd")
    section("end")


def sync_hash(path):
    os.chdir(path)
    for name in decoded(sys.stdin.buffer.read()).split("\0")[:-1]:
        digest = hashlib.sha256()
        try:
            with open(name, "rb") as file:
                for data in iter(lambda: file.read(PIECE), b""):
                    digest.update(data)
        except OSError:
            continue
        out(digest.hexdigest().encode() + b"  " + coded(name))


def lock(file):
    try:
        if WINDOWS:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Failure("another sync is at work there") from None


def names(stage, name):
    """The paths of a list of the archive, each below the current folder."""
    try:
        with open(os.path.join(stage, name), "rb") as file:
            return [os.path.normpath(path).replace("\\", "/") for path in decoded(file.read()).split("\0")[:-1]]
    except FileNotFoundError:
        return []


def clean():
    """Removes what earlier syncs left."""
    for entry in os.listdir(KEEP):
        if entry.startswith("stage."):
            remove(os.path.join(KEEP, entry))


def delete(path):
    if WINDOWS:
        if os.path.islink(path) and os.path.isdir(path):
            os.rmdir(path)
            return
        if not os.path.islink(path):
            os.chmod(path, stat.S_IWRITE)
    os.unlink(path)


def remove_empty(path):
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def change(stage, receiver):
    """Makes the changes, all of which have come."""
    modes = remembered()
    fresh = []
    new = os.path.join(stage, "tree")
    for below, found in walk(new):
        if stat.S_ISREG(found.st_mode):
            fresh.append(coded("%d %d %s %s" % (found.st_size, found.st_ino, moment(found.st_mtime_ns), below)) + b"\0")
    # A file that others write from now on differs in its time from the new ones.
    if fresh:
        time.sleep(TICK)
    put_in_place(os.path.join(stage, "pending"), os.path.join(KEEP, "pending"))
    for path in names(stage, "open"):
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | stat.S_IRWXU)
    for path in names(stage, "delete"):
        delete(path)
        modes.pop(path, None)
    for path in names(stage, "folders"):
        remove_empty(path)
        modes.pop(path, None)
    merge(new, ".")
    modes.update((name[5:], mode) for name, mode in receiver.told.items() if name.startswith("tree/"))
    for name in os.listdir(stage):
        if name.startswith("modes."):
            for path in names(stage, name):
                modes[path] = int(name[6:], 8)
                if not WINDOWS:
                    os.chmod(path, modes[path])
    keep("modes", b"".join(coded("%o %s" % (mode, path)) + b"\0" for path, mode in sorted(modes.items())))
    for name in ("sent", "stamp"):
        put_in_place(os.path.join(stage, name), os.path.join(KEEP, name))
    keep("fresh", b"".join(fresh))


def sync_apply(path):
    if not os.path.isdir(path):
        os.mkdir(path, 0o755)
    os.chdir(path)
    open_memory()
    with open(os.path.join(KEEP, "lock"), "ab") as file:
        lock(file)
        clean()
        stage = os.path.join(KEEP, "stage.%d" % os.getpid())
        os.mkdir(stage, 0o700)
        try:
            receiver = Receiver(stage)
            receiver.receive()
            change(stage, receiver)
        finally:
            clean()
        keep("seen", listing())
        os.unlink(os.path.join(KEEP, "pending"))


def main(args):
    verb, path, rest = args[0], args[1], args[2:]
    if verb == "unpack" and len(rest) == 2:
        unpack(path, rest[0], int(rest[1], 8))
    elif verb == "pack":
        return pack(path)
    elif verb == "pick":
        pick(path)
    elif verb == "look":
        sync_look(path)
    elif verb == "hash":
        sync_hash(path)
    elif verb == "apply":
        sync_apply(path)
    elif verb == "pour":
        raise Failure("Windows has no devices or pipes among its files")
    elif verb == "extents":
        raise Failure("the holes of a file are not told on Windows")
    else:
        raise Failure("there is no request `%s`" % verb)
    return 0


try:
    code = main(sys.argv[1:])
    sys.stdout.buffer.flush()
    sys.exit(code)
except (Failure, OSError, ValueError, tarfile.TarError) as error:
    os.write(2, ("%s\n" % error).encode("utf-8", "replace"))
    sys.exit(1)
