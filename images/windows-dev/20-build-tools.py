# Installs the build tools of Visual Studio 2022 and proves by a compile that they work: the installer ends with 0 at times without
# having installed anything.
#
# Runs as an administrator. Input: none. The installer's own hash is pinned; what it loads is the newest of its channel, so the version
# that came stands in baked.json.
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import hgdev  # noqa: E402

CHANNEL = "https://aka.ms/vs/17/release/channel"
# What Mercurial names for its builds, compilers for ARM among them.
COMPONENTS = (
    "Microsoft.Component.MSBuild",
    "Microsoft.VisualStudio.Component.Roslyn.Compiler",
    "Microsoft.VisualStudio.Component.TextTemplating",
    "Microsoft.VisualStudio.Component.VC.CoreBuildTools",
    "Microsoft.VisualStudio.Component.VC.CoreIde",
    "Microsoft.VisualStudio.Component.VC.Redist.14.Latest",
    "Microsoft.VisualStudio.Component.VC.Tools.ARM64",
    "Microsoft.VisualStudio.Component.VC.Tools.ARM64EC",
    "Microsoft.VisualStudio.Component.VC.Tools.x86.x64",
    "Microsoft.VisualStudio.Component.Windows10SDK.20348",
    "Microsoft.VisualStudio.Workload.MSBuildTools",
    "Microsoft.VisualStudio.Workload.VCTools",
)
TARGETS = {"x64": "x64", "x86": "x64_x86", "arm64": "x64_arm64"}
PROGRAM = '#include <windows.h>\n#include <stdio.h>\nint main(void) { printf("%lu", GetVersion() ? 7ul : 0ul); return 0; }\n'
# 3010 asks for a restart, which comes before anybody uses the image.
FINE = (0, 3010)


def installed():
    """The build tools that are there: where, and which version; none where there are none."""
    where = hgdev.ROOT + "Program Files (x86)/Microsoft Visual Studio/Installer/vswhere.exe"
    if not os.path.exists(where):
        return None
    found = json.loads(hgdev.run([where, "-products", "*", "-latest", "-format", "json", "-utf8"]) or "[]")
    return (found[0]["installationPath"], found[0]["installationVersion"]) if found else None


def compile_for(folder, target, tools):
    """Compiles and links a program for a processor; one that this computer has runs it too."""
    work = hgdev.HGDEV + "/assets/compiled-" + target
    os.makedirs(work, exist_ok=True)
    with open(work + "/program.c", "w", encoding="ascii") as file:
        file.write(PROGRAM)
    with open(work + "/compile.cmd", "w", encoding="ascii") as file:
        script = os.path.join(folder, "VC", "Auxiliary", "Build", "vcvarsall.bat")
        file.write('@call "%s" %s\r\n@if errorlevel 1 exit /b 1\r\n' % (script, tools))
        file.write("@cl.exe /nologo /W4 program.c\r\n@exit /b %ERRORLEVEL%\r\n")
    program = work + "/program.exe"
    if os.path.exists(program):
        os.remove(program)
    hgdev.run(["cmd.exe", "/d", "/c", "compile.cmd"], cwd=work, limit=300)
    if not os.path.exists(program):
        raise hgdev.Failed("the compiler for %s made no program" % target)
    if target != "arm64" and hgdev.run([program], limit=60) != "7":
        raise hgdev.Failed("the program that was compiled for %s says something else" % target)


def main():
    if installed() is None:
        words = [hgdev.fetch("build-tools"), "--quiet", "--wait", "--norestart", "--nocache", "--channelUri", CHANNEL]
        for component in COMPONENTS:
            words += ["--add", component]
        hgdev.run(words, fine=FINE, limit=3300)
    found = installed()
    if found is None:
        raise hgdev.Failed("the installer of the build tools ended well and installed nothing; its logs are in %TEMP%")
    folder, version = found
    for target, tools in TARGETS.items():
        compile_for(folder, target, tools)
    hgdev.baked("build-tools", version)


hgdev.step(main)
