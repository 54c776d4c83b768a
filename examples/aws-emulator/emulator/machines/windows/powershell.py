"""Stands for PowerShell, which is not there: of all scripts it knows two.

`scanning.ps1` of an image's steps is answered as Windows would after it. Of a request of the tool (`remote/windows/ssm-request.ps1`), the
program for Python is run that it hands its text and its words to.
"""

import os
import re
import subprocess
import sys

REQUEST = re.compile(r"\$Text = '([^']+)',\s*\[string\] \$Words = '([^']*)'.*\$program = '([^']+)'.*\$Text, \$Words \| & \$python ", re.DOTALL)


def main(words):
    options = dict(zip(words, words[1:]))
    script = os.path.basename(options.get("-File", "").replace("\\", "/"))
    if script == "_script.ps1":
        with open(options["-File"], encoding="utf-8") as file:
            found = REQUEST.search(file.read())
        if found:
            text, given, program = found.groups()
            line = [sys.executable, "-I", "-S", "-X", "utf8", "-c", program]
            return subprocess.run(line, input=(text + "\n" + given + "\n").encode()).returncode
    if script == "scanning.ps1" and options.get("-Mode") in ("on", "off") and options.get("-Folder") == "C:\\hgdev":
        print(options["-Mode"])
        print("excluded")
        return 0
    sys.stderr.write("powershell: not known here: %s\n" % " ".join(words))
    return 97


sys.exit(main(sys.argv[1:]))
