"""Stands in for the function of the try server: `try_server.py REPOSITORY`, the payload on standard input.

It takes what it is sent into a real repository, and replies with what that repository then says of the changeset.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile

REPOSITORY = sys.argv[1]
ENVIRONMENT = {**os.environ, "HGRCPATH": "", "HGPLAIN": "1", "HGENCODING": "utf-8"}


def hg(*arguments):
    command = ["hg", "-R", REPOSITORY, *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode("utf-8")


event = json.load(sys.stdin)
if sorted(event) != ["branch", "bundle", "message", "node", "user"]:
    sys.exit(f"KeyError: the payload has the keys {sorted(event)}")
with open(os.path.join(REPOSITORY, ".hg", "calls"), "a") as calls:
    calls.write(event["node"] + "\n")
with tempfile.NamedTemporaryFile(suffix=".hg") as bundle:
    bundle.write(base64.b64decode(event["bundle"], validate=True))
    bundle.flush()
    hg("unbundle", "--quiet", bundle.name)
(found,) = json.loads(hg("log", "--rev", event["node"], "--template", "json"))
for told, name in [("node", "node"), ("branch", "branch"), ("user", "user"), ("message", "desc")]:
    if event[told] != found[name]:
        sys.exit(f"ValueError: {told} is {event[told]!r}, and the changeset has {found[name]!r}")
print(json.dumps([f"node {found['node']}", f"branch {found['branch']}", found["desc"]]))
