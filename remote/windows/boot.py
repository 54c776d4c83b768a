# Starts a command on a machine whose login shell is cmd.exe, with exactly the words that it was given.
#
# The line that the SSH server hands to cmd.exe is always the same; it reads, from standard input and unbuffered, a line with a number
# and so many bytes: one JSON object, of texts and lists alone, which is `request` here. It runs what stands under `boot`, which is this
# text. So no value is ever a part of a line that cmd.exe splits, and what follows on standard input is the command's own. The rest of
# the object:
#
#   text      the text of a program of ours, which is run in this process; or
#   file      the path of such a program on the machine; or
#   program   a program of the machine: a path, or a name that is found by PATH and PATHEXT, and never in the current folder
#   args      its arguments
#   env       variables to set for it: pairs of name and value
#
# A batch file (.bat, .cmd) is run by cmd.exe, which has no way to take every argument as it is: one with a quote, a percent sign or a
# line end is refused. The arguments of cmd.exe itself behind `/c` or `/k` are one line, joined by blanks, as a person would type it.
#
# Exit codes: the command's own. 255 also stands for every code above it, as not every SSH server carries those; the code is then in the
# last line of standard error. 126 it cannot be started, 127 it is not there; standard error says why. Where the system refuses a program
# of ours something that it does not expect, its code is 1, and the reason is on standard error.
#
# Runs on Linux as well, for tests. Programs of ours find `resolve` among their names. Each command begins with this, so that nothing is
# imported that takes long to be loaded: `re`, `json` and `subprocess` take as long each as Python itself.
import os
import sys

WINDOWS = os.name == "nt"


class Unable(Exception):
    """Why a program cannot be started, and the exit code that says so."""

    def __init__(self, reason, code):
        super().__init__(reason)
        self.code = code


def locate(program):
    """The file of a program, by its path or by the variables PATH and PATHEXT."""
    endings = [""]
    if WINDOWS:
        known = [end.lower() for end in os.environ.get("PATHEXT", ".COM;.EXE;.BAT;.CMD").split(";") if end]
        # A name that has one of these endings is found as it is, any other one only with one of them added.
        endings = [""] if os.path.splitext(program)[1].lower() in known else known
    folders = [""]
    if not any(sign in program for sign in ("/\\:" if WINDOWS else "/")):
        folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in folders:
        for ending in endings:
            path = os.path.join(folder.strip('"'), program + ending)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    return None


def is_plain(sign):
    return sign.isascii() and sign.isalnum() or sign in "_./\\:=,+@-"


def quoted(word):
    """One argument as the C runtime reads it back: quotes, and backslashes before quotes and the end, are escaped."""
    if word and all(map(is_plain, word)):
        return word
    whole, backslashes = "", 0
    for sign in word:
        whole += "\\" * (backslashes + 1) + sign if sign == '"' else sign
        backslashes = backslashes + 1 if sign == "\\" else 0
    return '"' + whole + "\\" * backslashes + '"'


def batch_word(word):
    """One argument as cmd.exe hands it to a batch file."""
    if any(sign in word for sign in '"%\r\n'):
        raise Unable("an argument of a batch file cannot hold a quote, a percent sign or a line end", 126)
    return '"' + word + '"'


def resolve(words):
    """The file to start, and the line (elsewhere than on Windows the words) that gives it exactly these words."""
    path = locate(words[0])
    if path is None:
        hint = "; what is a part of cmd.exe runs as `cmd /c`" if WINDOWS else ""
        raise Unable("there is no program `%s`%s" % (words[0], hint), 127)
    if not WINDOWS:
        return path, words
    name = os.path.basename(path).lower()
    if name.endswith((".bat", ".cmd")):
        shell = os.environ.get("COMSPEC") or os.path.join(os.environ["SYSTEMROOT"], "System32", "cmd.exe")
        inner = " ".join(batch_word(word) for word in [path] + words[1:])
        return shell, 'cmd.exe /d /v:off /s /c "' + inner + '"'
    if name == "cmd.exe":
        for at, word in enumerate(words):
            if word.lower() in ("/c", "/k"):
                flags = [flag for flag in words[1:at] if flag.lower() != "/s"]
                return path, " ".join(["cmd.exe"] + flags + ["/s", word]) + ' "' + " ".join(words[at + 1 :]) + '"'
    return path, " ".join(quoted(word) for word in words)


def run(words):
    """Runs a program on the streams of this process; gives its exit code."""
    import subprocess

    path, line = resolve(words)
    try:
        process = subprocess.Popen(line, executable=path, stdin=0, stdout=1, stderr=2)
    except OSError as error:
        raise Unable("cannot start `%s`: %s" % (path, error.strerror or error), 126) from None
    code = process.wait()
    if not WINDOWS and code < 0:
        return 128 - code
    if 0 <= code <= 255:
        return code
    say("it ended with %d (0x%08X), which is told as 255" % (code, code & 0xFFFFFFFF))
    return 255


def run_own(text, name, args):
    """Runs a program of ours in this process."""
    sys.argv = [name] + args
    exec(compile(text, name, "exec"), {"__name__": "__main__", "resolve": resolve})


def say(text):
    os.write(2, ("hg-automation: " + text + "\n").encode())


def main(request):
    os.environ.update(request.get("env", []))
    args = request.get("args", [])
    if "text" in request:
        run_own(request["text"], "-c", args)
    elif "file" in request:
        try:
            with open(request["file"], encoding="utf-8") as file:
                text = file.read()
        except OSError as error:
            raise Unable("cannot read `%s`: %s" % (request["file"], error.strerror), 127) from None
        run_own(text, request["file"], args)
    else:
        sys.exit(run([request["program"]] + args))


try:
    main(request)  # noqa: F821
except Unable as error:
    say(str(error))
    sys.exit(error.code)
except OSError as error:
    # A program of ours could not do its work; what it says of that is the system's own sentence.
    os.write(2, ("%s\n" % error).encode("utf-8", "replace"))
    sys.exit(1)
