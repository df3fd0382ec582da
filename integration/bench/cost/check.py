"""A row is worth measuring only if it lets in and refuses what it should."""

import http.client

from . import Failure
from .load import PATH
from .rows import Row


def status_of(row: Row, token: str, headers: dict) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", row.listener.port, timeout=10)
    connection.request("GET", PATH, headers=headers | {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def check(row: Row, token: str) -> None:
    head, claims, signature = token.split(".")
    # Another character where all its bits count: the last one has spare bits.
    forged = f"{head}.{claims}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    wanted = [("a good request", token, row.headers, 200)]
    if row.checks_token:
        wanted.append(("a forged token", forged, row.headers, 401))
    if row.checks_tenant:
        wanted.append(("a foreign tenant", token, row.headers | {"X-Scope-OrgID": row.stranger}, 403))
        wanted.append(("an unknown tenant", token, row.headers | {"X-Scope-OrgID": "nobody"}, 403))
    for what, shown, headers, expected in wanted:
        got = status_of(row, shown, headers)
        if got != expected:
            raise Failure(f"{row.name}, {row.section}: {what} is answered {got}, not {expected}")
