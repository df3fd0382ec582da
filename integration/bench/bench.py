#!/usr/bin/env python3
"""What a request costs in Envoy with scopegate, beside Envoy's own filters.

Measured is the CPU time of the Envoy process for a request (utime + stime from
/proc, divided by the requests that wrk counted), because it repeats within a few
per cent on a busy machine, where throughput varies by a factor of two. One Envoy
process with one worker serves every row on a listener of its own, each answering
200 by itself. wrk loads one row for a slice of a second; a round is one slice of
each row, in random order, and there are rounds until the slowest row has had its
number of requests. Shown are medians, and ratios are taken round by round, so a
neighbour's compiler does not favour one row. Only rows of one run may be compared.

Each listener is first shown a good request, a forged token and a foreign tenant:
a row that does not refuse what it must is not measured, and the run fails.

Standard library only. `make bench` hands in ENVOY, WRK, SCOPEGATE_WASM and
SCOPEGATE_EMPTY_WASM.
"""

import argparse
import base64
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ISSUER = "https://issuer.bench.test"
AUDIENCE = "observability"
PATH = "/loki/api/v1/query_range?query=%7Bapp%3D%22web%22%7D&limit=100"
HEADERS = {"User-Agent": "Grafana/12.1.0", "Accept": "*/*", "Accept-Encoding": "gzip"}
# Groups in the token. The one that grants is the last but one.
GROUPS = 8
# Tokens that the cold rows go through, and how few of them scopegate may remember.
COLD_TOKENS = 500
COLD_CACHE = 16


# --- tokens -----------------------------------------------------------------


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


class Rsa:
    """RS256 with a 2048-bit key. The key is worth nothing: it is made from a fixed seed."""

    EXPONENT = 65537
    # DigestInfo of SHA-256 (RFC 8017 §9.2)
    PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")

    def __init__(self) -> None:
        source = random.Random("scopegate bench")
        self.p, self.q = self._prime(source), self._prime(source)
        self.n = self.p * self.q
        d = pow(self.EXPONENT, -1, (self.p - 1) * (self.q - 1))
        self.dp, self.dq = d % (self.p - 1), d % (self.q - 1)
        self.q_inverse = pow(self.q, -1, self.p)

    def _prime(self, source: random.Random) -> int:
        while True:
            candidate = source.getrandbits(1024) | (3 << 1022) | 1
            if candidate % self.EXPONENT == 1 or any(candidate % small == 0 for small in (3, 5, 7, 11, 13, 17, 19)):
                continue
            if all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7)):
                return candidate

    def sign(self, text: bytes) -> bytes:
        info = self.PREFIX + hashlib.sha256(text).digest()
        message = int.from_bytes(b"\x00\x01" + b"\xff" * (253 - len(info)) + b"\x00" + info, "big")
        # by the Chinese remainder theorem, four times faster than one pow()
        first, second = pow(message, self.dp, self.p), pow(message, self.dq, self.q)
        return (second + self.q * (self.q_inverse * (first - second) % self.p)).to_bytes(256, "big")

    def jwks(self) -> dict:
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "bench"}
        return {"keys": [key | {"n": b64(number(self.n)), "e": b64(number(self.EXPONENT))}]}

    def token(self, group: str, serial: int, count: int = GROUPS) -> str:
        now = int(time.time())
        groups = [staff(i) for i in range(count)]
        groups[-2] = group
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"user-{serial:06}",
            "iat": now,
            "exp": now + 6 * 3600,
            "azp": "grafana",
            "groups": groups,
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": "bench"}
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{signed}.{b64(self.sign(signed.encode()))}"


# --- rows -------------------------------------------------------------------


def tenant(index: int) -> str:
    return f"tenant-{index:05}"


def group(index: int) -> str:
    return f"group-{index:05}"


def staff(index: int) -> str:
    return f"s-{index:03}"


