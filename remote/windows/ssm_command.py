# Runs commands for a driver that reaches this machine by its SSM agent alone: the counterpart of `remote/linux/ssm-command.sh`, with the
# same requests and the same seven lines of answer. `ssm-request.ps1`, which the agent runs as SYSTEM, starts it with `words` and `text`
# among its names: the words, and this text.
#
#   BASE TOKENS FORGET VERB ID ...
#
#   probe ID USER                                     whether commands can be run as USER
#   put ID INDEX BYTES                                keeps a piece of what `start` needs
#   start ID USER PIECES LINE TOTAL BYTES HOLD        starts the command once, then as `follow` from the beginning
#   follow ID OUT OUT-MOST ERR ERR-MOST HOLD          reports the command; waits HOLD seconds for something new
#   end ID                                            ends the command with all its processes, and removes its folder
#   forget ID                                         nothing but FORGET
#
# Windows lets nobody become a user without the user's password, so commands run as SYSTEM: in place of the administrator, and of nobody
# else. The shell's line goes to `cmd.exe /c "LINE"`, as Windows' SSH server does it; without a line `cmd.exe` reads commands. BASE is
# below a folder that only SYSTEM and administrators have rights to.
#
#   supervise FOLDER      (another start of this text) runs the command of a folder, and holds a lock on FOLDER/alive while it lives
#
# Exits with 0 once it has answered.
import base64
import ctypes
import msvcrt
import os
import shutil
import subprocess
import sys
import time

# Most bytes of output in one answer: in base64 they stay below the 24,000 characters that the service keeps.
ROOM = 17500
# How long a token is kept, a supervisor may take to begin, and a file may be kept from being read, in seconds.
TOKEN, BEGIN, BUSY = 7200, 20, 5
NO_WINDOW, NEW_GROUP, BREAKAWAY = 0x08000000, 0x00000200, 0x01000000


class Refused(Exception):
    """Why a request cannot be carried out."""


def answer(state, sizes=(0, 0), pieces=(b"", b"")):
    lines = ["automation-ssm", state]
    for size, piece in zip(sizes, pieces):
        lines += [str(size), base64.b64encode(piece).decode()]
    sys.stdout.write("\n".join(lines + ["end"]) + "\n")


def read(path, start=0, most=-1):
    """A part of a file; nothing where it is not there."""
    end = time.monotonic() + BUSY
    while True:
        try:
            with open(path, "rb") as file:
                file.seek(start)
                return file.read(most)
        except FileNotFoundError:
            return b""
        except PermissionError:
            # Windows opens no file for a second process as long as the first is about to give it its name.
            if time.monotonic() >= end:
                raise
            time.sleep(0.02)


def size(path):
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def write(path, data):
    """Under a new name first, so that nobody reads half of it."""
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def locked(path):
    """Whether a process holds the lock on a file."""
    try:
        with open(path, "r+b") as file:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def state(folder):
    # The lock first: a supervisor that lets go of it has left its status.
    lives = locked(folder + "/alive")
    if os.path.exists(folder + "/status"):
        return "ended " + read(folder + "/status").decode()
    if not os.path.isdir(folder):
        return "absent"
    return "running" if lives else "vanished"


def follow(folder, out, out_most, err, err_most, hold):
    tries, news = 0, 0
    while True:
        # The state first: once it says `ended`, the sizes are final.
        now, sizes = state(folder), [size(folder + "/out"), size(folder + "/err")]
        if now != "running" or tries >= hold * 5 or news > 10:
            break
        tries += 1
        # New output is not reported at once: a moment later there is more, or the end.
        news += sizes[0] > out or sizes[1] > err
        time.sleep(0.02 if tries <= 10 or news else 0.2)
    left = max(0, min(sizes[0] - out, out_most, ROOM))
    rest = max(0, min(sizes[1] - err, err_most, ROOM - left))
    answer(now, sizes, (read(folder + "/out", out, left), read(folder + "/err", err, rest)))


def check(user):
    if user.lower() != "administrator":
        raise Refused("the agent runs commands as SYSTEM, in place of `Administrator` and not of `%s`" % user)


def make(folder):
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise Refused("cannot make a folder: %s" % error) from None


def assemble(folder, pieces, line, total, last):
    """Makes the files `line` and `in` of the pieces."""
    names = ["%s/piece-%d" % (folder, index) for index in range(pieces)]
    if not all(os.path.exists(name) for name in names):
        raise Refused("a piece of the command did not arrive")
    payload = b"".join(read(name) for name in names) + base64.b64decode(last)
    if len(payload) != total:
        raise Refused("the command did not arrive whole")
    write(folder + "/line", payload[:line])
    write(folder + "/in", payload[line:])
    for name in names:
        os.remove(name)


