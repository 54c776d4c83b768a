"""Builds a wheel of the source for one Python and one architecture, and refuses what is not exactly that.

It is built as the source itself says (`[tool.cibuildwheel]` in its pyproject.toml), by the front end that reads that:
`cibuildwheel`, which is found by PATH and brings the Pythons that it needs. Which wheels a source has is up to the caller.
"""

import email
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

# Our words for architectures, and those of wheels.
PLATFORMS = {"x86": "win32", "x64": "win_amd64", "arm64": "win_arm64"}


def identify(python, arch):
    """What cibuildwheel calls the build of a wheel, as cp313-win_amd64 or, without the global lock, cp314t-win_amd64."""
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
    python, platform = identifier.split("-", 1)
    tag = "-".join([python.rstrip("t"), python, platform])
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
    identifier = identify(python, arch)
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