@dataclasses.dataclass
class Row:
    key: str
    name: str
    filters: list
    # Which tenant is asked for: one in the middle, so that a list of tenants that is
    # searched in order costs what it costs on average.
    tenants: int = 10
    checks_token: bool = True
    checks_tenant: bool = False
    scopegate: bool = False
    cold: bool = False
    # How many tenants one request names, the one above or the first ones, and in how many groups its caller is.
    asked: int = 0
    groups: int = GROUPS
    # What is sent in the place of the tenant; None is no header at all.
    sent: str | None = ""
    # What else is sent.
    more: dict = dataclasses.field(default_factory=dict)
    port: int = 0
    slices: list = dataclasses.field(default_factory=list)  # (requests, cpu seconds, seconds)

    @property
    def headers(self) -> dict:
        """Of a good request."""
        sent = self.tenant if self.sent == "" else self.sent
        return HEADERS | self.more | ({} if sent is None else {"X-Scope-OrgID": sent})

    @property
    def tenant(self) -> str:
        if self.asked:
            return "|".join(tenant(i) for i in range(self.asked))
        return tenant(self.tenants // 2)

    @property
    def stranger(self) -> str:
        return tenant(self.tenants - 1)

    @property
    def group(self) -> str:
        return group(self.tenants // 2)

    @property
    def requests(self) -> int:
        return sum(requests for requests, _, _ in self.slices)

    @property
    def costs(self) -> list[float]:
        """CPU µs per request, slice by slice."""
        return [cpu / requests * 1e6 for requests, cpu, _ in self.slices]

    @property
    def cost(self) -> float:
        return statistics.median(self.costs)

    @property
    def spread(self) -> str:
        """Half of the slices lie in here."""
        low, _, high = statistics.quantiles(self.costs, n=4, method="inclusive")
        return f"{low:.1f}–{high:.1f}"

    @property
    def throughput(self) -> float:
        return statistics.median(requests / seconds for requests, _, seconds in self.slices)


def ratio(above: Row, below: Row) -> float:
    """How many times dearer, as the median over the rounds."""
    return statistics.median(first / second for first, second in zip(above.costs, below.costs))


def typed(name: str, kind: str, body: dict) -> dict:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}"} | body}


def jwt_authn(jwks: dict, cache: bool, metadata: bool) -> dict:
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": json.dumps(jwks)},
    }
    if cache:
        provider["jwt_cache_config"] = {"jwt_cache_size": 1000}
    if metadata:
        provider["payload_in_metadata"] = "payload"
    return typed(
        "envoy.filters.http.jwt_authn",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        {
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    )


def rbac(tenants: int) -> dict:
    """The tenant check by hand: for each tenant, its header and a group among the token's."""
    return typed(
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        {
            "rules": {
                "action": "ALLOW",
                "policies": {
                    tenant(i): {
                        "permissions": [{"header": {"name": "x-scope-orgid", "string_match": {"exact": tenant(i)}}}],
                        "principals": [
                            {
                                "sourced_metadata": {
                                    "metadata_matcher": {
                                        "filter": "envoy.filters.http.jwt_authn",
                                        "path": [{"key": "payload"}, {"key": "groups"}],
                                        "value": {"list_match": {"one_of": {"string_match": {"exact": group(i)}}}},
                                    }
                                }
                            }
                        ],
                    }
                    for i in range(tenants)
                },
            }
        },
    )


def wasm(name: str, file: pathlib.Path, configuration: dict | None) -> dict:
    config = {
        "name": name,
        "root_id": name,
        "failure_policy": "FAIL_CLOSED",
        "vm_config": {
            # A machine for each row: none shares another's caches.
            "vm_id": name,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(file)}},
        },
    }
    if configuration is not None:
        config["configuration"] = {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": json.dumps(configuration),
        }
    return typed(name, "envoy.extensions.filters.http.wasm.v3.Wasm", {"config": config})


def native(file: pathlib.Path, configuration: dict) -> dict:
    """All rows are in one process, and have one worker of the module's."""
    body = {
        "dynamic_module_config": {"module": {"local": {"filename": str(file)}}, "do_not_close": True},
        "filter_name": "scopegate",
        "filter_config": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": json.dumps(configuration),
        },
    }
    return typed("scopegate", "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter", body)


def scopegate(jwks: dict, tenants: int, **more: object) -> dict:
    """The configuration that does what jwt_authn + rbac(tenants) do."""
    return {
        "providers": [
            {
                "name": "bench",
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "jwks": {"inline": jwks},
                "claims": {"groups": [{"path": ["groups"]}]},
            }
        ],
        "organizations": [
            {"name": f"org-{i:05}", "tenants": [tenant(i)], "rbac": {"viewers": [group(i)]}} for i in range(tenants)
        ],
        "backends": {"loki": {"enabled": True}},
    } | more


