#!/usr/bin/env python3
"""Runs the tests that `cargo test` would run with these arguments, two programs at a time.

Most programs of `make test` wait for most of their time: for an Envoy to start, for keys to be fetched, for a stream to
end. In `make test-stack` some do nothing but wait for agents to try again: they run beside the two, on a platform of
their own.
Everything is built first. What a program prints is shown when it has ended, so that no two are mixed up. Programs that
measure run by themselves at the end. Unless programs are named by `--test`, documentation examples come last, by cargo
itself.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

# They measure time or memory, and would measure their neighbour.
ALONE = {"large_configurations", "organizations", "warm_path"}

# The longest first, so that the end is not a wait for one of them. Others follow in the order in which cargo builds them.
FIRST = ["stack", "oracles", "core", "scenarios_envoy", "keys", "scopes", "regression", "streams", "shell", "scopes_projects", "rate_limits"]

# The tests of these programs that only wait.
WAITING = {"stack": "nothing_lost"}

LANES = 2


def built(arguments):
    """Each test program: its name, where cargo would run it, and its command."""
    command = ["cargo", "test", "--no-run", "--message-format=json-render-diagnostics", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as cargo:
        programs = []
        for line in cargo.stdout:
            message = json.loads(line)
            if message["reason"] != "compiler-artifact" or not message["profile"]["test"]:
                continue
            if message["executable"]:
                folder = Path(message["manifest_path"]).parent
                programs.append((message["target"]["name"], folder, [message["executable"]]))
    if cargo.returncode:
        sys.exit(cargo.returncode)
    return programs


def run(program, output):
    """Runs one to its end, as cargo does, and says whether it was good."""
    name, folder, command = program
    environment = {**os.environ, "CARGO_MANIFEST_DIR": str(folder)}
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with output:
        print(f"     Running {name} ({folder.name}), {time.monotonic() - started:.0f} s", flush=True)
        sys.stdout.buffer.write(done.stdout)
        sys.stdout.flush()
    return done.returncode == 0


def main():
    arguments = sys.argv[1:]
    programs = built(arguments)
    rank = {name: place for place, name in enumerate(FIRST)}
    programs.sort(key=lambda program: rank.get(program[0], len(FIRST)))
    waiting = [program for program in programs if program[0] not in ALONE]
    idle = [(name, folder, [*command, WAITING[name]]) for name, folder, command in waiting if name in WAITING]
    for name, _, command in waiting:
        if name in WAITING:
            command += ["--skip", WAITING[name]]
    alone = [program for program in programs if program[0] in ALONE]
    output, queue = threading.Lock(), threading.Lock()
    failed = []

    def lane(programs):
        while True:
            with queue:
                if not programs:
                    return
                program = programs.pop(0)
            if not run(program, output):
                failed.append(program[0])

    queues = [waiting] * LANES + [[program] for program in idle]
    lanes = [threading.Thread(target=lane, args=(programs,)) for programs in queues]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    failed += [program[0] for program in alone if not run(program, output)]
    if "--test" not in arguments and subprocess.run(["cargo", "test", "--doc", *arguments]).returncode:
        failed.append("documentation examples")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


main()
