# Makes a stand-in for Windows answer for what the steps of `windows-dev` install: every program that this test scripts is a recorder,
# whose work `hollow.py` does. What is not among them is not scripted, and ends with 97.
#
# Runs as the first step. Input: the names, one a line, in `scripted.txt` beside this file, and `hollow.py`.
import glob
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
RECORDER = "C:/standin/recorder.exe"

with open(HERE + "/scripted.txt", encoding="utf-8") as file:
    for name in file.read().split():
        shutil.copyfile(HERE + "/hollow.py", "C:/standin/programs/" + name + ".py")
# Windows looks beside the program that asks, first.
for name in ("curl", "msiexec"):
    shutil.copyfile(RECORDER, "C:/hgdev/python/" + name + ".exe")
# The Pythons are real; what they would load is not.
for package in glob.glob("C:/hgdev/python3*-x64/Lib/site-packages/pip/__main__.py"):
    shutil.copyfile(HERE + "/hollow.py", package)
os.makedirs("C:/hgdev/python313-x64/Lib/venv")
shutil.copyfile(HERE + "/hollow.py", "C:/hgdev/python313-x64/Lib/venv/__main__.py")
