"""Ways out of a machine, tried by root in there. Harmless: what succeeds is undone, and settings are written with the values
that they have.

    escapes.py host|loopback

Prints `OUT name: what was reached` for every way that is open, and at last how many were tried. The argument says
whether the machine is on the host's network or on its own.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
ARM = platform.machine() == "aarch64"
# Numbers of system calls: x86_64, aarch64. From 424 on they are the same everywhere.
CALLS = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "clock_settime": (227, 112),
    "delete_module": (176, 106), "finit_module": (313, 273), "init_module": (175, 105), "iopl": (172, None),
    "kexec_load": (246, 104), "keyctl": (250, 219), "open_by_handle_at": (304, 265), "perf_event_open": (298, 241),
    "quotactl": (179, 60), "reboot": (169, 142), "request_key": (249, 218), "settimeofday": (164, 170),
    "swapon": (167, 224), "syslog": (103, 116), "userfaultfd": (323, 282), "fsopen": (430, 430),
    "io_uring_setup": (425, 425), "personality": (135, 92), "mount_setattr": (442, 442), "setns": (308, 268),
    "getpid": (39, 172),
}
ways = []


def way(function):
    ways.append(function)
    return function


def call(name, *arguments):
    """The answer of a system call, or the negative of its error."""
    number = CALLS[name][0 if X86 else 1]
    if number is None:
        return -errno.ENOSYS
    ctypes.set_errno(0)
    answer = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return -ctypes.get_errno() if answer == -1 else answer


def got_through(answer, *refusals):
    """Whether the kernel looked at the call at all: any other error is one that an allowed call gives."""
    return answer not in [-code for code in (errno.EPERM, errno.ENOSYS, errno.EACCES, *refusals)]


def read(path):
    with open(path, "rb") as file:
        return file.read(1 << 16)


def writes_back(path):
    """Whether a setting of the kernel can be written; with what it holds."""
    try:
        value = read(path)
        with open(path, "wb") as file:
            file.write(value)
        return True
    except OSError:
        return False


def mounts(kind, options="", source="none", flags=0):
    """Mounts and lists a file system, and takes it away again; what is there, or none."""
    place = tempfile.mkdtemp(dir="/run")
    try:
        if libc.mount(source.encode(), place.encode(), kind.encode(), flags, options.encode() or None) != 0:
            return None
        found = os.listdir(place)
        libc.umount2(place.encode(), 2)
        return found
    finally:
        os.rmdir(place)


@way
def handles_of_the_host():
    class Handle(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_ubyte * 16)]
    handle = Handle(8, 1)
    handle.handle[:8] = struct.pack("<II", 2, 0)
    for place in ("/tmp", "/", "/run"):
        folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        found = call("open_by_handle_at", folder, ctypes.byref(handle), os.O_RDONLY | os.O_DIRECTORY)
        if got_through(found, errno.ESTALE, errno.EOPNOTSUPP):
            return "open_by_handle_at answers %d" % found


@way
def devices_of_the_host():
    found = mounts("devtmpfs")
    return found and "devtmpfs: %s" % found[:3]


@way
def nodes_of_devices():
    for name in ("/tmp/node", "/root/node", "/dev/node", "/dev/shm/node"):
        try:
            os.mknod(name, 0o600 | 0o060000, os.makedev(254, 0))
            os.unlink(name)
            return "mknod works at " + name
        except OSError:
            pass


@way
def disks_of_the_host():
    for name in os.listdir("/sys/class/block") if os.path.isdir("/sys/class/block") else ():
        if os.path.exists("/dev/" + name):
            return "/dev/%s is there" % name
    for kind in ("ext4", "xfs", "btrfs", "squashfs", "iso9660", "vfat"):
        if mounts(kind, source="/dev/vda") is not None or mounts(kind, source="/dev/loop0") is not None:
            return "a disk is mounted as " + kind


@way
def fresh_proc():
    return mounts("proc") and "a /proc without covers"


@way
def fresh_sysfs():
    return mounts("sysfs") and "a /sys without covers"


@way
def core_pattern():
    return writes_back("/proc/sys/kernel/core_pattern") and "kernel.core_pattern"


@way
def settings_of_the_kernel():
    for name in ("kernel/modprobe", "kernel/hotplug", "kernel/panic", "kernel/sysrq", "vm/overcommit_memory", "fs/file-max",
                 "vm/drop_caches", "kernel/kptr_restrict", "kernel/pid_max", "kernel/shmmax", "user/max_user_namespaces",
                 "user/max_cgroup_namespaces", "net/ipv4/ip_forward"):
        if os.path.exists("/proc/sys/" + name) and writes_back("/proc/sys/" + name):
            return name


@way
def sysrq():
    return writes_back("/proc/sysrq-trigger") and os.path.getsize("/proc/sysrq-trigger") > 0 and "sysrq-trigger"


@way
def proc_sys_made_writable():
    done = subprocess.run(["mount", "-o", "remount,rw,bind", "/proc/sys"], stderr=subprocess.DEVNULL).returncode == 0
    return done and "/proc/sys"


@way
def sys_made_writable():
    for options in ("remount,rw", "remount,rw,bind"):
        if subprocess.run(["mount", "-o", options, "/sys"], stderr=subprocess.DEVNULL).returncode == 0:
            return "/sys by " + options


@way
def root_with_devices():
    done = subprocess.run(["mount", "-o", "remount,bind,dev", "/"], stderr=subprocess.DEVNULL).returncode == 0
    return done and "devices would count on /"


@way
def covers_taken_away():
    for path in ("/proc/keys", "/proc/timer_list", "/proc/interrupts", "/sys/firmware", "/proc/sys", "/proc", "/sys", "/dev/null"):
        if libc.umount2(path.encode(), 2) == 0:
            return path + " is uncovered"


@way
def memory_and_keys_of_the_kernel():
    for path in ("/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/timer_list", "/proc/iomem", "/proc/kpageflags",
                 "/proc/vmallocinfo", "/proc/interrupts", "/proc/kmsg"):
        try:
            if os.path.exists(path) and read(path):
                return path + " can be read"
        except OSError:
            pass


@way
def release_agent():
    for controller in ("pids", "memory", "devices", "cpu", "freezer", "name=x"):
        if mounts("cgroup", controller) is not None:
            return "the control groups of " + controller


@way
def control_groups():
    return mounts("cgroup2") is not None and "the unified control groups"


@way
def control_groups_of_a_new_namespace():
    script = "mount -t cgroup2 none /mnt && ls /mnt"
    for options in (["-C"], ["-U", "-r", "-C", "-m"], ["-C", "-m"]):
        done = subprocess.run(["unshare", *options, "sh", "-c", script], capture_output=True)
        if done.returncode == 0:
            return "unshare " + " ".join(options)


@way
def user_namespace_with_every_right():
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True)
    return done.returncode == 0 and "unshare --user"


@way
def namespaces_of_the_first_process():
    for name in ("mnt", "pid", "user", "net", "cgroup"):
        try:
            descriptor = os.open("/proc/1/ns/" + name, os.O_RDONLY)
        except OSError:
            continue
        if call("setns", descriptor, 0) == 0:
            return name


@way
def program_of_the_first_process():
    try:
        with open("/proc/1/exe", "rb"):
            return "/proc/1/exe can be opened"
    except OSError:
        pass
    try:
        os.chmod("/proc/1/exe", 0o755)
        return "/proc/1/exe can be changed"
    except OSError:
        pass


@way
def memory_of_the_first_process():
    for name in ("mem", "environ", "maps", "root", "cwd", "fd"):
        try:
            path = "/proc/1/" + name
            os.listdir(path) if os.path.isdir(path) else read(path)
            return path
        except OSError:
            pass
    if libc.ptrace(16, 1, 0, 0) == 0:
        libc.ptrace(17, 1, 0, 0)
        return "ptrace"


@way
def processes_outside():
    own = {name for name in os.listdir("/proc") if name.isdigit()}
    for pid in list(range(1, 70000)):
        if str(pid) not in own and not os.path.exists("/proc/%d" % pid):
            try:
                os.kill(pid, 0)
                if not os.path.exists("/proc/%d" % pid):
                    return "process %d" % pid
            except OSError:
                pass


@way
def keyrings():
    for name, arguments in (("add_key", (b"user", b"x", b"y", 1, -3)), ("keyctl", (0, -3, 0)),
                            ("keyctl", (1, 0)), ("request_key", (b"user", b"x", None, -3))):
        if got_through(call(name, *[ctypes.c_char_p(a) if isinstance(a, bytes) else (a or 0) for a in arguments])):
            return name


def refused(name, *arguments):
    """A way that is one system call."""
    def tried():
        answer = call(name, *arguments)
        return got_through(answer) and "%s answers %d" % (name, answer)
    tried.__name__ = name
    ways.append(tried)


refused("bpf", 0, 0, 0)
refused("kexec_load", 0, 0, 0, 0)
refused("init_module", 0, 0, 0)
refused("finit_module", -1, 0, 0)
refused("delete_module", ctypes.c_char_p(b"no-such-module"), 0)
refused("perf_event_open", 0, 0, -1, -1, 0)
refused("userfaultfd", 0)
refused("fsopen", ctypes.c_char_p(b"ext4"), 0)
refused("io_uring_setup", 1, 0)
refused("reboot", 0xFEE1DEAD, 672274793, 0)
refused("swapon", ctypes.c_char_p(b"/nonexistent"), 0)
refused("acct", ctypes.c_char_p(b"/nonexistent"))
refused("quotactl", 0, 0, 0, 0)
refused("settimeofday", 0, 0)
refused("clock_settime", 0, 0)
refused("syslog", 10, 0, 0)
refused("iopl", 3)
refused("personality", 0x400000)


@way
def calls_of_another_architecture():
    if not X86:
        return None
    if libc.syscall(ctypes.c_long(0x40000000 | 39)) > 0:
        return "x32"
    # `int 0x80` with getpid's number of i386 in a process of its own, which it is to cost its life.
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
    pid = os.fork()
    if pid == 0:
        import mmap
        page = mmap.mmap(-1, 4096, prot=7)
        page.write(code)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0 else 1)
    status = os.waitpid(pid, 0)[1]
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and "i386"


@way
def input_of_the_terminal():
    import fcntl
    import pty
    leader, follower = pty.openpty()
    try:
        fcntl.ioctl(follower, 0x5412, b"x")
        return "TIOCSTI"
    except OSError as error:
        return error.errno != errno.EPERM and str(error)
    finally:
        os.close(leader)
        os.close(follower)


@way
def raw_sockets():
    for family, kind in ((socket.AF_INET, socket.SOCK_RAW), (socket.AF_INET6, socket.SOCK_RAW), (17, socket.SOCK_RAW)):
        try:
            socket.socket(family, kind, 1 if family != 17 else socket.htons(3)).close()
            return "a raw socket of family %d" % family
        except OSError:
            pass


@way
def sockets_of_other_families():
    for family in (40, 38, 31, 29, 21, 30, 9, 15):
        try:
            socket.socket(family, socket.SOCK_STREAM).close()
            return "family %d" % family
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT,):
                return "family %d: %s" % (family, error)


@way
def interfaces():
    import fcntl
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, 0x8913, request))[1]
        try:
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", flags))
            return "the flags of `lo`"
        except OSError:
            pass


@way
def low_ports_of_the_host():
    if sys.argv[1] != "host":
        return None
    for port in (1, 79, 1023):
        try:
            with socket.socket() as any_socket:
                any_socket.bind(("127.0.0.1", port))
                return "port %d" % port
        except PermissionError:
            pass


@way
def abstract_sockets_of_the_host():
    with open("/proc/net/unix") as file:
        names = [line.split()[-1] for line in file if "@" in line]
    for name in names:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            with socket.socket(socket.AF_UNIX, kind) as any_socket:
                try:
                    any_socket.connect("\0" + name[1:])
                    return name
                except OSError:
                    pass


@way
def files_of_the_host():
    for path in ("/proc/1/root/etc/shadow", "/proc/self/root/../etc/../../../work", "/.automation"):
        if os.path.exists(path):
            return path
    with open("/proc/self/mountinfo") as file:
        for line in file:
            place = line.split()[4]
            if place.startswith(("/home", "/root", "/var/lib")):
                return "a mount at " + place


@way
def suid_of_the_host():
    """A file of real root's, or one of the host's users', in the machine's folders would be one outside as well."""
    mapped = sum(int(line.split()[2]) for line in open("/proc/self/uid_map"))
    if mapped > 1 << 17:
        return "ids of the whole computer"
    try:
        os.close(os.open("/tmp/owned", os.O_CREAT | os.O_WRONLY, 0o600))
        os.chown("/tmp/owned", 1 << 17, 1 << 17)
        return "an id outside of the machine's"
    except OSError:
        pass
    finally:
        os.unlink("/tmp/owned")


for attempt in ways:
    try:
        found = attempt()
    except Exception as error:  # What cannot even be tried does not lead out; but it is told.
        print("odd %s: %r" % (attempt.__name__, error))
        continue
    if found:
        print("OUT %s: %s" % (attempt.__name__, found))
print("tried %d" % len(ways))
