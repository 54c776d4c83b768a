# Builds one installer of the source in C:/hgdev/src by the source's own packaging (contrib/packaging). The last line of standard
# output tells of it in JSON: `path`, `size`, `sha256`, `version`. What the tools say goes to standard error.
#
#   build_installer.py TYPE ARCH VERSION TAG STAGE OUTPUT [PYTHON-VERSION...]
#
# TYPE      inno: Mercurial-VERSION-ARCH.exe; wix: mercurial-VERSION-ARCH.msi
# ARCH      x86 or x64
# VERSION   or empty: what the wheel says that it is
# TAG       or empty: the release that is checked out, which the wheel has to be of
# STAGE     pyoxidizer   contrib/packaging/packaging.py does all of it, from the program to the installer
#           wheel        only inno: an embeddable Python, C:/hgdev/embed/pythonXY-ARCH, the wheel of this source, and what the
#                        source's packaging adds, put into an installer by the source's packaging. For as long as PyOxidizer, which
#                        is no longer maintained and has a Python that is no longer maintained, cannot be had
# OUTPUT    the folder for the installer: an absolute path; it is made where it is not there
# PYTHON-VERSION   stage wheel: those that the source has wheels for, as 3.13; the installer carries the newest that is in C:/hgdev/embed
#
# What the source has in C:/hgdev/src/dist and build stays: removing it is up to the caller. The files wheels.py and
# stage_installer.py must lie beside this program.
#
# Exit codes: 0 built; 1 it cannot be built, or something else came of it than was asked for, and then nothing is in OUTPUT; 2 wrong
# arguments, or this revision cannot be packaged so; 75 where another run has taken the machine meanwhile.
import glob
import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
import places  # noqa: E402
import wheels  # noqa: E402

USAGE = "usage: build_installer.py inno|wix x86|x64 VERSION TAG pyoxidizer|wheel OUTPUT [PYTHON-VERSION...]"
PACKAGING = places.SOURCE + "/contrib/packaging"
DIST = places.SOURCE + "/dist"
EMBED = places.HGDEV + "/embed"
TRIPLES = {"x86": "i686-pc-windows-msvc", "x64": "x86_64-pc-windows-msvc"}
# What a file of each type is called, and begins with.
KINDS = {"inno": ("Mercurial-%s-%s.exe", b"MZ"), "wix": ("mercurial-%s-%s.msi", b"\xd0\xcf\x11\xe0")}
# The compiler that Mercurial's packaging asks for, and one that takes the same script.
COMPILERS = ["C:/Program Files (x86)/Inno Setup %d/ISCC.exe" % major for major in (5, 6)]
# More bytes than the headers of programs have, and as many as those of the smallest MSI.
HEADERS = 1536
# Seconds for what a tool said last, once it has ended.
LAST_WORDS = 10
# What the source's packaging has to have where only its parts are used.
TABLES = ["def build_installer", "EXTRA_INSTALL_RULES", "STAGING_RULES_APP", "STAGING_RULES_WINDOWS", "def normalize_windows_version"]
# Lines of tools that say what is wrong: those of Inno Setup, of WiX, of PyOxidizer, and of what stands in for one.
ERROR = r"Error on line \d+|.*: error [A-Z]+\d+ ?:|error(\[\w+\])?: |\w+ \(a stand-in\): "


def python(*words):
    """The line that runs the machine's Python with the packages that are installed for it."""
    return [sys.executable, "-X", "utf8", "-u"] + list(words)


def environment():
    """The variables of that Python, which keeps what it compiles elsewhere than in the source: much of that runs several times."""
    return dict(places.plain_environment(), PYTHONPYCACHEPREFIX=places.TEMPORARY + "/bytecode")


