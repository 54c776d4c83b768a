# Runs a task so that it outlives the connection that asked for it, and lets anybody follow it from any byte of its output.
#
#   supervise.py boot                                  prints the identity of this boot
#   supervise.py launch DIR CAP BOOT COMMAND           starts the task, at most once, and returns
#   supervise.py start DIR CAP BOOT HOLD COMMAND       launch, then follow from the beginning
#   supervise.py follow DIR STDOUT STDERR BOOT HOLD    sends its output on, and ends when the task has ended
#   supervise.py record DIR                            prints how it ended, one JSON object on a line
#   supervise.py cancel DIR SECONDS                    ends it: Ctrl-Break, and by force after SECONDS
#
# DIR      the task's folder, and its token: the caller that makes it starts the task, all others follow. Its name is the task's id.
#          The folder above must belong to the caller alone. DIR.in, if it is there, is the task's standard input
# CAP      most bytes kept of each stream; the rest is left out, with a mark in its place
# BOOT     what `boot` printed, or `-` where that is not known: a task of another boot is neither started nor waited for
# STDOUT   bytes of each stream that the caller has already
# STDERR
# HOLD     `watch` ends the following when standard input ends (the caller has gone), `alone` does not look at it
# COMMAND  a JSON object: `words`, the program and its arguments, and `env`, pairs of name and value; all of them texts, so that it is an
#          expression of Python as well
#
# start and follow print the line `hg-automation: output follows` on both streams, and from there on nothing but the task's bytes.
#
# Exit codes: 0 done (followed: it has ended, and everything was sent; cancelled: nothing of it runs). 81 it was never started, and
# never will be; 82 the machine was booted again since; 83 its supervisor is gone and left no record; 84 it cannot be started,
# standard error says why; 85 following was cut off; 86 one of its processes does not end; 87 there is no record yet; 64 wrong
# arguments.
#
# The session of an SSH server on Windows is a job object, and whatever is in it ends with the connection. So the supervisor breaks away
# from it, with null handles for streams, and puts the task into a job object of its own, which nothing breaks away from: all processes of
# the task are in it, and end with the supervisor, however that ends. Elsewhere (in tests) the task is a session, and all processes that
# carry HG_AUTOMATION_TASK=ID in their environment. As long as the supervisor lives it holds a lock on DIR/lock. DIR holds stdout, stderr,
# record, and files that the supervisor needs. All that the supervisor itself must write has its place on the disk before the task
# starts, so that a full disk cannot keep the record from being written.
#
# The record: {"exit": {"kind": "code", "value": 3} or {"kind": "signal", "value": "KILL"}, "started_at", "ended_at" (UTC), "peak_memory"
# (bytes of all processes together, or null), "output": {"stdout", "stderr"} (bytes kept), "capped", "cancelled"}. Windows knows no
# signals: TERM stands for a task that Ctrl-Break ended, KILL for one that was ended by force.
#
# Run by boot.py, which has `resolve`: what starts a command. Needs Python 3.9, of 64 bits on Windows.
#
# Every step of a run starts this twice, so that nothing is imported that takes long to be loaded (see boot.py).
import _thread
import os
import sys
import time

FOLLOWS = b"hg-automation: output follows\n"
NEVER, OTHER_BOOT, VANISHED, REFUSED, CUT, LASTING, NO_RECORD, WRONG = 81, 82, 83, 84, 85, 86, 87, 64

# Bytes of a file that is reserved, and of one read; seconds between two looks at what another process does.
BLOCK, PIECE, PAUSE = 4096, 1 << 16, 0.02

# The longest pause between two looks at the output of a task that prints nothing, in seconds.
SILENT = 0.25

# Seconds in which a supervisor that was started comes so far that it has its lock; a busy machine takes a few to start Python.
START = 10


class Ending(Exception):
    """An exit code that ends this program, with the reason for standard error."""

    def __init__(self, code, reason=""):
        super().__init__(reason)
        self.code = code


