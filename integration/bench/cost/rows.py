"""The table of what is measured. A row is a load on a listener, and a listener is filters in a process of Envoy."""

import dataclasses
import pathlib
import statistics
from collections.abc import Callable

from . import figures
from .filters import EQUAL, jwt_authn, native, rbac, scoped, scopegate, tenant, wasm
from .tokens import GROUPS, group

HEADERS = {"User-Agent": "Grafana/12.1.0", "Accept": "*/*", "Accept-Encoding": "gzip"}
# How few tokens the gate may remember where each shall be a first-seen one.
FIRST_SEEN_CACHE = 16

# The processes of Envoy by their names, with their workers. First-seen tokens have one of their own, because the native
# listeners of a process share a cache, and the others remember thousands of tokens.
MAIN, FIRST_SEEN, TWO = "main", "first-seen", "two"
WORKERS = {MAIN: 1, FIRST_SEEN: 1, TWO: 2}

PLAIN = "HTTP/1.1, one worker"


@dataclasses.dataclass
class Listener:
    key: str
    filters: list
    # Whether the route depends on the backend that the gate has named, as in envoy/envoy.yaml.
    gate: bool = False
    process: str = MAIN
    # Whether the workers have equally many connections, whatever the system would give them.
    even: bool = False
    port: int = 0


@dataclasses.dataclass
class Row:
    key: str
    name: str
    listener: Listener
    # Rows of a section are compared with each other, and share a table.
    section: str = PLAIN
    # The rows from which overheads count: no filter, and jwt_authn with RBAC for ten tenants.
    floor: str = "none"
    reference: str = "rbac-10"
    # Which tenant is asked for: one in the middle, so that a list of tenants that is
    # searched in order costs what it costs on average.
    tenants: int = 10
    checks_token: bool = True
    checks_tenant: bool = False
    first_seen: bool = False
    http2: bool = False
    # Whether the latency of the row is measured at fixed rates. The program that does cannot rotate tokens.
    timed: bool = True
    # How many tenants one request names, the one above or the first ones, and in how many groups its caller is.
    asked: int = 0
    groups: int = GROUPS
    # How long the token is; 0 is as long as it comes.
    token_bytes: int = 0
    # What is sent in the place of the tenant; None is no header at all.
    sent: str | None = ""
    # What else is sent.
    more: dict = dataclasses.field(default_factory=dict)
    # What was measured: (requests, CPU seconds, seconds) of each round, and by rates (p50, p99) of each, in seconds,
    # of which there are none if the row did not keep the rate.
    slices: list = dataclasses.field(default_factory=list)
    latencies: dict = dataclasses.field(default_factory=dict)

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
    def throughput(self) -> float:
        return statistics.median(requests / seconds for requests, _, seconds in self.slices)

    def latency(self, rate: int) -> tuple[float, float] | None:
        """p50 and p99 in seconds, each as the median over the rounds."""
        if not (measured := self.latencies.get(rate)):
            return None
        return statistics.median(low for low, _ in measured), statistics.median(high for _, high in measured)


@dataclasses.dataclass(frozen=True)
class Modules:
    """The files that are measured; None is one that is not there."""

    wasm: pathlib.Path | None = None
    native: pathlib.Path | None = None
    empty_wasm: pathlib.Path | None = None
    empty_native: pathlib.Path | None = None
    # The same gate on the crate proxy-wasm.
    sdk: pathlib.Path | None = None
    # Another one in WebAssembly, to compare with.
    before: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Form:
    """One of the forms that the gate comes in."""

    key: str
    name: str
    # The filter of a listener by that key, with that configuration.
    filter: Callable[[str, dict], dict]
    # Whether it is compared in every section, or in the first one alone.
    everywhere: bool = True


def forms(modules: Modules) -> list[Form]:
    """A further form needs a line here, and the rows of targets.py name those that must meet one."""
    every = [
        (modules.wasm, Form("gate", "scopegate", lambda key, how: wasm(key, modules.wasm, how))),
        (modules.native, Form("native", "native scopegate", lambda _, how: native("scopegate", modules.native, how))),
        (modules.sdk, Form("sdk", "scopegate on the crate proxy-wasm", lambda key, how: wasm(key, modules.sdk, how), False)),
        (modules.before, Form("before-gate", "before: scopegate", lambda key, how: wasm(key, modules.before, how), False)),
    ]
    return [form for file, form in every if file]


@dataclasses.dataclass(frozen=True)
class Section:
    """The same few rows under other circumstances."""

    key: str
    name: str
    # Fields of the rows that differ.
    row: dict = dataclasses.field(default_factory=dict)
    process: str = MAIN


SECTIONS = [
    Section("h2", "HTTP/2, one worker", {"http2": True}),
    Section("two", "HTTP/1.1, two workers", process=TWO),
    Section("1k", "tokens of 1 KB", {"token_bytes": 1_024}),
    Section("4k", "tokens of 4 KB", {"token_bytes": 4_096}),
    Section("12k", "tokens of 12 KB", {"token_bytes": 12_288}),
    Section("20g", "callers in 20 groups", {"groups": 20}),
    Section("200g", "callers in 200 groups", {"groups": 200}),
]


