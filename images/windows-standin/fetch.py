"""Fetches files that are named by their SHA-256, and keeps only what has it.

    fetch.py FOLDER <LIST

Each line of LIST is `SHA256 NAME URL`; the file becomes FOLDER/NAME, and one that is there already and has its sum is not fetched
again. On a local machine on its computer's network, what that computer trusts is trusted too.

Exit codes: 0 every file is there; 1 one could not be fetched or is another than was meant; standard error says which.
"""

import hashlib
import os
import ssl
import sys
import time
import urllib.request

CERTIFICATES = "/run/automation/ca-certificates.crt"
TRIES = 3
# Seconds without an answer, and between two tries.
LIMIT = 60
PAUSE = 5


def context():
    trusted = ssl.create_default_context()
    if os.path.exists(CERTIFICATES):
        trusted.load_verify_locations(CERTIFICATES)
    return trusted


def sum_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url, path, trusted):
    with urllib.request.urlopen(url, timeout=LIMIT, context=trusted) as answer, open(path, "wb") as file:
        while piece := answer.read(1 << 20):
            file.write(piece)


def bring(wanted, path, url, trusted):
    if os.path.exists(path) and sum_of(path) == wanted:
        return
    partial = path + ".partial"
    for left in reversed(range(TRIES)):
        try:
            fetch(url, partial, trusted)
            break
        except OSError as error:
            if not left:
                raise SystemExit(f"fetch: cannot fetch {url}: {error}") from None
            time.sleep(PAUSE)
    found = sum_of(partial)
    if found != wanted:
        os.unlink(partial)
        raise SystemExit(f"fetch: {url} has the SHA-256 {found}, not {wanted}; it is not used")
    os.rename(partial, path)


def main():
    folder, trusted = sys.argv[1], context()
    os.makedirs(folder, exist_ok=True)
    for line in sys.stdin:
        if line.strip():
            wanted, name, url = line.split()
            bring(wanted, os.path.join(folder, name), url, trusted)


main()