class Windows:
    """What only Windows has: job objects, locks on files, the times of processes."""

    # Numbers of winbase.h, winnt.h and winternl.h.
    BREAKAWAY, NEW_GROUP, NO_WINDOW, SUSPENDED, UNICODE = 0x01000000, 0x00000200, 0x08000000, 0x00000004, 0x00000400
    ENDED_BY_BREAK, ENDED_BY_FORCE = 0xC000013A, 0xC0000001

    def __init__(self):
        import ctypes
        import msvcrt
        from ctypes import wintypes

        self.ctypes, self.wintypes, self.msvcrt = ctypes, wintypes, msvcrt
        self.kernel = kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle, number = wintypes.HANDLE, wintypes.DWORD
        kernel.CreateJobObjectW.restype = handle
        kernel.CreateJobObjectW.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        kernel.SetInformationJobObject.argtypes = [handle, ctypes.c_int, ctypes.c_void_p, number]
        kernel.QueryInformationJobObject.argtypes = [handle, ctypes.c_int, ctypes.c_void_p, number, ctypes.c_void_p]
        kernel.AssignProcessToJobObject.argtypes = [handle, handle]
        kernel.TerminateJobObject.argtypes = [handle, number]
        kernel.ResumeThread.argtypes = [handle]
        kernel.LockFileEx.argtypes = [handle, number, number, number, number, ctypes.c_void_p]
        kernel.UnlockFileEx.argtypes = [handle, number, number, number, ctypes.c_void_p]

    def check(self, done):
        if not done:
            raise self.ctypes.WinError(self.ctypes.get_last_error())

    def boot(self):
        """When the service control manager was started: it lives as long as the system, and its time is changed by no clock."""
        if self.ctypes.sizeof(self.ctypes.c_void_p) != 8:
            return "unknown"
        query = self.ctypes.WinDLL("ntdll").NtQuerySystemInformation
        buffer, needed = self.ctypes.create_string_buffer(1 << 18), self.wintypes.ULONG()
        # 5 is SystemProcessInformation; the answer grows with the number of processes and threads.
        while query(5, buffer, len(buffer), self.ctypes.byref(needed)) & 0xFFFFFFFF == 0xC0000004:
            buffer = self.ctypes.create_string_buffer(2 * len(buffer))
        at = 0
        while True:
            step = int.from_bytes(buffer[at : at + 4], "little")
            length = int.from_bytes(buffer[at + 56 : at + 58], "little")
            name = int.from_bytes(buffer[at + 64 : at + 72], "little")
            if length and self.ctypes.wstring_at(name, length // 2).lower() == "services.exe":
                return "%016x" % int.from_bytes(buffer[at + 32 : at + 40], "little")
            if not step:
                return "unknown"
            at += step

    def lock(self, file, shared=False, wait=False):
        """Tries to lock the first byte of a file, or waits for that."""
        overlapped = self.ctypes.create_string_buffer(32)
        how = (0 if wait else 1) | (0 if shared else 2)  # LOCKFILE_FAIL_IMMEDIATELY, LOCKFILE_EXCLUSIVE_LOCK
        return bool(self.kernel.LockFileEx(self.msvcrt.get_osfhandle(file.fileno()), how, 0, 1, 0, overlapped))

    def create(self, path, line, env, streams, flags):
        """Starts a process on these streams, and with no other handle of ours. The module `subprocess` does no more, and takes a
        while to be loaded. Gives the handles of the process and of its thread, and its number."""
        import _winapi

        self.wait_for, self.exit_code, self.close = _winapi.WaitForSingleObject, _winapi.GetExitCodeProcess, _winapi.CloseHandle
        self.terminate = _winapi.TerminateProcess
        handles = [self.msvcrt.get_osfhandle(stream) for stream in streams]
        for handle in handles:
            os.set_handle_inheritable(handle, True)
        startup = type(sys.implementation)(dwFlags=0x100, wShowWindow=0, lpAttributeList={"handle_list": list(set(handles))})  # USESTDHANDLES
        startup.hStdInput, startup.hStdOutput, startup.hStdError = handles
        return _winapi.CreateProcess(path, line, None, None, True, flags | self.UNICODE, env, None, startup)[:3]

    def start_supervisor(self, line, streams):
        """Starts the supervisor outside of the session's job object."""
        flags = self.BREAKAWAY | self.NO_WINDOW | self.NEW_GROUP
        try:
            process, thread, _ = self.create(sys.executable, line, None, streams, flags)
        except PermissionError:
            raise Ending(
                REFUSED,
                "the session's job object lets no process break away, so a task would end with its connection; use Windows' own sshd",
            ) from None
        # It lives on by itself: nobody here waits for it.
        self.close(process)
        self.close(thread)

    def start_task(self, command, streams):
        """Starts the task in a job object of its own before its first instruction."""
        self.job = self.kernel.CreateJobObjectW(None, None)
        self.check(self.job)
        # JOBOBJECT_EXTENDED_LIMIT_INFORMATION has 144 bytes, its LimitFlags at 16; 0x2000 is KILL_ON_JOB_CLOSE.
        limits = self.ctypes.create_string_buffer(144)
        limits[16:20] = (0x2000).to_bytes(4, "little")
        self.check(self.kernel.SetInformationJobObject(self.job, 9, limits, 144))
        flags = self.SUSPENDED | self.NEW_GROUP
        process, thread, self.pid = self.create(command["path"], command["line"], command["env"], streams, flags)
        try:
            self.check(self.kernel.AssignProcessToJobObject(self.job, process))
            self.kernel.ResumeThread(thread)
        except OSError:
            self.terminate(process, 1)
            raise
        finally:
            self.close(thread)
        self.process = process

    def ended(self, seconds):
        """Waits for the task's own process; whether it has ended."""
        return self.wait_for(self.process, int(seconds * 1000)) == 0

    def exit(self):
        code = self.exit_code(self.process)
        if self.stopped and code == self.ENDED_BY_BREAK:
            return {"kind": "signal", "value": "TERM"}
        if self.stopped and code == self.ENDED_BY_FORCE:
            return {"kind": "signal", "value": "KILL"}
        return {"kind": "code", "value": code}

    stopped = False

    def ask_to_end(self):
        self.stopped = True
        # The task shares the console of the supervisor, and is a group of its own.
        self.kernel.GenerateConsoleCtrlEvent(1, self.pid)

    def end(self):
        """Ends all processes of the task by force."""
        self.kernel.TerminateJobObject(self.job, self.ENDED_BY_FORCE)

    def members(self):
        """How many processes of the task run."""
        counts = self.ctypes.create_string_buffer(48)
        self.check(self.kernel.QueryInformationJobObject(self.job, 1, counts, 48, None))
        return int.from_bytes(counts[40:44], "little")

    def peak_memory(self):
        limits = self.ctypes.create_string_buffer(144)
        self.check(self.kernel.QueryInformationJobObject(self.job, 9, limits, 144, None))
        return int.from_bytes(limits[136:144], "little") or None

    def end_forsaken(self, _):
        """Where the supervisor was killed, the task's job object has ended its processes."""
        return True


class Posix:
    """The same for tests on another system, as far as they need it."""

    def boot(self):
        with open("/proc/sys/kernel/random/boot_id") as kernel, open("/proc/1/stat") as first:
            return kernel.read().strip() + "-" + first.read().rsplit(")", 1)[1].split()[19]

    def lock(self, file, shared=False, wait=False):
        import fcntl

        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def start_supervisor(self, words, streams):
        import subprocess

        stdin, stdout, stderr = streams
        # It is no child of this process, which may be ended with all that is below it.
        words = ["sh", "-c", '"$@" &', "sh"] + words
        subprocess.run(words, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)

    def start_task(self, command, streams):
        import subprocess

        self.id = command["env"]["HG_AUTOMATION_TASK"]
        stdin, stdout, stderr = streams
        self.process = subprocess.Popen(
            command["line"], executable=command["path"], env=command["env"], stdin=stdin, stdout=stdout, stderr=stderr,
            start_new_session=True,
        )

    def ended(self, seconds):
        import subprocess

        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def exit(self):
        import signal

        code = self.process.returncode
        if code >= 0:
            return {"kind": "code", "value": code}
        return {"kind": "signal", "value": signal.Signals(-code).name[3:]}

    def found(self):
        mark = b"HG_AUTOMATION_TASK=" + self.id.encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as file:
                    if mark in file.read().split(b"\0"):
                        yield int(pid)
            except OSError:
                pass

    def signal(self, number):
        for pid in self.found():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def ask_to_end(self):
        self.signal(15)

    def end(self):
        self.signal(9)

    def members(self):
        return len(list(self.found()))

    def peak_memory(self):
        import resource

        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 or None

    def end_forsaken(self, task):
        self.id = task
        for _ in range(100):
            if not self.members():
                return True
            self.end()
            time.sleep(0.1)
        return False


SYSTEM = Windows() if os.name == "nt" else Posix()


def put(stream, data):
    while data:
        data = data[os.write(stream, data) :]


def at(folder, name):
    return os.path.join(folder, name)


def read(path):
    """What a file holds, without blanks around it; empty where it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read().strip()
    except OSError:
        return b""


def reserve(path):
    """Makes a file of one block. Later writes overwrite it in place, which needs no room on the disk."""
    try:
        with open(path, "xb") as file:
            file.write(b" " * (BLOCK - 1) + b"\n")
    except OSError as error:
        raise Ending(REFUSED, "no room for %s: %s" % (path, error.strerror)) from None


def overwrite(path, data):
    with open(path, "r+b") as file:
        file.write(data.ljust(BLOCK - 1) + b"\n")


def as_json(value):
    """The text of a value of what a record has: objects, numbers, truths, nothing, and texts without signs that would be escaped."""
    if isinstance(value, dict):
        return "{%s}" % ", ".join('"%s": %s' % (name, as_json(part)) for name, part in value.items())
    if isinstance(value, str):
        return '"%s"' % value
    return "null" if value is None else str(value).lower()


def now():
    moment = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(moment)) + "%03dZ" % (moment % 1 * 1000)


def require_boot(expected):
    """No process survives a boot, so a task of another one can neither run nor be waited for."""
    if expected not in ("-", SYSTEM.boot()):
        raise Ending(OTHER_BOOT)


def take_lock(folder, seconds):
    """The open lock of a task once this process has it; the lock ends with the file."""
    file = open(at(folder, "lock"), "ab")
    end = time.monotonic() + seconds
    while not SYSTEM.lock(file):
        if time.monotonic() >= end:
            file.close()
            return None
        time.sleep(PAUSE)
    return file


def open_lock(folder):
    """The file whose lock a supervisor holds. Whoever looks again and again opens it once: Wine keeps each handle that was closed for
    as long as another process holds a lock, and has a thousand of them."""
    return open(at(folder, "lock"), "ab")


def is_held(lock):
    return not SYSTEM.lock(lock, shared=True)


def await_end(folder):
    """Waits until no supervisor holds the lock of a task any more."""
    with open_lock(folder) as lock:
        while not SYSTEM.lock(lock, shared=True, wait=True):
            # A system that does not let it wait is asked again.
            time.sleep(SILENT)


def launch(folder, cap, boot, text):
    require_boot(boot)
    # Exactly one caller can make the folder: so the task starts at most once, whoever repeats the call.
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise Ending(REFUSED, "cannot make %s: %s" % (folder, error.strerror)) from None
    asked = eval(text, {})
    env = dict(os.environ)
    env.update(asked["env"])
    env["HG_AUTOMATION_TASK"] = os.path.basename(folder)
    os.environ.update(asked["env"])
    try:
        path, line = resolve(asked["words"])  # noqa: F821
    except Exception as error:
        # As a shell has it, a task that cannot be started has an exit code, and says why on its standard error.
        path, line, reason = None, getattr(error, "code", 126), str(error)
    else:
        reason = ""
    command = {"path": path, "line": line, "env": env, "reason": reason}
    try:
        with open(at(folder, "command"), "w", encoding="ascii") as file:
            file.write(ascii(command))
    except OSError as error:
        raise Ending(REFUSED, "no room for %s: %s" % (at(folder, "command"), error.strerror)) from None
    own = [sys.executable, "-I", "-S", "-X", "utf8", os.path.abspath(sys.argv[0]), "supervise", os.path.abspath(folder), cap]
    told, ours = os.pipe()
    quiet = os.open(os.devnull, os.O_RDWR)
    # `resolve` gives the line that has exactly these words.
    SYSTEM.start_supervisor(resolve(own)[1], (quiet, ours, quiet))  # noqa: F821
    os.close(ours)
    os.close(quiet)
    # One line, and not all until the end: whatever it starts may hold the pipe.
    with open(told, "rb", 0) as answer:
        said = answer.readline().decode("utf-8", "replace").strip()
    if said != "started":
        code, _, reason = said.partition(" ")
        raise Ending(int(code) if code.isdigit() else REFUSED, reason or "its supervisor did not start")


def tell(text):
    """Tells the process that started this one how the start went, and nobody anything from then on."""
    try:
        os.write(1, text.replace("\n", " ").encode() + b"\n")
    except OSError:
        pass
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)
    os.close(quiet)


def prepare(folder):
    """Takes the lock, and reserves what must be written later; the record is last. Gives the lock."""
    lock = take_lock(folder, START)
    if lock is None:
        raise Ending(REFUSED, "another process holds %s" % at(folder, "lock"))
    # Another call gave up waiting for this start, and has reported that the task will never run.
    if os.path.exists(at(folder, "never")):
        raise Ending(NEVER)
    for name in ("pid", "grace"):
        reserve(at(folder, name))
    overwrite(at(folder, "pid"), b"%d" % os.getpid())
    try:
        with open(at(folder, "boot"), "w") as file:
            file.write(SYSTEM.boot() + "\n")
        for name in ("stdout", "stderr"):
            open(at(folder, name), "xb").close()
    except OSError as error:
        raise Ending(REFUSED, "no room for %s: %s" % (folder, error.strerror)) from None
    reserve(at(folder, "record"))
    return lock


class Thread:
    """A function that is run beside, and whether it has ended."""

    def __init__(self, function, *args):
        self.running = _thread.allocate_lock()
        self.running.acquire()
        _thread.start_new_thread(self.run, (function, args))

    def run(self, function, args):
        try:
            function(*args)
        finally:
            self.running.release()

    def ended(self, seconds=0):
        """Waits for its end; whether it has ended."""
        if not self.running.acquire(timeout=seconds):
            return False
        self.running.release()
        return True


class Keeper:
    """Keeps the output that comes through a pipe, up to a cap."""

    def __init__(self, source, path, cap):
        self.source, self.path, self.left, self.capped = source, path, cap, False
        self.beyond = "[hg-automation: output beyond %d bytes was left out]" % cap
        self.thread = Thread(self.run)

    def run(self):
        with open(self.path, "ab", 0) as file:
            while True:
                data = os.read(self.source, PIECE)
                if not data:
                    return
                if not self.capped:
                    self.keep(file, data)

    def keep(self, file, data):
        mark = self.beyond if len(data) > self.left else None
        data = data[: self.left]
        self.left -= len(data)
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            mark = "[hg-automation: the machine had no room for more output: it was left out]"
        if mark:
            # The rest is read and dropped, or the task would block on a full pipe.
            self.capped = True
            try:
                file.write(b"\n" + mark.encode() + b"\n")
            except OSError:
                pass


def supervise(folder, cap):
    try:
        lock = prepare(folder)
    except Ending as ending:
        tell("%d %s" % (ending.code, ending))
        raise
    with open(at(folder, "command"), encoding="ascii") as file:
        command = eval(file.read(), {})
    started = now()
    try:
        stdin = os.open(folder + ".in", os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        stdin = os.open(os.devnull, os.O_RDONLY)
    (out_end, out), (err_end, err) = os.pipe(), os.pipe()
    keepers = [Keeper(out_end, at(folder, "stdout"), int(cap)), Keeper(err_end, at(folder, "stderr"), int(cap))]
    code = None
    try:
        if command["path"] is None:
            raise OSError(command["reason"])
        SYSTEM.start_task(command, (stdin, out, err))
    except OSError as error:
        code = command["line"] if command["path"] is None else 126
        put(err, ("hg-automation: %s\n" % (command["reason"] or "cannot start it: %s" % error)).encode())
    for stream in (stdin, out, err):
        os.close(stream)
    tell("started")
    cancelled = code is None and watch(folder)
    exit = SYSTEM.exit() if code is None else {"kind": "code", "value": code}
    memory = SYSTEM.peak_memory() if code is None else None
    # A process that is not a member may hold the pipes open, for three seconds in all.
    end = time.monotonic() + 3
    for keeper in keepers:
        keeper.thread.ended(max(end - time.monotonic(), 0.01))
    sizes = {name: os.path.getsize(at(folder, name)) for name in ("stdout", "stderr")}
    capped = any(keeper.capped for keeper in keepers)
    record = {"exit": exit, "started_at": started, "ended_at": now(), "peak_memory": memory, "output": sizes}
    record.update(capped=capped, cancelled=cancelled)
    overwrite(at(folder, "record"), as_json(record).encode())
    # The lock is released by the end, after the record was written; a thread that still reads does not hold it up.
    lock.flush()
    os._exit(0)


def watch(folder):
    """Waits for the task's own process, ends what it left, and gives whether it was told to stop."""
    cancelled, pause = False, PAUSE
    while not SYSTEM.ended(pause):
        grace = read(at(folder, "grace"))
        if grace and not cancelled:
            cancelled = True
            wind_down(int(grace))
        # Short tasks are noticed soon, and a long one costs nothing.
        pause = min(pause * 1.5, SILENT)
    wind_down(1)
    return cancelled


def wind_down(seconds):
    """Asks all processes of the task to end, and ends them by force after that long."""
    end, asked = time.monotonic() + seconds, False
    while SYSTEM.members():
        if not asked:
            SYSTEM.ask_to_end()
            asked = True
        elif time.monotonic() >= end:
            SYSTEM.end()
            if time.monotonic() >= end + 10:
                return
        # The task's own process is a member until it is waited for.
        SYSTEM.ended(PAUSE)


def give_up_start(folder):
    """Makes sure that a task which has not started yet never will; one that is under way gets its time."""
    end = time.monotonic() + START
    while not os.path.exists(at(folder, "record")):
        if time.monotonic() < end:
            time.sleep(PAUSE)
            continue
        lock = take_lock(folder, START)
        with lock or open(at(folder, "lock"), "ab"):
            # Under the lock no start is between its look at `never` and its record.
            if lock is None or os.path.exists(at(folder, "record")):
                return
            open(at(folder, "never"), "ab").close()
        raise Ending(NEVER)


def send(folder, name, start, stream):
    """Sends what a file has from an offset on; gives the new offset."""
    with open(at(folder, name), "rb", 0) as file:
        file.seek(start)
        while True:
            data = file.read(PIECE)
            if not data:
                return start
            put(stream, data)
            start += len(data)


def follow(folder, stdout, stderr, boot, hold):
    require_boot(boot)
    if not os.path.isdir(folder):
        raise Ending(NEVER)
    own = read(at(folder, "boot")).decode()
    if own and own != SYSTEM.boot():
        raise Ending(OTHER_BOOT)
    give_up_start(folder)
    if hold == "watch":
        Thread(watch_input)
    out, err = int(stdout), int(stderr)
    task = Thread(await_end, folder)
    try:
        put(1, FOLLOWS)
        put(2, FOLLOWS)
        lives, pause = True, PAUSE
        while lives:
            # The end is looked at first: what was written before it is sent after it.
            lives = not task.ended()
            before = (out, err)
            out, err = send(folder, "stdout", out, 1), send(folder, "stderr", err, 2)
            if before != (out, err):
                pause = PAUSE
            elif lives:
                # A silent task costs next to nothing, and is heard soon enough when it speaks again; its end is heard at once.
                task.ended(pause)
                pause = min(pause * 1.5, SILENT)
    except OSError:
        raise Ending(CUT) from None
    if not read(at(folder, "record")):
        raise Ending(VANISHED)


def watch_input():
    """Ends this process when standard input ends."""
    while os.read(0, PIECE):
        pass
    os._exit(CUT)


def record(folder):
    found = read(at(folder, "record"))
    if not found:
        raise Ending(NO_RECORD)
    put(1, found + b"\n")


def cancel(folder, seconds):
    # A start that is still on its way finds the folder taken, or `never` in it.
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    else:
        open(at(folder, "never"), "ab").close()
        return
    try:
        give_up_start(folder)
    except Ending:
        return
    with open_lock(folder) as lock:
        if not is_held(lock):
            # The supervisor has gone. Without a record it was killed.
            if not read(at(folder, "record")) and not SYSTEM.end_forsaken(os.path.basename(folder)):
                raise Ending(LASTING)
            return
        overwrite(at(folder, "grace"), b"%d" % int(seconds))
        end = time.monotonic() + int(seconds) + 20
        while is_held(lock):
            if time.monotonic() >= end:
                raise Ending(LASTING)
            time.sleep(PAUSE)


def start(folder, cap, boot, hold, text):
    launch(folder, cap, boot, text)
    follow(folder, "0", "0", boot, hold)


VERBS = {
    "boot": (0, lambda: put(1, SYSTEM.boot().encode() + b"\n")),
    "launch": (4, launch),
    "start": (5, start),
    "follow": (5, follow),
    "record": (1, record),
    "cancel": (2, cancel),
    "supervise": (2, supervise),
}


def main(args):
    count, verb = VERBS.get(args[0] if args else "", (None, None))
    if count != len(args) - 1:
        raise Ending(WRONG, "usage: supervise.py boot|launch|start|follow|record|cancel ARGUMENT..., as its head says")
    verb(*args[1:])


try:
    main(sys.argv[1:])
except Ending as ending:
    if str(ending):
        put(2, ("%s\n" % ending).encode("utf-8", "replace"))
    sys.exit(ending.code)