def launch(folder, user, pieces, line, total, last):
    make(folder)
    try:
        check(user)
        assemble(folder, pieces, line, total, last)
    except Refused:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    write(folder + "/supervisor.py", text.encode())  # noqa: F821
    line = [sys.executable, "-I", "-S", "-X", "utf8", folder + "/supervisor.py", "supervise", folder]
    streams = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        subprocess.Popen(line, creationflags=NO_WINDOW | NEW_GROUP | BREAKAWAY, **streams)
    except PermissionError:
        # The agent's own job object, if there is one, lets nothing out of it.
        subprocess.Popen(line, creationflags=NO_WINDOW | NEW_GROUP, **streams)
    until_begun(folder)


def until_begun(folder):
    end = time.monotonic() + BEGIN
    while not os.path.exists(folder + "/pid") and os.path.isdir(folder) and time.monotonic() < end:
        time.sleep(0.05)


def start(folder, token, user, pieces, line, total, last, hold):
    make(os.path.dirname(token))
    for entry in os.scandir(os.path.dirname(token)):
        if time.time() - entry.stat().st_mtime > TOKEN:
            os.rmdir(entry.path)
    try:
        os.mkdir(token)
    except FileExistsError:
        # The same request a second time, because the answer to the first was lost.
        until_begun(folder)
    else:
        launch(folder, user, pieces, line, total, last)
    follow(folder, 0, ROOM, 0, ROOM, hold)


def end(folder, token):
    # From now on a start that is still on its way comes too late.
    os.makedirs(token, exist_ok=True)
    if locked(folder + "/alive"):
        # Its job object, which ends its processes, goes with it.
        os.kill(int(read(folder + "/pid") or b"0"), 9)
        limit = time.monotonic() + BEGIN
        while locked(folder + "/alive") and time.monotonic() < limit:
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def enclose():
    """Puts this process, and so all that it starts, into a job object that ends with it. The handle is never closed."""
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateJobObjectW.restype = kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.CreateJobObjectW.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    kernel.SetInformationJobObject.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong]
    kernel.AssignProcessToJobObject.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    job = kernel.CreateJobObjectW(None, None)
    # JOBOBJECT_EXTENDED_LIMIT_INFORMATION has 144 bytes, its LimitFlags at 16; 0x2000 is KILL_ON_JOB_CLOSE.
    limits = ctypes.create_string_buffer(144)
    limits[16:20] = (0x2000).to_bytes(4, "little")
    fine = job and kernel.SetInformationJobObject(job, 9, limits, 144)
    if not fine or not kernel.AssignProcessToJobObject(job, kernel.GetCurrentProcess()):
        raise ctypes.WinError(ctypes.get_last_error())


def supervise(folder):
    alive = open(folder + "/alive", "wb")
    alive.write(b"\n")
    alive.flush()
    alive.seek(0)
    # Whoever looks at the lock holds it for a moment.
    msvcrt.locking(alive.fileno(), msvcrt.LK_LOCK, 1)
    enclose()
    line = read(folder + "/line").decode()
    shell = os.path.join(os.environ["SYSTEMROOT"], "System32", "cmd.exe")
    # The agent was started before this Python was installed, and knows nothing of it.
    path = os.path.dirname(sys.executable) + ";" + os.environ.get("PATH", "")
    words = 'cmd.exe /c "%s"' % line if line else "cmd.exe"
    home = "C:/Users/Administrator"
    with open(folder + "/in", "rb") as given, open(folder + "/out", "wb") as out, open(folder + "/err", "wb") as err:
        process = subprocess.Popen(words, executable=shell, stdin=given, stdout=out, stderr=err, creationflags=NO_WINDOW,
                                   cwd=home if os.path.isdir(home) else None, env=dict(os.environ, PATH=path))
        write(folder + "/pid", str(os.getpid()).encode())
        code = process.wait()
    # As a wait status of Linux, which carries 8 bits of a code.
    write(folder + "/status", str((code if 0 <= code <= 255 else 255) << 8).encode())


def main(base, tokens, forget, verb, id, *rest):
    for old in forget.split(",") if forget != "-" else ():
        shutil.rmtree(base + "/hg-automation-ssm-" + old, ignore_errors=True)
    folder, token = base + "/hg-automation-ssm-" + id, tokens + "/" + id
    if verb == "probe":
        check(rest[0])
        answer("ready")
    elif verb == "put":
        if not os.path.isdir(token):
            make(folder)
            write("%s/piece-%s" % (folder, rest[0]), base64.b64decode(rest[1]))
        answer("ready")
    elif verb == "start":
        user, pieces, line, total, last, hold = rest
        start(folder, token, user, int(pieces), int(line), int(total), last, int(hold))
    elif verb == "follow":
        follow(folder, *map(int, rest))
    elif verb in ("end", "forget"):
        if verb == "end":
            end(folder, token)
        answer("ready")
    else:
        raise Refused("there is no request `%s`" % verb)


if sys.argv[1:2] == ["supervise"]:
    supervise(sys.argv[2])
else:
    try:
        main(*words)  # noqa: F821
    except (Refused, OSError) as error:
        answer("refused %s" % str(error).replace("\n", " "))
