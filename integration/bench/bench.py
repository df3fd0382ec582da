#!/usr/bin/env python3
"""What a request costs in Envoy with scopegate, beside Envoy's own filters.

Measured is the CPU time of the Envoy process for a request (utime + stime from
/proc, divided by the requests that were answered), because it repeats within a few
per cent on a busy machine, where throughput varies by a factor of two. Every row is
a listener that answers 200 by itself. A process with one worker has nearly all of
them; those of two workers are in another one, and so are those of first-seen tokens.
wrk, or h2load for HTTP/2, loads one row for a slice of a second; a round is one slice
of each row, in random order, and a row leaves when it has had its number of requests.
Shown are medians, and ratios are taken round by round, so a neighbour's compiler does
not favour one row. Only rows of one run may be compared.

Each listener is first shown a good request, a forged token and a foreign tenant:
a row that does not refuse what it must is not measured, and the run fails.

Then oha sends some of the rows requests at fixed rates, and each latency counts from
when its request was due, so that a stall is seen by all that it delays. At last the
memory of a worker is measured in Envoys of their own.

Standard library only. `make bench` hands in ENVOY, WRK, H2LOAD, OHA, SCOPEGATE_WASM,
SCOPEGATE_NATIVE, SCOPEGATE_EMPTY_WASM, SCOPEGATE_EMPTY_NATIVE and SCOPEGATE_SDK_WASM. What is not there
is left out, and said to be, except the first two.
"""

import argparse
import dataclasses
import fnmatch
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile

# Nothing that is made lies in the checkout.
sys.dont_write_bytecode = True

from cost import Failure, check, measure, memory, report, rows, targets
from cost.envoy import Envoy
from cost.load import Load
from cost.tokens import Provider, group

