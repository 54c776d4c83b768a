# Makes a folder that is the caller's alone, or makes sure that it is; with `supervisor`, puts the supervisor of tasks there.
#
#   own_folder.py FOLDER
#   own_folder.py FOLDER supervisor
#
# FOLDER       may lie where others can write: a link or junction, or a folder of another user's, is refused. On Windows the caller, the
#              system and the administrators alone get rights to it and to what is made in it
# supervisor   standard input becomes FOLDER/supervise.py, which then prints the identity of this boot
#
# Exit codes: 0 done; 73 the folder is not the caller's alone, and standard error says why; anything else: the supervisor could not be
# put there.
import os
import stat
import sys
import time


class Refused(Exception):
    pass


def make_posix(folder):
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
            raise Refused("%s is not a folder of ours alone" % folder) from None


class Security:
    """The part of the security functions of Windows that a private folder takes."""

    # Numbers of winnt.h and sddl.h.
    TOKEN_QUERY, USER, OWNER = 8, 1, 4
    OWNER_OF, ACCESS_OF = 1, 4
    REVISION = 1

    def __init__(self):
        import ctypes
        from ctypes import wintypes

        self.ctypes, self.wintypes = ctypes, wintypes
        self.api = ctypes.WinDLL("advapi32", use_last_error=True)
        self.kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        self.kernel.GetCurrentProcess.restype = wintypes.HANDLE
        pointers = {
            "OpenProcessToken": [wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p],
            "GetTokenInformation": [wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p],
            "ConvertSidToStringSidW": [ctypes.c_void_p, ctypes.c_void_p],
            "ConvertStringSecurityDescriptorToSecurityDescriptorW": [
                wintypes.LPCWSTR, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p,
            ],
            "GetFileSecurityW": [wintypes.LPCWSTR, wintypes.DWORD, ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p],
            "ConvertSecurityDescriptorToStringSecurityDescriptorW": [
                ctypes.c_void_p, wintypes.DWORD, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p,
            ],
            "GetSecurityDescriptorOwner": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p],
            "EqualSid": [ctypes.c_void_p, ctypes.c_void_p],
        }
        for name, types in pointers.items():
            getattr(self.api, name).argtypes = types
        self.kernel.CreateDirectoryW.argtypes = [wintypes.LPCWSTR, ctypes.c_void_p]
        token = wintypes.HANDLE()
        self.check(self.api.OpenProcessToken(self.kernel.GetCurrentProcess(), self.TOKEN_QUERY, ctypes.byref(token)))
        # New files of an administrator belong to the group of all of them: the token names their owner.
        self.owners = [self.sid(token, what) for what in (self.USER, self.OWNER)]
        text = ctypes.c_wchar_p()
        self.check(self.api.ConvertSidToStringSidW(self.owners[0][1], ctypes.byref(text)))
        rights = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;%s)" % text.value
        self.descriptor = ctypes.c_void_p()
        convert = self.api.ConvertStringSecurityDescriptorToSecurityDescriptorW
        self.check(convert(rights, self.REVISION, ctypes.byref(self.descriptor), None))

    def check(self, done):
        if not done:
            raise self.ctypes.WinError(self.ctypes.get_last_error())

    def sid(self, token, what):
        """A SID of the token: the buffer that it lies in, and its address, which is the first thing there."""
        size = self.wintypes.DWORD()
        self.api.GetTokenInformation(token, what, None, 0, self.ctypes.byref(size))
        buffer = self.ctypes.create_string_buffer(size.value)
        self.check(self.api.GetTokenInformation(token, what, buffer, size, self.ctypes.byref(size)))
        return buffer, self.ctypes.cast(buffer, self.ctypes.POINTER(self.ctypes.c_void_p))[0]

    def make(self, folder):
        """Makes the folder; false where something has its name."""
        class Attributes(self.ctypes.Structure):
            _fields_ = [
                ("length", self.wintypes.DWORD), ("descriptor", self.ctypes.c_void_p), ("inherit", self.wintypes.BOOL),
            ]

        attributes = Attributes(self.ctypes.sizeof(Attributes), self.descriptor, False)
        if self.kernel.CreateDirectoryW(folder, self.ctypes.byref(attributes)):
            return True
        error = self.ctypes.get_last_error()
        if error == 183:  # ERROR_ALREADY_EXISTS
            return False
        raise self.ctypes.WinError(error)

    def of(self, folder, what):
        """A part of the folder's own descriptor."""
        size = self.wintypes.DWORD()
        self.api.GetFileSecurityW(folder, what, None, 0, self.ctypes.byref(size))
        buffer = self.ctypes.create_string_buffer(size.value)
        self.check(self.api.GetFileSecurityW(folder, what, buffer, size, self.ctypes.byref(size)))
        return buffer

    def who(self, descriptor):
        """The names of all whom a descriptor gives rights; none where it gives them to everybody."""
        text = self.ctypes.c_wchar_p()
        convert = self.api.ConvertSecurityDescriptorToStringSecurityDescriptorW
        self.check(convert(descriptor, self.REVISION, self.ACCESS_OF, self.ctypes.byref(text), None))
        return {entry.split(")")[0].split(";")[-1] for entry in text.value.split("(")[1:]}

    def is_ours(self, folder):
        """Whether the folder belongs to the caller, and nobody has rights to it who would have none to a new one."""
        descriptor = self.of(folder, self.OWNER_OF)
        owner, defaulted = self.ctypes.c_void_p(), self.wintypes.BOOL()
        get = self.api.GetSecurityDescriptorOwner
        self.check(get(descriptor, self.ctypes.byref(owner), self.ctypes.byref(defaulted)))
        if not any(self.api.EqualSid(owner, address) for _, address in self.owners):
            return False
        who = self.who(self.of(folder, self.ACCESS_OF))
        return bool(who) and who <= self.who(self.descriptor)


def make_windows(folder):
    security, folder = Security(), os.path.abspath(folder)
    if security.make(folder):
        return
    found = os.lstat(folder)
    reparse = found.st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT
    if not stat.S_ISDIR(found.st_mode) or reparse or not security.is_ours(folder):
        raise Refused("%s is not a folder of ours alone" % folder)


def install(folder):
    """Puts the supervisor there and asks it for the boot. Another call may read the old one just now."""
    path, own = os.path.join(folder, "supervise.py"), os.path.join(folder, "supervise.%d" % os.getpid())
    with open(own, "wb") as file:
        file.write(sys.stdin.buffer.read())
    for tries in range(50):
        try:
            os.replace(own, path)
            break
        except PermissionError:
            if tries == 49:
                raise
            time.sleep(0.1)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    sys.argv = [path, "boot"]
    exec(compile(text, path, "exec"), {"__name__": "__main__"})


try:
    (make_windows if os.name == "nt" else make_posix)(sys.argv[1])
except (OSError, Refused) as error:
    os.write(2, ("%s\n" % error).encode("utf-8", "replace"))
    sys.exit(73)
if sys.argv[2:] == ["supervisor"]:
    install(sys.argv[1])
