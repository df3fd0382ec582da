"""What a worker holds with many tenants and a full cache of tokens.

Each form of the gate runs in an Envoy of its own with one worker, and in another with two, beside an Envoy without any
filter that is sent the same. Every worker sees every token: connections are shared out evenly, and each sends all of
them. A further worker costs what the second one adds, less what it adds without a filter. The first one costs what
the whole process holds above that without a filter: with it come what workers share, and in WebAssembly the machine of
Envoy's main thread.
"""

import dataclasses
import http.client
import pathlib
import sys
import time

from . import Failure
from .envoy import Envoy
from .filters import EQUAL, scopegate, tenant
from .load import PATH
from .rows import HEADERS, Form, Listener
from .tokens import Provider, group

TENANTS = 10_000
TOKENS = 4_096
# A quarter of the cache is for tokens that were seen once.
SEEN_AGAIN = TOKENS * 3 // 4
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


def held(binary: str, forms: list[Form], provider: Provider, folder: pathlib.Path) -> list[Held]:
    chosen = TENANTS // 2
    print(f"signing {TOKENS:,} tokens for the memory", file=sys.stderr)
    tokens = [provider.token(group(chosen), serial) for serial in range(TOKENS)]
    configuration = scopegate(provider.jwks(), TENANTS, **EQUAL, limits={"cached_tokens": TOKENS})

    def process(form: Form | None, workers: int) -> int:
        name = form.name if form else "no filter"
        print(f"memory: {name}, workers: {workers}", file=sys.stderr)
        key = f"memory-{form.key if form else 'none'}-{workers}"
        filters = [form.filter(key, configuration)] if form else []
        listener = Listener(key, filters, gate=form is not None, even=True)
        envoy = Envoy(binary, [listener], folder / key, workers)
        try:
            send(listener, workers, tokens, tenant(chosen))
            time.sleep(SETTLING)
            return envoy.memory()
        finally:
            envoy.stop()

    floor, floor_of_two = process(None, 1), process(None, 2)
    found = []
    for form in forms:
        one, two = process(form, 1), process(form, 2)
        found.append(Held(form.key, form.name, one - floor, two - one - (floor_of_two - floor)))
    return found


def send(listener: Listener, workers: int, tokens: list[str], asked: str) -> None:
    """All tokens over a connection to each worker. Those that are seen again come twice, one right after the other."""
    connections = [http.client.HTTPConnection("127.0.0.1", listener.port, timeout=10) for _ in range(workers)]
    for connection in connections:
        connection.connect()
    for connection in connections:
        for index, token in enumerate(tokens):
            for _ in range(2 if index < SEEN_AGAIN else 1):
                shown = HEADERS | {"X-Scope-OrgID": asked, "Authorization": f"Bearer {token}"}
                connection.request("GET", PATH, headers=shown)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise Failure(f"{listener.key}: a token is answered {answer.status}")
        connection.close()
