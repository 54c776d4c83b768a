"""Keeps what a program was asked to do that is not really there, and answers what was scripted for it.

Started by recorder.exe under the program's name, with its path in STANDIN_PROGRAM and its line in STANDIN_WORDS. The name is that of the
file without its ending, in lower case: `powershell`, `schtasks`.

    C:/standin/records/NUMBER-NAME.json   what it was asked: `name`, `path`, `line`, `argv`, `folder`, `env`, `stdin` (what it read; of
                                          `powershell` alone, and only where it takes its script from there), `script` (the text that
                                          `powershell` was to run: of its file, its argument or standard input), `answer` (how it ended)
    C:/standin/answers/NAME.json          the answers, a list; each is used once, in order: `match` (a text that its line or its script
                                          must hold, else the call is refused), `stdout`, `stderr`, `exit`
    C:/standin/programs/NAME.py           a program that does its work for real, as far as that goes here; it is run where no answer is left

Exit codes: the answer's, or the program's; 97 nothing was scripted, which standard error says.
"""

import base64
import ctypes
import json
import os
import subprocess
import sys
import time

TOP = "C:/standin"
UNSCRIPTED = 97


def split(line):
    """The words of a line, as Windows splits it."""
    count = ctypes.c_int()
    parse = ctypes.windll.shell32.CommandLineToArgvW
    parse.restype = ctypes.POINTER(ctypes.c_wchar_p)
    words = parse(ctypes.c_wchar_p(line), ctypes.byref(count))
    return [words[at] for at in range(count.value)]


def argument(argv, *names):
    """The word behind an option, which may be shortened."""
    for option, value in zip(argv, argv[1:]):
        word = option.lower().lstrip("-/")
        if option[:1] in "-/" and word and any(name.startswith(word) for name in names):
            return value
    return None


def script_of(name, argv):
    """The text that PowerShell is to run, and what was read from standard input for it."""
    if name not in ("powershell", "pwsh"):
        return None, None
    encoded = argument(argv, "encodedcommand", "ec")
    if encoded:
        return base64.b64decode(encoded).decode("utf-16-le"), None
    file = argument(argv, "file")
    if file and file != "-":
        with open(file, encoding="utf-8-sig") as opened:
            return opened.read(), None
    command = argument(argv, "command")
    if command and command != "-":
        return command, None
    read = sys.stdin.buffer.read().decode("utf-8", "replace")
    return read, read


def next_answer(name):
    path = TOP + "/answers/" + name + ".json"
    try:
        with open(path, encoding="utf-8") as file:
            answers = json.load(file)
    except FileNotFoundError:
        return None
    if not answers:
        return None
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(answers[1:], file)
    os.replace(path + ".new", path)
    return answers[0]


def keep(record):
    os.makedirs(TOP + "/records", exist_ok=True)
    path = "%s/records/%020d-%s.json" % (TOP, time.time_ns(), record["name"])
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(path + ".new", path)


def main():
    path, line = os.environ.pop("STANDIN_PROGRAM"), os.environ.pop("STANDIN_WORDS")
    name = os.path.splitext(os.path.basename(path.replace("\\", "/")))[0].lower()
    argv = split(line)
    script, read = script_of(name, argv)
    record = dict(name=name, path=path, line=line, argv=argv, folder=os.getcwd(), env=dict(os.environ), stdin=read, script=script)
    answer = next_answer(name)
    if answer is not None and answer.get("match", "") not in line + "\n" + (script or ""):
        sys.stderr.write("recorder: `%s` was called with `%s`, and the next answer is for `%s`\n" % (name, line, answer["match"]))
        answer = dict(exit=UNSCRIPTED)
    program = TOP + "/programs/" + name + ".py"
    if answer is None and os.path.isfile(program):
        keep(dict(record, answer="program"))
        return subprocess.call([sys.executable, program] + argv[1:])
    if answer is None:
        sys.stderr.write("recorder: `%s` is not really there, and nothing was scripted for `%s`\n" % (name, line))
        answer = dict(exit=UNSCRIPTED)
    keep(dict(record, answer=answer))
    sys.stdout.write(answer.get("stdout", ""))
    sys.stderr.write(answer.get("stderr", ""))
    return answer.get("exit", 0)


sys.exit(main())