def table(jwks: dict, modules: Modules) -> list[Row]:
    rows: list[Row] = []

    def add(key: str, name: str, filters: list, gate: bool = False, process: str = MAIN, **row: object) -> None:
        rows.append(Row(key, name, Listener(key, filters, gate, process), **row))

    cached = jwt_authn(jwks, cache=True, metadata=False)
    with_payload = jwt_authn(jwks, cache=True, metadata=True)
    uncached = jwt_authn(jwks, cache=False, metadata=False)
    seen_once = {"process": FIRST_SEEN, "first_seen": True, "timed": False}
    add("none", "no filter", [], checks_token=False)
    add("jwt", "jwt_authn (cache)", [cached])
    add("rbac-10", "jwt_authn (cache) + RBAC, 10 tenants", [with_payload, rbac(10)], checks_tenant=True)
    add("rbac-1000", "jwt_authn (cache) + RBAC, 1,000 tenants", [with_payload, rbac(1000)], tenants=1000, checks_tenant=True)
    add("jwt-cold", "jwt_authn (no cache), first-seen tokens", [uncached], **seen_once)
    if modules.empty_wasm:
        add("empty", "empty wasm module", [wasm("empty", modules.empty_wasm, None)], checks_token=False)
    if modules.empty_native:
        filters = [native("empty", modules.empty_native, None)]
        add("empty-native", "empty native module", filters, checks_token=False)
    few = {"limits": {"cached_tokens": FIRST_SEEN_CACHE}}
    compared = forms(modules)
    for end, name, tenants, how, more in [
        ("10", "warm, 10 tenants", 10, EQUAL, {}),
        ("1000", "warm, 1,000 tenants", 1000, EQUAL, {}),
        ("10000", "warm, 10,000 tenants", 10000, EQUAL, {}),
        ("default", "warm, 10 tenants, with audit record and subject", 10, {}, {}),
        ("cold", "cold, first-seen tokens", 10, EQUAL | few, seen_once),
    ]:
        for form in compared:
            filters = [form.filter(f"{form.key}-{end}", scopegate(jwks, tenants, **how))]
            title = f"{form.name} {name}"
            add(f"{form.key}-{end}", title, filters, True, tenants=tenants, checks_tenant=True, **more)
    for section in SECTIONS:
        same = ["none", "rbac-10", *(f"{form.key}-10" for form in compared if form.everywhere)]
        rows += [elsewhere(row, section) for row in rows if row.section == PLAIN and row.key in same]
    if modules.wasm:
        entrance(jwks, modules.wasm, add)
        for asked, groups in [(1, 8), (64, 8), (1, 2000), (64, 2000)]:
            key, name = f"scoped-{asked}-{groups}", f"scopegate scoped, {asked} tenants asked for, {groups:,} groups"
            filters = [wasm(key, modules.wasm, scoped(jwks, asked + 1, groups, **EQUAL))]
            row = {"tenants": asked + 1, "asked": asked, "groups": groups, "timed": False}
            add(key, name, filters, True, checks_tenant=True, **row)
    return rows


def elsewhere(row: Row, section: Section) -> Row:
    """The same row in another section: on the same listener, or on one of its own in another process."""
    end, listener = f"-{section.key}", row.listener
    if section.process != listener.process:
        listener = dataclasses.replace(listener, key=listener.key + end, process=section.process)
    changed = {"listener": listener, "section": section.name, "slices": [], "latencies": {}} | section.row
    return dataclasses.replace(
        row, key=row.key + end, floor=row.floor + end, reference=row.reference + end, **changed
    )


def entrance(jwks: dict, module: pathlib.Path, add: Callable) -> None:
    """What the gate does at the entrance, each by itself, where it does something."""
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
        filters = [wasm(key, module, scopegate(jwks, 10, **EQUAL) | more)]
        row = {"checks_tenant": True, "sent": sent, "more": page, "timed": False}
        add(key, f"scopegate warm, 10 tenants, {name}", filters, True, **row)


class Figures:
    """What can be said of rows by their keys; None where a row was not measured."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = {row.key: row for row in rows if row.slices}

    def costs(self, *keys: str) -> list[list[float]] | None:
        found = [self.rows[key].costs for key in keys if key in self.rows]
        return found if len(found) == len(keys) else None

    def ratio(self, above: str, below: str) -> float | None:
        return figures.ratio(*both) if (both := self.costs(above, below)) else None

    def change(self, key: str, against: str) -> float | None:
        """In per cent."""
        return (both - 1) * 100 if (both := self.ratio(key, against)) else None

    def overhead(self, key: str, floor: str = "none") -> float | None:
        return figures.overhead(*both) if (both := self.costs(key, floor)) else None

    def share(self, key: str, of: str, floor: str = "none") -> float | None:
        """What a row adds to no filter, as a part of what another one adds."""
        return figures.share(*three) if (three := self.costs(key, of, floor)) else None