def scoped(jwks: dict, row: Row, **more: object) -> dict:
    """Each tenant in an organization of its own that grants all groups of the caller a part of its data; and one
    more, for strangers."""
    labels = [{"namespace": [f"web-{i % 8}"]} for i in range(row.groups)]
    grants = [{"group": staff(i), "labels": labels[i]} for i in range(row.groups)]
    own = [{"name": f"org-{i:05}", "tenants": [tenant(i)], "rbac": {"viewers": grants}} for i in range(row.tenants - 1)]
    other = {"name": "other", "tenants": [row.stranger], "rbac": {"viewers": ["others"]}}
    limits = {"token_bytes": 49_152, "tenants_per_request": 1_000}
    return scopegate(jwks, 0, **more) | {"organizations": [*own, other], "limits": limits}


def rows(
    jwks: dict,
    module: pathlib.Path | None,
    empty: pathlib.Path | None,
    before: pathlib.Path | None,
    shared_object: pathlib.Path | None,
) -> list[Row]:
    cached = jwt_authn(jwks, cache=True, metadata=False)
    with_payload = jwt_authn(jwks, cache=True, metadata=True)
    table = [
        Row("none", "no filter", [], checks_token=False),
        Row("jwt", "jwt_authn (cache)", [cached]),
        Row("rbac-10", "jwt_authn (cache) + RBAC, 10 tenants", [with_payload, rbac(10)], 10, checks_tenant=True),
        Row("rbac-1000", "jwt_authn (cache) + RBAC, 1,000 tenants", [with_payload, rbac(1000)], 1000, checks_tenant=True),
        Row("jwt-cold", "jwt_authn (no cache), first-seen tokens", [jwt_authn(jwks, cache=False, metadata=False)], cold=True),
    ]
    if empty:
        table.append(Row("empty", "empty wasm module", [wasm("empty", empty, None)], checks_token=False))
    if module:
        # What jwt_authn + RBAC do as well: decide, and drop the token. The other row
        # has the defaults: it also hands the audit record to the access log and the
        # subject to the backend.
        equal = {"audit": {"log": "denied", "access_log": False}, "forward": {"subject_header": None}}
        few = {"limits": {"cached_tokens": COLD_CACHE}}
        for key, name, tenants, more in [
            ("gate-10", "scopegate warm, 10 tenants", 10, equal),
            ("gate-1000", "scopegate warm, 1,000 tenants", 1000, equal),
            ("gate-10000", "scopegate warm, 10,000 tenants", 10000, equal),
            ("gate-default", "scopegate warm, 10 tenants, with audit record and subject", 10, {}),
            ("gate-cold", "scopegate cold, first-seen tokens", 10, equal | few),
        ]:
            filters = [wasm(key, module, scopegate(jwks, tenants, **more))]
            cold = key == "gate-cold"
            table.append(Row(key, name, filters, tenants, checks_tenant=True, scopegate=True, cold=cold))
            # Its rows share one cache of tokens, in which nothing is seen for the first time.
            if shared_object and not cold:
                row = Row(
                    f"native-{key.removeprefix('gate-')}",
                    f"native {name}",
                    [native(shared_object, scopegate(jwks, tenants, **more))],
                    tenants,
                    checks_tenant=True,
                    scopegate=True,
                )
                table.append(row)
            if before:
                key, name = f"before-{key}", f"before: {name}"
                filters = [wasm(key, before, scopegate(jwks, tenants, **more))]
                table.append(Row(key, name, filters, tenants, checks_tenant=True, scopegate=True, cold=cold))
        # What the gate does at the entrance, each by itself, where it does something.
        origin = "https://grafana.example.com"
        tenants = {"tenants": {"when_absent": "only", "all": "*"}}
        for key, name, more, sent, page in [
            ("with-health", "a health check configured", {"health": {"path": "/healthz"}}, "", {}),
            ("with-tenants", "tenants that may be left out, and is named", tenants, "", {}),
            ("with-only", "a tenant that is left out", tenants, None, {}),
            ("with-star", "a star for the tenants", tenants, "*", {}),
            ("with-cors", "pages configured, and none asks", {"cors": {"origins": [origin]}}, "", {}),
            ("with-page", "a page that asks", {"cors": {"origins": [origin]}}, "", {"Origin": origin}),
        ]:
            filters = [wasm(key, module, scopegate(jwks, 10, **equal) | more)]
            row = Row(key, f"scopegate warm, 10 tenants, {name}", filters, 10, checks_tenant=True, scopegate=True)
            row.sent, row.more = sent, page
            table.append(row)
        for asked, groups in [(1, 8), (64, 8), (1, 2000), (64, 2000)]:
            key, name = f"scoped-{asked}-{groups}", f"scopegate scoped, {asked} tenants asked for, {groups:,} groups"
            row = Row(key, name, [], asked + 1, checks_tenant=True, scopegate=True, asked=asked, groups=groups)
            row.filters.append(wasm(key, module, scoped(jwks, row, **equal)))
            table.append(row)
    return table


