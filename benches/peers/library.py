"""What the Python libraries take, for `benches/fleet.rs`: prints one JSON object.

library.py asyncssh-commands CONFIG COUNT   COUNT times `true`, one after another, on one connection
library.py asyncssh-connect CONFIG COUNT    COUNT connections, one after another, each until it is authenticated
library.py parallel-ssh CONFIG COUNT        the words of the configuration's `command` on COUNT machines at once

CONFIG is a JSON file: host, port, user, key, known_hosts, command.
"""

import asyncio
import json
import sys
import time

what, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(path, encoding="utf-8") as file:
    config = json.load(file)


def connect():
    import asyncssh

    return asyncssh.connect(
        config["host"],
        port=config["port"],
        username=config["user"],
        client_keys=[config["key"]],
        known_hosts=config["known_hosts"],
        config=None,
        agent_path=None,
        kex_algs=["curve25519-sha256"],
    )


async def asyncssh_commands():
    async with connect() as connection:
        began = time.perf_counter()
        for _ in range(count):
            done = await connection.run("true")
            assert done.exit_status == 0
        return [time.perf_counter() - began]


async def asyncssh_connect():
    times = []
    for _ in range(count):
        began = time.perf_counter()
        async with connect():
            times.append(time.perf_counter() - began)
    return times


def parallel_ssh():
    from pssh.clients import ParallelSSHClient

    client = ParallelSSHClient(
        [config["host"]] * count,
        port=config["port"],
        user=config["user"],
        pkey=config["key"],
        pool_size=50,
        allow_agent=False,
        identity_auth=False,
    )
    for done in client.run_command(config["command"]):
        list(done.stdout)
        assert done.exit_code == 0, done
    return []


if what == "parallel-ssh":
    found = parallel_ssh()
else:
    found = asyncio.run({"asyncssh-commands": asyncssh_commands, "asyncssh-connect": asyncssh_connect}[what]())
print(json.dumps({"seconds": found}))