def run_tool(command, variables, what):
    """Runs a tool in the source, shows what it says, and fails with its own error where it fails."""
    found = []

    def show(output):
        for line in output:
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            print(text, file=sys.stderr, flush=True)
            if re.match(ERROR, text):
                found.append(text)

    streams = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process = subprocess.Popen(command, cwd=places.SOURCE, env=variables, **streams)
    # What the tool leaves behind, as a compiler's server, may hold its output open.
    reader = threading.Thread(target=show, args=[process.stdout], daemon=True)
    reader.start()
    process.wait()
    reader.join(LAST_WORDS)
    if process.returncode:
        raise places.Failure("%s failed: %s" % (what, found[0] if found else "it ended with %d" % process.returncode))


def need_packaging(stage):
    """Refuses a revision that cannot be packaged so."""
    if stage == "wheel":
        wanted, words = PACKAGING + "/hgpackaging/inno.py", TABLES
    else:
        wanted, words = PACKAGING + "/packaging.py", ["--pyoxidizer-target"]
    if not os.path.isfile(wanted):
        raise places.Failure("this revision cannot be packaged so: it has no %s" % wanted, 2)
    text = ""
    for path in [wanted] + glob.glob(PACKAGING + "/hgpackaging/*.py"):
        with open(path, encoding="utf-8") as file:
            text += file.read()
    for word in words:
        if word not in text:
            raise places.Failure("this revision cannot be packaged so: its contrib/packaging has no `%s`" % word, 2)


def need_number(version):
    """Refuses a version that the source's packaging makes no version of Windows of, which has numbers only."""
    sys.path.append(PACKAGING)
    sys.dont_write_bytecode = True
    from hgpackaging import util

    try:
        util.normalize_windows_version(version)
    except ValueError as error:
        reason = "the source's packaging makes no version of Windows of `%s` (%s); check out a release, or name the VERSION"
        raise places.Failure(reason % (version, error)) from None


