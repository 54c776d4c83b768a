# Small requests about a machine.
#
#   nothing                 does nothing: its success shows that the machine answers
#   echo WORDS              prints WORDS on a line
#   is-folder PATH          ends with 0 where PATH is a folder or a link to one, else with 1
#   remove-folder PATH      removes a folder with all its content; a link to one only itself. Nothing there is no failure
#   identity PATH           prints which file that is, and its version: volume, number, size, and its times to 100 ns
#   remove-stale START OWN  removes the files whose paths are START and eight more characters, but not OWN
#   write PATH PARTIAL      stores standard input as the file PATH, at first under the name PARTIAL beside it
#   file-server             prints the file server in the SSH server's configuration, an empty line where there is none; and `there` on a
#                           second line where that program exists
#
# Exit codes: 0 done; 1 no, or it failed, and standard error says why; 64 wrong arguments.
import os
import shutil
import stat
import sys


def out(text):
    os.write(1, text.encode("utf-8", "surrogatepass"))


def remove_again(remove, path, _):
    """A file that is marked as read-only is not removed before the mark is."""
    os.chmod(path, stat.S_IRWXU)
    remove(path)


def remove_folder(path):
    if os.path.islink(path):
        os.unlink(path)
    elif os.path.lexists(path):
        shutil.rmtree(path, onerror=remove_again)


def remove_stale(start, own):
    folder, name = os.path.split(start)
    for entry in os.scandir(folder or "."):
        path = os.path.join(folder, entry.name)
        if len(entry.name) == len(name) + 8 and entry.name.startswith(name) and not same(path, own):
            os.unlink(path)


def write(path, partial):
    if os.path.isdir(path):
        raise OSError("a folder has that name")
    partial = os.path.join(os.path.dirname(path), partial)
    try:
        with open(partial, "xb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def same(one, other):
    return os.path.normcase(os.path.normpath(one)) == os.path.normcase(os.path.normpath(other))


def identity(path):
    found = os.stat(path)
    out("%d %d %d %d %d\n" % (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def file_server():
    base = os.environ.get("PROGRAMDATA", "C:/ProgramData")
    try:
        with open(os.path.join(base, "ssh", "sshd_config"), encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        lines = []
    found = [words[2] for words in lines if len(words) > 2 and [word.lower() for word in words[:2]] == ["subsystem", "sftp"]]
    out("%s\n" % (found[0] if found else ""))
    if found:
        server = os.path.join(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32", "OpenSSH", found[0])
        if found[0] == "internal-sftp" or os.path.isfile(server) or os.path.isfile(found[0]):
            out("there\n")


def main(args):
    if args == ["nothing"]:
        return 0
    if args == ["file-server"]:
        file_server()
    elif len(args) == 2 and args[0] == "echo":
        out(args[1] + "\n")
    elif len(args) == 2 and args[0] == "is-folder":
        return 0 if os.path.isdir(args[1]) else 1
    elif len(args) == 2 and args[0] == "remove-folder":
        remove_folder(args[1])
    elif len(args) == 2 and args[0] == "identity":
        identity(args[1])
    elif len(args) == 3 and args[0] == "write":
        write(args[1], args[2])
    elif len(args) == 3 and args[0] == "remove-stale":
        remove_stale(args[1], args[2])
    else:
        os.write(2, b"there is no such request\n")
        return 64
    return 0


sys.exit(main(sys.argv[1:]))