# What `--only` calls the measurement that is no row.
MEMORY = "memory"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="at least so many for each row (%(default)s)")
    parser.add_argument("--minutes", type=float, default=90, help="no further slice begins after so many (%(default)s)")
    parser.add_argument("--seconds", type=int, default=1, help="length of a slice (%(default)s)")
    parser.add_argument("--connections", type=int, default=16, help="or streams, at a time (%(default)s)")
    parser.add_argument("--rates", default="1000,4000", help="requests per second for latencies, or 0 (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="slices of two seconds of each rate (%(default)s)")
    parser.add_argument("--only", default="*", help=f"keys of rows, or `{MEMORY}`, with commas; * and ? are wildcards")
    parser.add_argument("--before", type=pathlib.Path, help="another module, to compare this one with")
    parser.add_argument("--json", type=pathlib.Path, help="write every slice and figure there")
    parser.add_argument("--seed", type=int, help="of the order of the slices")
    return parser.parse_args()


def found(variable: str, command: str) -> str:
    if not (binary := optional(variable, command)):
        raise Failure(f"no {command}: run `make bench`, or set {variable}")
    return binary


def optional(variable: str, command: str) -> str | None:
    return os.environ.get(variable) or shutil.which(command)


def module(variable: str, what: str) -> pathlib.Path | None:
    path = pathlib.Path(os.environ.get(variable) or "missing")
    if path.is_file():
        return path.resolve()
    skipped(f"the rows of {what}, because {variable} names no file")
    return None


def skipped(what: str) -> None:
    print(f"SKIPPED: {what}", file=sys.stderr)


def chosen(table: list[rows.Row], only: str) -> tuple[list[rows.Row], bool]:
    """The rows that the patterns name, and whether they name the memory."""
    patterns = [pattern for pattern in only.split(",") if pattern]
    known = [MEMORY, *(row.key for row in table)]
    if unknown := [pattern for pattern in patterns if not fnmatch.filter(known, pattern)]:
        raise Failure(f"no rows {', '.join(unknown)}; there are {', '.join(known)}")
    named = {key for pattern in patterns for key in fnmatch.filter(known, pattern)}
    return [row for row in table if row.key in named], MEMORY in named


def processors() -> tuple[dict[str, set[int] | None], set[int] | None]:
    """Where each process of Envoy runs, and where the load is made. Two workers have two processors, of which the load
    takes one if there is no third."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) == 1:
        print("only one processor: Envoy shares it with what loads it", file=sys.stderr)
        return dict.fromkeys(rows.WORKERS), None
    places = {process: set(cpus[:workers]) for process, workers in rows.WORKERS.items()}
    return places, {cpus[-1]}


@dataclasses.dataclass
class Plan:
    envoy: str
    wrk: str
    h2load: str | None
    oha: str | None
    modules: rows.Modules
    provider: Provider
    table: list[rows.Row]
    with_memory: bool
    rates: list[int]


def planned(options: argparse.Namespace) -> Plan:
    """What is to be measured, without what there are no programs or modules for."""
    modules = rows.Modules(
        wasm=module("SCOPEGATE_WASM", "scopegate"),
        native=module("SCOPEGATE_NATIVE", "the native module"),
        empty_wasm=module("SCOPEGATE_EMPTY_WASM", "the empty module"),
        empty_native=module("SCOPEGATE_EMPTY_NATIVE", "the empty native module"),
        sdk=module("SCOPEGATE_SDK_WASM", "the module on the crate proxy-wasm"),
        before=options.before.resolve() if options.before else None,
    )
    provider = Provider()
    table, with_memory = chosen(rows.table(provider.jwks(), modules), options.only)
    rates = [rate for rate in map(int, options.rates.split(",")) if rate > 0]
    h2load, oha = optional("H2LOAD", "h2load"), optional("OHA", "oha")
    if not h2load:
        skipped("the rows of HTTP/2, because there is no h2load")
        table = [row for row in table if not row.http2]
    if not oha and rates:
        skipped("latencies, because there is no oha")
        rates = []
    return Plan(found("ENVOY", "envoy"), found("WRK", "wrk"), h2load, oha, modules, provider, table, with_memory, rates)


def run(plan: Plan, options: argparse.Namespace, deadline: measure.Deadline, folder: pathlib.Path) -> tuple[dict, list]:
    """Measures the rows, and gives facts about the run, and the memory."""
    places, load_place = processors()
    load = Load(plan.wrk, plan.h2load, plan.oha, folder, options.connections, load_place)
    rotating, many = [row for row in plan.table if row.first_seen], []
    if rotating or plan.with_memory:
        print(f"signing {memory.TOKENS:,} tokens", file=sys.stderr)
        many = [plan.provider.token(group(memory.ASKED), serial) for serial in range(memory.TOKENS)]
    for row in rotating:
        load.rotate(row, many)
    tokens = {row.key: plan.provider.token(row.group, 0, row.groups, row.token_bytes) for row in plan.table}
    envoys: dict[str, Envoy] = {}
    try:
        for process, workers in rows.WORKERS.items():
            # Rows may share a listener.
            listeners = {row.listener.key: row.listener for row in plan.table if row.listener.process == process}
            if listeners:
                envoys[process] = Envoy(plan.envoy, list(listeners.values()), folder / process, workers, places[process])
        for row in plan.table:
            check.check(row, tokens[row.key])
        print(f"{len(plan.table)} rows answer as they should; measuring", file=sys.stderr)
        measurement = measure.Measurement(envoys, load, tokens, random.Random(options.seed))
        measurement.warm(plan.table, options.seconds)
        measurement.cpu(plan.table, options.requests, options.seconds, deadline)
        if plan.rates:
            measurement.latency([row for row in plan.table if row.timed], plan.rates, options.rounds, deadline)
        facts = {
            "envoy": next((envoy.version() for envoy in envoys.values()), ""),
            "processors": len(os.sched_getaffinity(0)),
            "processes": {name: {"bytes": envoy.memory(), "tokens": envoy.known_tokens()} for name, envoy in envoys.items()},
        }
    finally:
        for envoy in envoys.values():
            envoy.stop()
    held = []
    if plan.with_memory and not deadline.over:
        compared = [form for form in rows.forms(plan.modules) if form.everywhere]
        held = memory.held(plan.envoy, compared, plan.provider.jwks(), many, folder)
    facts |= {"minutes": deadline.seconds / 60, "rates": plan.rates}
    return facts | {key: getattr(options, key) for key in ("requests", "seconds", "connections", "rounds", "seed")}, held


def show(plan: Plan, facts: dict, late: str, held: list[memory.Held], json_file: pathlib.Path | None) -> None:
    slices = [len(row.slices) for row in plan.table] or [0]
    requests = [row.requests for row in plan.table] or [0]
    print(
        f"Envoy {facts['envoy']}; wrk -t1 -c{facts['connections']}; {min(slices)} to {max(slices)} slices of "
        f"{facts['seconds']} s a row, at least {min(requests):,} requests; {facts['processors']} processors; "
        f"{facts['minutes']:.0f} minutes."
    )
    if late:
        print(f"\n{late}")
    of = rows.Figures(plan.table)
    wanted, further = targets.targets(of, held), targets.further_targets(of, plan.modules)
    report.report_costs(of, sys.stdout)
    report.report_latencies(of, plan.rates, sys.stdout)
    report.report_memory(held, sys.stdout)
    report.report_targets(wanted, further, sys.stdout)
    report.report_processes(facts["processes"], sys.stdout)
    if json_file:
        json_file.write_text(json.dumps(report.document(of, held, wanted + further, facts), indent=1) + "\n")


def main() -> None:
    options = arguments()
    deadline = measure.Deadline(options.minutes)
    plan = planned(options)
    with tempfile.TemporaryDirectory(prefix="scopegate-bench-") as folder:
        facts, held = run(plan, options, deadline, pathlib.Path(folder))
    few = [row.key for row in plan.table if row.requests < options.requests]
    late = f"The {options.minutes:g} minutes were over: what is not shown was not measured." if deadline.over else ""
    if few:
        late += f" These have had fewer than {options.requests:,} requests: {', '.join(few)}."
    show(plan, facts, late, held, options.json)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        main()
    except Failure as failure:
        sys.exit(f"error: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
