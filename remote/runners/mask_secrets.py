"""Copies standard input to standard output with secrets replaced, as it comes.

    mask_secrets.py

The secrets come on descriptor 3, with a NUL behind each. A secret of several lines is masked line by line as well: programs print such a
one in pieces. What may be the beginning of a secret is held back until more comes. SIGTERM ends it, after all that has come was copied.

Exit codes: 0 all was copied; 1 nobody takes it any more.
"""

import os
import re
import signal
import sys

#: What stands for a secret.
MASK = b"***"

#: Lines that are shorter are words that stand everywhere.
LEAST = 4


def read_secrets():
    with os.fdopen(3, "rb") as given:
        values = [value for value in given.read().split(b"\0") if value]
    lines = [line.strip() for value in values for line in value.splitlines()]
    secrets = set(values) | {line for line in lines if len(line) >= LEAST}
    # The longest first: one secret may begin with another.
    return sorted(secrets, key=len, reverse=True)


class Masker:
    """Replaces secrets in bytes that come in pieces."""

    def __init__(self, secrets):
        self.secrets = secrets
        self.pattern = re.compile(b"|".join(map(re.escape, secrets)))
        self.rest = b""

    def take(self, data):
        """What can be told of all that has come."""
        data = self.rest + data
        cut = self.first_held(data)
        self.rest = data[cut:]
        return self.mask(data[:cut])

    def end(self):
        """What was held back."""
        rest, self.rest = self.rest, b""
        return self.mask(rest)

    def mask(self, data):
        return self.pattern.sub(MASK, data)

    def first_held(self, data):
        """Where the longest end begins that more bytes could make a secret of. It does not begin within a secret."""
        inside = {at for found in self.pattern.finditer(data) for at in range(found.start() + 1, found.end())}
        longest = len(self.secrets[0]) - 1
        for at in range(max(0, len(data) - longest), len(data)):
            end = data[at:]
            if at not in inside and any(len(secret) > len(end) and secret.startswith(end) for secret in self.secrets):
                return at
        return len(data)


class Told(Exception):
    """It was told to end."""


def tell(*_):
    raise Told


def write(data):
    while data:
        data = data[os.write(1, data) :]


def main():
    masker = Masker(read_secrets())
    signal.signal(signal.SIGTERM, tell)
    try:
        while True:
            came = os.read(0, 1 << 16)
            if not came:
                break
            write(masker.take(came))
    except Told:
        pass
    except OSError:
        return 1
    write(masker.end())
    return 0


if __name__ == "__main__":
    sys.exit(main())
