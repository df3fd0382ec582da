"""What a worker holds with many tenants and a full cache of tokens.

Each form of the gate runs in an Envoy of its own with one worker, and in another with two, beside an Envoy without any
filter that is sent the same. Every worker sees every token: connections are shared out evenly, and each sends all of
them. A further worker costs what the second one adds, less what it adds without a filter. The first one costs what
the whole process holds above that without a filter: with it come what workers share, and in WebAssembly the machine of
Envoy's main thread.
"""

import contextlib
import dataclasses
import pathlib
import socket
import sys
import time

from . import Failure
from .envoy import Envoy
from .filters import EQUAL, scopegate, tenant
from .load import PATH
from .rows import HEADERS, Form, Listener

TENANTS = 10_000
# As many first-seen tokens are gone through, so that the few places of a small cache matter little.
TOKENS = 4_096
# A quarter of the cache is for tokens that were seen once.
SEEN_AGAIN = TOKENS * 3 // 4
# The tenant that is asked for, by its number, as in the rows with ten tenants.
ASKED = 5
# Seconds after the last request, until what is freed has been given back.
SETTLING = 2


@dataclasses.dataclass
class Held:
    """Bytes above those of an Envoy without a filter."""

    key: str
    name: str
    # The process with one worker, and what a second one adds to it.
    first: int
    further: int
    # How many of the tokens each worker knows again.
    remembered: int


def held(binary: str, forms: list[Form], jwks: dict, tokens: list[str], folder: pathlib.Path) -> list[Held]:
    """Of each form. So many different tokens grant the tenant that is asked for."""
    configuration = scopegate(jwks, TENANTS, **EQUAL, limits={"cached_tokens": TOKENS})

    def process(form: Form | None, workers: int) -> tuple[int, int]:
        """The bytes that it holds, and how many tokens each worker remembers."""
        print(f"memory: {form.name if form else 'no filter'}, workers: {workers}", file=sys.stderr)
        key = f"memory-{form.key if form else 'none'}-{workers}"
        filters = [form.filter(key, configuration)] if form else []
        listener = Listener(key, filters, gate=form is not None, even=True)
        envoy = Envoy(binary, [listener], folder / key, workers)
        try:
            with contextlib.ExitStack() as opened:
                address = ("127.0.0.1", listener.port)
                callers = [opened.enter_context(socket.create_connection(address, timeout=30)) for _ in range(workers)]
                # Those that are seen again come twice, one right after the other.
                send(callers, [token for token in tokens[:SEEN_AGAIN] for _ in range(2)] + tokens[SEEN_AGAIN:])
                served = envoy.counters(r"^listener\.127.*worker_\d+\.downstream_cx_active")
                if list(served.values()) != [1] * workers:
                    raise Failure(f"not every worker has a connection: {served}")
                time.sleep(SETTLING)
                size, (known, _) = envoy.memory(), envoy.known_tokens()
                if form:
                    send(callers, tokens)
                    time.sleep(SETTLING)
                return size, (envoy.known_tokens()[0] - known) // workers
        finally:
            envoy.stop()

    (floor, _), (floor_of_two, _) = process(None, 1), process(None, 2)
    found = []
    for form in forms:
        (one, remembered), (two, remembered_by_two) = process(form, 1), process(form, 2)
        further = two - one - (floor_of_two - floor)
        found.append(Held(form.key, form.name, one - floor, further, min(remembered, remembered_by_two)))
    return found


def send(callers: list[socket.socket], tokens: list[str]) -> None:
    """All tokens over each connection."""
    shown = HEADERS | {"Host": "bench", "X-Scope-OrgID": tenant(ASKED)}
    head = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
    for caller in callers:
        for token in tokens:
            caller.sendall(f"GET {PATH} HTTP/1.1\r\n{head}Authorization: Bearer {token}\r\n\r\n".encode())
            check(caller)


def check(caller: socket.socket) -> None:
    """Reads an answer, of which none has a body."""
    read = b""
    while not read.endswith(b"\r\n\r\n"):
        if not (piece := caller.recv(4_096)):
            raise Failure("Envoy has closed the connection of a token")
        read += piece
    if not read.startswith(b"HTTP/1.1 200 OK\r\n"):
        raise Failure(f"a token is refused:\n{read.decode(errors='replace')}")