def listener(row: Row) -> dict:
    answer = {"direct_response": {"status": 200}}
    if row.scopegate:
        # As in envoy/envoy.yaml: only what the gate has named a backend for.
        named = {"name": "x-scopegate-backend", "string_match": {"exact": "loki"}}
        routes = [
            {"match": {"prefix": "/", "headers": [named]}} | answer,
            {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
        ]
    else:
        routes = [{"match": {"prefix": "/"}} | answer]
    router = typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", {})
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        {
            "stat_prefix": row.key,
            "route_config": {"virtual_hosts": [{"name": "bench", "domains": ["*"], "routes": routes}]},
            "http_filters": row.filters + [router],
        },
    )
    return {
        "name": row.key,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": row.port}},
        "filter_chains": [{"filters": [manager]}],
    }


# --- processes --------------------------------------------------------------


class Failure(Exception):
    """Something a person must look at; told without a traceback."""


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


class Envoy:
    def __init__(self, binary: str, table: list[Row], folder: pathlib.Path, cpu: int | None) -> None:
        self.admin, *ports = free_ports(len(table) + 1)
        for row, port in zip(table, ports):
            row.port = port
        bootstrap = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
            # No flush in the middle of a slice.
            "stats_flush_interval": "299s",
            "static_resources": {"listeners": [listener(row) for row in table]},
        }
        config = folder / "envoy.json"
        config.write_text(json.dumps(bootstrap))
        self.log = folder / "envoy.log"
        self.process = subprocess.Popen(
            [binary, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("w"),
            preexec_fn=pinned(cpu),
        )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.get("/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.stop()
        raise Failure("Envoy did not start:\n" + "\n".join(self.log.read_text().splitlines()[-20:]))

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def cpu_seconds(self) -> float:
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        # The name of the process, in parentheses, may hold blanks.
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def counters(self, pattern: str) -> dict[str, int]:
        text = self.get(f"/stats?filter={pattern}")[1]
        return {name: int(value) for name, value in (line.rsplit(": ", 1) for line in text.splitlines() if ": " in line)}

    def memory(self) -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def pinned(cpu: int | None):
    def apply() -> None:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return apply


# --- checks -----------------------------------------------------------------


def status_of(row: Row, token: str, headers: dict) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", row.port, timeout=10)
    connection.request("GET", PATH, headers=headers | {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def check(row: Row, token: str) -> None:
    """A row is worth measuring only if it lets in and refuses what it should."""
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
            raise Failure(f"{row.name}: {what} is answered {got}, not {expected}")


# --- load -------------------------------------------------------------------

ROTATE = """
local requests, at = {}, 0
function init(arguments)
  for token in io.lines(arguments[1]) do
    wrk.headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format("GET")
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""


class Load:
    def __init__(self, binary: str, folder: pathlib.Path, connections: int, cpu: int | None) -> None:
        self.binary, self.connections, self.cpu = binary, connections, cpu
        self.script = folder / "rotate.lua"
        self.script.write_text(ROTATE)
        self.tokens: dict[str, pathlib.Path] = {}
        self.folder = folder

    def rotate(self, row: Row, tokens: list[str]) -> None:
        self.tokens[row.key] = self.folder / f"{row.key}.tokens"
        self.tokens[row.key].write_text("\n".join(tokens) + "\n")

    def slice(self, row: Row, token: str, seconds: int) -> tuple[int, float]:
        command = [self.binary, "-t1", f"-c{self.connections}", f"-d{seconds}s"]
        for name, value in row.headers.items():
            command += ["-H", f"{name}: {value}"]
        if row.key in self.tokens:
            command += ["-s", str(self.script)]
        else:
            command += ["-H", f"Authorization: Bearer {token}"]
        command.append(f"http://127.0.0.1:{row.port}{PATH}")
        if row.key in self.tokens:
            command += ["--", str(self.tokens[row.key])]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=pinned(self.cpu), check=False
        )
        counted = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", done.stdout)
        if not counted or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise Failure(f"{row.name}: wrk says\n{done.stdout}{done.stderr}")
        unit = {"ms": 0.001, "s": 1.0, "m": 60.0}[counted[3]]
        return int(counted[1]), float(counted[2]) * unit


def measure(envoy: Envoy, load: Load, row: Row, token: str, seconds: int) -> tuple[int, float, float]:
    before = envoy.cpu_seconds()
    requests, took = load.slice(row, token, seconds)
    return requests, envoy.cpu_seconds() - before, took


# --- report -----------------------------------------------------------------


def report(table: list[Row], module: pathlib.Path | None, out) -> None:
    by_key = {row.key: row for row in table if row.slices}
    base = by_key.get("none")

    def show(value: float | None, form: str = "{:.2f}") -> str:
        return "" if value is None else form.format(value)

    def between(above: str, below: str) -> float | None:
        return ratio(by_key[above], by_key[below]) if above in by_key and below in by_key else None

    print(
        "| listener | CPU µs/request | half of the slices | above no filter | of what RBAC(10) adds | RBAC(10) / this "
        "| requests/s |",
        file=out,
    )
    print("|---|---:|---:|---:|---:|---:|---:|", file=out)
    added = by_key["rbac-10"].cost - base.cost if base and "rbac-10" in by_key else None
    for row in by_key.values():
        above = row.cost - base.cost if base else None
        print(
            f"| {row.name} | {row.cost:.1f} | {row.spread} | {show(above, '{:.1f}')} "
            f"| {show(above / added if added and above is not None else None)} "
            f"| {show(between('rbac-10', row.key))} | {row.throughput:,.0f} |",
            file=out,
        )

    flat = between("gate-10000", "gate-10")
    flat = (flat - 1) * 100 if flat else None
    # What 63 more tenants cost, by how many groups of the caller hold something on each: the longer token costs as
    # much with one.
    wide = [f"scoped-{asked}-{groups}" for groups in (8, 2000) for asked in (1, 64)]
    wider = None
    if all(key in by_key for key in wide):
        few, few_64, many, many_64 = (by_key[key].cost for key in wide)
        wider = (many_64 - many) / (few_64 - few)
    size = module.stat().st_size / 1e6 if module else None
    lines = [
        ("warm, 10 tenants: jwt_authn + RBAC / scopegate", "≥ 1.0", between("rbac-10", "gate-10"), lambda x: x >= 1.0, "{:.2f}"),
        ("warm, 1,000 tenants: jwt_authn + RBAC / scopegate", "≥ 2.5", between("rbac-1000", "gate-1000"), lambda x: x >= 2.5, "{:.2f}"),
        ("scopegate, from 10 to 10,000 tenants", "≤ +5 %", flat, lambda x: x <= 5, "{:+.1f} %"),
        ("scoped, 64 tenants asked for: from 8 to 2,000 groups, above one tenant", "≤ 1.5", wider, lambda x: x <= 1.5, "{:.2f}"),
        ("first-seen token: jwt_authn / scopegate", "≥ 0.9", between("jwt-cold", "gate-cold"), lambda x: x >= 0.9, "{:.2f}"),
        ("native, warm, 10 tenants: jwt_authn + RBAC / scopegate", "≥ 1.2", between("rbac-10", "native-10"), lambda x: x >= 1.2, "{:.2f}"),
        ("the same with record and subject", "≥ 1.12", between("rbac-10", "native-default"), lambda x: x >= 1.12, "{:.2f}"),
        ("size of the module", "≤ 1.5 MB", size, lambda x: x <= 1.5, "{:.2f} MB"),
    ]
    for key in ["with-health", "with-tenants"]:
        change = between(key, "gate-10")
        change = (change - 1) * 100 if change else None
        lines.append((f"{key}: against the same without", "≤ +2 %", change, lambda x: x <= 2, "{:+.1f} %"))
    for key in [key for key in by_key if f"before-{key}" in by_key]:
        change = (by_key[key].cost / by_key[f"before-{key}"].cost - 1) * 100
        lines.append((f"{by_key[key].name}: against the module before", "≤ +2 %", change, lambda x: x <= 2, "{:+.1f} %"))
    print("\n| target | wanted | measured | |\n|---|---:|---:|---|", file=out)
    for what, wanted, value, met, form in lines:
        verdict = "not measured" if value is None else "met" if met(value) else "missed"
        print(f"| {what} | {wanted} | {show(value, form)} | {verdict} |", file=out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=150_000, help="at least so many for each row (%(default)s)")
    parser.add_argument("--seconds", type=int, default=1, help="length of a slice (%(default)s)")
    parser.add_argument("--connections", type=int, default=16, help="of wrk (%(default)s)")
    parser.add_argument("--only", default="", help="keys of rows, with commas")
    parser.add_argument("--before", type=pathlib.Path, help="another module, to compare this one with")
    parser.add_argument("--json", type=pathlib.Path, help="write every slice there")
    parser.add_argument("--seed", type=int, help="of the order of the slices")
    options = parser.parse_args()

    def found(variable: str, command: str) -> str:
        binary = os.environ.get(variable) or shutil.which(command)
        if not binary:
            raise Failure(f"no {command}: run `make bench`, or set {variable}")
        return binary

    def file(variable: str, what: str) -> pathlib.Path | None:
        path = pathlib.Path(os.environ.get(variable) or "missing")
        if path.is_file():
            return path.resolve()
        print(f"SKIPPED: the rows of {what}, because {variable} names no file", file=sys.stderr)
        return None

    binary, wrk = found("ENVOY", "envoy"), found("WRK", "wrk")
    module = file("SCOPEGATE_WASM", "scopegate")
    empty = file("SCOPEGATE_EMPTY_WASM", "the empty module")
    cpus = sorted(os.sched_getaffinity(0))
    envoy_cpu, wrk_cpu = (cpus[0], cpus[-1]) if len(cpus) > 1 else (None, None)
    if envoy_cpu is None:
        print("only one CPU: wrk and Envoy share it", file=sys.stderr)

    key = Rsa()
    before = options.before.resolve() if options.before else None
    shared_object = file("SCOPEGATE_NATIVE", "the native module")
    table = rows(key.jwks(), module, empty, before, shared_object)
    if options.only:
        wanted = options.only.split(",")
        if unknown := set(wanted) - {row.key for row in table}:
            raise Failure(f"no rows {', '.join(sorted(unknown))}; there are {', '.join(row.key for row in table)}")
        table = [row for row in table if row.key in wanted]
    tokens = {row.key: key.token(row.group, 0, row.groups) for row in table}

    with tempfile.TemporaryDirectory(prefix="scopegate-bench-") as name:
        folder = pathlib.Path(name)
        load = Load(wrk, folder, options.connections, wrk_cpu)
        rotating = [row for row in table if row.cold]
        if rotating:
            many = [key.token(rotating[0].group, serial) for serial in range(COLD_TOKENS)]
            for row in rotating:
                load.rotate(row, many)
        envoy = Envoy(binary, table, folder, envoy_cpu)
        try:
            for row in table:
                check(row, tokens[row.key])
            print(f"{len(table)} rows answer as they should; measuring", file=sys.stderr)
            for row in table:
                # Connections, caches, and V8's second compiler.
                load.slice(row, tokens[row.key], options.seconds)
            order = random.Random(options.seed)
            started = time.monotonic()
            # Two rounds at the least: one slice has no spread.
            while (least := min(row.requests for row in table)) < options.requests or len(table[0].slices) < 2:
                print(
                    f"\r{min(1, least / options.requests):4.0%} after {time.monotonic() - started:.0f} s ",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
                for row in order.sample(table, len(table)):
                    row.slices.append(measure(envoy, load, row, tokens[row.key], options.seconds))
            print(file=sys.stderr)
            cache = envoy.counters("scopegate_token_cache_total")
            version = envoy.get("/server_info")[1]
            memory = envoy.memory()
        finally:
            envoy.stop()

    print(
        f"Envoy {json.loads(version)['version'].split('/')[1]}, one worker; wrk -t1 -c{options.connections}; "
        f"{len(table[0].slices)} slices of {options.seconds} s a row, at least {options.requests:,} requests.\n"
    )
    report(table, module, sys.stdout)
    print(f"\nThe Envoy process with all rows held {memory / 2**20:.0f} MiB at the end.")
    if cache:
        totals = ", ".join(f"{name.rpartition('result=')[2]} {value:,}" for name, value in sorted(cache.items()))
        print(f"Token cache of scopegate, all its rows together: {totals}.")
    if options.json:
        options.json.write_text(json.dumps([{"key": row.key, "slices": row.slices} for row in table]))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        main()
    except Failure as failure:
        sys.exit(f"error: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
