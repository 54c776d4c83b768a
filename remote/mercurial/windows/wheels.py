"""Builds a wheel of the source for one Python and one architecture, and refuses what is not exactly that.

What is built is what the source itself says (`[tool.cibuildwheel]` in its pyproject.toml), by the front end that reads that:
`cibuildwheel`, which is found by PATH and brings the Pythons that it needs.
"""

import email
import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

import places

# Our words for architectures, and what wheels and cibuildwheel call them.
PLATFORMS = {"x86": "win32", "x64": "win_amd64", "arm64": "win_arm64"}
ARCHS = {"x86": "x86", "x64": "AMD64", "arm64": "ARM64"}
# The Pythons for Windows that cibuildwheel 3.3 builds for, and the first that was made for ARM64.
MINORS = range(8, 15)
FIRST_ARM64 = 11


def section(text, name):
    """The lines of one table of a TOML file without their comments; none where the file has no such table."""
    found = re.search(r"^\[%s\][ \t]*(#.*)?$(.*?)(?=^\[|\Z)" % re.escape(name), text, re.MULTILINE | re.DOTALL)
    return re.sub(r"(?m)(^|\s)#.*$", "", found.group(2)) if found else None


def patterns(table, key):
    """The words of a key: a list of texts, or one text of words; none where it is not there."""
    found = re.search(r"""^%s\s*=\s*(\[[^\]]*\]|"[^"\n]*"|'[^'\n]*')""" % key, table or "", re.MULTILINE)
    if not found:
        return None
    return [word for text in re.findall(r"""["']([^"']*)["']""", found.group(1)) for word in text.split()]


def expand(pattern):
    """The patterns that one with alternatives in braces stands for."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return [pattern]
    texts = [pattern[: found.start()] + one + pattern[found.end() :] for one in found.group(1).split(",")]
    return [whole for text in texts for whole in expand(text)]


def fits(identifier, words):
    return any(fnmatch.fnmatchcase(identifier, pattern) for word in words for pattern in expand(word))


def supported(arch):
    """The minor versions of Python for which the source has wheels of an architecture."""
    path = places.SOURCE + "/pyproject.toml"
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    table = section(text, "tool.cibuildwheel")
    if table is None:
        raise places.Failure("this revision does not say which wheels it has: there is no [tool.cibuildwheel] in %s" % path, 2)
    windows = section(text, "tool.cibuildwheel.windows")
    build, skip, archs = (patterns(windows, key) or patterns(table, key) for key in ("build", "skip", "archs"))
    # Words such as `auto` leave it to cibuildwheel.
    if archs and set(archs) <= set(ARCHS.values()) and ARCHS[arch] not in archs:
        return []
    named = {int(digits) for word in build or [] for digits in re.findall(r"cp3(\d+)", word)}
    first = FIRST_ARM64 if arch == "arm64" else 0
    return [
        minor
        for minor in sorted(named.union(MINORS))
        if minor >= first
        and fits("cp3%d-%s" % (minor, PLATFORMS[arch]), build or ["*"])
        and not fits("cp3%d-%s" % (minor, PLATFORMS[arch]), skip or [])
    ]


def need_supported(python, arch):
    """Refuses a Python that the source has no wheels for; gives the identifier of the build."""
    there = supported(arch)
    if python not in ["3.%d" % minor for minor in there]:
        some = ", ".join("3.%d" % minor for minor in there) or "none"
        raise places.Failure("this revision has no wheel for Python %s on %s; for %s it has: %s" % (python, arch, arch, some), 2)
    return "cp%s-%s" % (python.replace(".", ""), PLATFORMS[arch])


def same(one, other):
    """Whether two names or versions are the same to tools of Python, which write some signs differently."""
    plain = [re.sub(r"[-_.+]+", "_", text).lower() for text in (one, other)]
    return plain[0] == plain[1]


def headers(archive, name):
    try:
        return email.message_from_string(archive.read(name).decode("utf-8", "replace"))
    except KeyError:
        raise places.Failure("the wheel `%s` has no %s" % (os.path.basename(archive.filename), name)) from None


def check(path, identifier, version):
    """Refuses a wheel that is of another Python, architecture or version than was asked for; gives the version that it says."""
    name = os.path.basename(path)
    tag = "{0}-{0}-{1}".format(*identifier.split("-", 1))
    found = re.fullmatch(r"([^-]+)-([^-]+)-(?:\d[^-]*-)?([^-]+-[^-]+-[^-]+)\.whl", name)
    if not found or found.group(3) != tag:
        raise places.Failure("expected a wheel of %s and got `%s`" % (tag, name))
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            folder = "%s-%s.dist-info/" % found.group(1, 2)
            metadata, wheel = headers(archive, folder + "METADATA"), headers(archive, folder + "WHEEL")
    except zipfile.BadZipFile as error:
        raise places.Failure("the wheel `%s` cannot be read: %s" % (name, error)) from None
    if broken:
        raise places.Failure("the wheel `%s` is damaged: %s" % (name, broken))
    said, tags = metadata["Version"] or "", wheel.get_all("Tag", [])
    if not same(metadata["Name"] or "", found.group(1)) or not same(said, found.group(2)):
        raise places.Failure("the wheel `%s` says of itself that it is %s %s" % (name, metadata["Name"], said))
    if tags != [tag]:
        raise places.Failure("the wheel `%s` says of itself that it is for %s" % (name, ", ".join(tags) or "nothing"))
    if version and not same(said, version):
        raise places.Failure("the wheel `%s` is of version %s, and %s was asked for" % (name, said, version))
    return said


def build(python, arch, output, version=""):
    """Builds one wheel into a folder; gives its path and its version. Nothing comes into the folder where that fails."""
    identifier = need_supported(python, arch)
    program = shutil.which("cibuildwheel")
    if not program:
        raise places.Failure("there is no `cibuildwheel` on the path; the image's bake installs it")
    os.makedirs(places.TEMPORARY, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=places.TEMPORARY) as made:
        command = [program, "--only", identifier, "--output-dir", made, places.SOURCE]
        environment = places.plain_environment()
        code = subprocess.run(command, cwd=places.SOURCE, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
        if code:
            raise places.Failure("`cibuildwheel --only %s` ended with %d; what it said is above" % (identifier, code))
        names = sorted(name for name in os.listdir(made) if name.endswith(".whl"))
        if len(names) != 1:
            raise places.Failure("expected one wheel of %s and got %s" % (identifier, ", ".join(names) or "none"))
        said = check(made + "/" + names[0], identifier, version)
        return bring(made + "/" + names[0], output), said


def tell(path, version):
    """Prints what was made, as one line of JSON: the last of the standard output."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
            size += len(piece)
    print(json.dumps(dict(path=path, size=size, sha256=digest.hexdigest(), version=version)), flush=True)


def bring(path, output):
    """Puts a file that was made into a folder, under its name only when it is whole; gives its path there."""
    os.makedirs(output, exist_ok=True)
    target = output.replace("\\", "/").rstrip("/") + "/" + os.path.basename(path)
    partial = target + ".partial"
    try:
        shutil.copyfile(path, partial)
        os.replace(partial, target)
    finally:
        if os.path.lexists(partial):
            os.unlink(partial)
    return target