def build_docs():
    """Builds the documentation where that is possible; tells what is missing of it."""
    pages = sorted(os.path.basename(path)[:-4] for path in glob.glob(places.SOURCE + "/mercurial/helptext/*.[0-9].txt"))
    if not pages:
        places.say("MISSING in the installer: the documentation, as this revision has no pages in mercurial/helptext")
        return
    streams = dict(cwd=places.SOURCE, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = b""
    for command in (["setup.py", "build_doc", "--html"], [places.HERE + "/stage_installer.py", "docs", places.SOURCE] + pages):
        done = subprocess.run(python(*command), **streams)
        if done.returncode == 0:
            break
        said = done.stdout
    missing = [page + ".html" for page in pages if not os.path.isfile("%s/doc/%s.html" % (places.SOURCE, page))]
    if missing:
        reason = "; ".join(said.decode("utf-8", "replace").strip().splitlines()[-2:]) or "nothing was said"
        places.say("MISSING in the installer, as it cannot be built here: %s (%s)" % (", ".join(missing), reason))


def newest_embed(arch, pythons):
    """The folder of the newest embeddable Python of an architecture among these versions, and its version."""
    minors = sorted(int(python.split(".")[1]) for python in pythons)
    minors = [minor for minor in minors if os.path.isdir("%s/python3%d-%s" % (EMBED, minor, arch))]
    if not minors:
        reason = "there is no %s/pythonXY-%s of a Python for which this revision has wheels (`windows-dev` has it, a stand-in only for x64)"
        raise places.Failure(reason % (EMBED, arch), 2)
    return "%s/python3%d-%s" % (EMBED, minors[-1], arch), "3.%d" % minors[-1]


def from_wheel(arch, version, tag, pythons):
    """Has the source's packaging make an installer of its wheel and an embeddable Python; gives the version."""
    embed, minor = newest_embed(arch, pythons)
    compiler = next((path for path in COMPILERS if os.path.isfile(path)), None)
    if not compiler:
        raise places.Failure("there is no compiler of installers: %s" % " or ".join(COMPILERS))
    if compiler != COMPILERS[0]:
        places.say("using %s, as %s is not there" % (compiler, COMPILERS[0]))
    if version:
        need_number(version)
    work = "%s/build/inno-wheel-%s" % (places.SOURCE, arch)
    places.remove_tree(work)
    wheel, said = wheels.build(minor, arch, work, tag)
    if not version:
        need_number(said)
    if version and not wheels.same(version, said):
        places.say("the installer is called %s, and what it installs says that it is %s" % (version, said))
    places.say("building the documentation")
    build_docs()
    places.say("compiling the installer with %s" % compiler)
    words = ["inno", places.SOURCE, work, embed, wheel, compiler, version or said, arch]
    run_tool(python(places.HERE + "/stage_installer.py", *words), environment(), "building the installer")
    return version or said


def by_packaging(kind, arch, version):
    """Has the source's packaging do all of it."""
    variables = environment()
    # Otherwise it makes an environment for itself, with packages from the network.
    needed = "import sys; sys.path.append(sys.argv[1]); import hgpackaging.cli, docutils, setuptools_scm"
    if not os.path.isfile(PACKAGING + "/hgpackaging/cli.py"):
        needed = "import jinja2"
    found = subprocess.run(python("-c", needed, PACKAGING), env=variables, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if found.returncode == 0:
        variables["HGPACKAGING_BOOTSTRAPPED"] = "1"
    else:
        places.say("%s lacks what the packaging needs, which will be fetched" % sys.executable)
    words = [kind, "--pyoxidizer-target", TRIPLES[arch], "--version", version]
    run_tool(python(PACKAGING + "/packaging.py", *words), variables, "packaging.py")


def built():
    """The files that are in the source's `dist`, with what tells that one was written anew."""
    found = {}
    for path in glob.glob(DIST + "/*"):
        about = os.stat(path)
        found[os.path.basename(path)] = (about.st_size, about.st_mtime_ns)
    return found


def result(kind, arch, version, before):
    """The one file that was made, which has to be what was asked for."""
    endings = tuple(name[-4:] for name, _ in KINDS.values())
    new = sorted(name for name, about in built().items() if name.endswith(endings) and before.get(name) != about)
    wanted = KINDS[kind][0] % (version, arch)
    if new != [wanted]:
        raise places.Failure("expected %s in %s and got %s" % (wanted, DIST, ", ".join(new) or "nothing new"))
    if not is_of_kind(DIST + "/" + wanted, kind):
        raise places.Failure("%s/%s is not a file of its kind" % (DIST, wanted))
    return DIST + "/" + wanted


def is_of_kind(path, kind):
    """Whether a file begins as one of its kind, with the headers that those have."""
    with open(path, "rb") as file:
        start = file.read(HEADERS)
    if kind == "wix":
        return len(start) == HEADERS and start.startswith(KINDS[kind][1])
    at = int.from_bytes(start[0x3C:0x40], "little")
    return start.startswith(KINDS[kind][1]) and start[at : at + 4] == b"PE\0\0"


def parse(args):
    if len(args) < 6 or args[0] not in KINDS or args[1] not in TRIPLES or args[4] not in ("pyoxidizer", "wheel"):
        raise places.Failure(USAGE, 2)
    kind, arch, version, tag, stage, output, *pythons = args
    if not os.path.isabs(output):
        raise places.Failure("`%s` is not an absolute path; %s" % (output, USAGE), 2)
    for word in (version, tag):
        if not re.fullmatch(r"[\w.+]*", word):
            raise places.Failure("`%s` is not a version; %s" % (word, USAGE), 2)
    if (kind, stage) == ("wix", "wheel"):
        raise places.Failure("an installer of type wix is built with the stage pyoxidizer only", 2)
    if not all(re.fullmatch(r"3\.\d+", python) for python in pythons):
        raise places.Failure(USAGE, 2)
    return kind, arch, version, tag, stage, output, pythons


def main(args):
    kind, arch, version, tag, stage, output, pythons = parse(args)
    places.need_source()
    places.need_own()
    need_packaging(stage)
    before = built()
    if stage == "wheel":
        version = from_wheel(arch, version, tag, pythons)
    elif version:
        by_packaging(kind, arch, version)
    else:
        raise places.Failure("the source's packaging asks for a VERSION", 2)
    wheels.tell(wheels.bring(result(kind, arch, version, before), output), version)
    return 0


places.run(main)
