# Prints a file or a folder as an archive, for a driver that reaches this machine by its agent alone.
#
#   PATH MOST    at most MOST bytes of archive
#
# Exits with 0, or with 1 and a reason in the last line of standard error.
import os
import shutil
import sys
import tarfile
import tempfile


def main(path, most):
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(path, arcname="." if os.path.isdir(path) else "./" + os.path.basename(path))
        if file.tell() > int(most):
            raise OSError("it is too large to travel by SSM; use SSH")
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)


try:
    main(*sys.argv[1:])
except OSError as error:
    os.write(2, ("%s\n" % error).encode("utf-8", "replace"))
    sys.exit(1)
