"""Tables in Markdown, and everything as JSON."""

import dataclasses
from typing import TextIO

from .figures import quartiles
from .memory import Held
from .rows import PLAIN, Figures, Row
from .targets import MIB, Target


def shown(value: float | None, form: str = "{:.2f}") -> str:
    return "" if value is None else form.format(value)


def sections(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.section, []).append(row)
    return found


def report_costs(of: Figures, out: TextIO) -> None:
    """A table for each section. Overheads count from its own row without a filter."""
    for section, rows in sections(list(of.rows.values())).items():
        print(f"\n{section[0].upper()}{section[1:]}:\n", file=out)
        print(
            "| listener | CPU µs/request | half of the slices | above no filter "
            "| overhead / overhead of jwt_authn + RBAC(10) | RBAC(10) / this | requests/s |",
            file=out,
        )
        print("|---|---:|---:|---:|---:|---:|---:|", file=out)
        for row in rows:
            low, high = quartiles(row.costs)
            print(
                f"| {row.name} | {row.cost:.1f} | {low:.1f}–{high:.1f} | {shown(of.overhead(row.key, row.floor), '{:.1f}')} "
                f"| {shown(of.share(row.key, row.reference, row.floor))} | {shown(of.ratio(row.reference, row.key))} "
                f"| {row.throughput:,.0f} |",
                file=out,
            )


def report_latencies(of: Figures, rates: list[int], out: TextIO) -> None:
    measured = [row for row in of.rows.values() if row.latencies]
    if not measured:
        return
    print("\nLatency in ms at a fixed rate, counted from when each request was due:\n", file=out)
    columns = [f"{name}, {rate:,}/s" for rate in rates for name in ("p50", "p99")]
    print(f"| listener | {' | '.join(columns)} |", file=out)
    print(f"|---|{'---:|' * len(columns)}", file=out)
    for section, rows in sections(measured).items():
        for row in rows:
            cells = [cell for rate in rates for cell in latency_of(row, rate)]
            where = "" if section == PLAIN else f", {section}"
            print(f"| {row.name}{where} | {' | '.join(cells)} |", file=out)


def latency_of(row: Row, rate: int) -> tuple[str, str]:
    if rate not in row.latencies:
        return "", ""
    if not (found := row.latency(rate)):
        return "not kept", "not kept"
    return tuple(shown(seconds * 1e3, "{:.3f}") for seconds in found)


def report_memory(memory: list[Held], out: TextIO) -> None:
    if not memory:
        return
    print("\nMemory above no filter, with 10,000 tenants and 4,096 tokens:\n", file=out)
    print("| form | the process with one worker | each further worker | tokens remembered |", file=out)
    print("|---|---:|---:|---:|", file=out)
    for held in memory:
        print(f"| {held.name} | {held.first / MIB:.1f} MiB | {held.further / MIB:.1f} MiB | {held.remembered:,} |", file=out)


def report_targets(targets: list[Target], further: list[Target], out: TextIO) -> None:
    """The forms beside each other; then what one form alone must meet."""
    print("\n| target | wasm, wanted | measured | | native, wanted | measured | |", file=out)
    print("|---|---:|---:|---|---:|---:|---|", file=out)
    for what in dict.fromkeys(target.what for target in targets):
        forms = {target.form: target for target in targets if target.what == what}
        cells = [cell for form in ("gate", "native") for cell in cells_of(forms[form])]
        print(f"| {what} | {' | '.join(cells)} |", file=out)
    print("\n| further target | wanted | measured | |", file=out)
    print("|---|---:|---:|---|", file=out)
    for target in further:
        print(f"| {target.what} | {' | '.join(cells_of(target))} |", file=out)


def report_processes(processes: dict, out: TextIO) -> None:
    """What each process of Envoy held at the end, and whether tokens were first-seen ones where they had to be."""
    for name, found in processes.items():
        hits, misses = found["tokens"]
        print(
            f"\nThe Envoy process {name}, with all its rows, held {found['bytes'] / MIB:.0f} MiB at the end. The gate knew "
            f"{hits:,} tokens again, and {misses:,} not.",
            file=out,
        )


def cells_of(target: Target) -> tuple[str, str, str]:
    measured = "" if target.value is None else target.bound.shown(target.value)
    return str(target.bound), measured, target.verdict


def document(of: Figures, memory: list[Held], targets: list[Target], run: dict) -> dict:
    """All that was measured, with every slice, and what was made of it."""
    return run | {
        "rows": [
            {
                "key": row.key,
                "name": row.name,
                "section": row.section,
                "process": row.listener.process,
                "slices": row.slices,
                "requests": row.requests,
                "cpu_us": row.cost,
                "above_no_filter_us": of.overhead(row.key, row.floor),
                "overhead_of_rbac_10": of.share(row.key, row.reference, row.floor),
                "rbac_10_of_this": of.ratio(row.reference, row.key),
                "requests_per_second": row.throughput,
                "latencies": {str(rate): rounds for rate, rounds in row.latencies.items()},
            }
            for row in of.rows.values()
        ],
        "memory": [dataclasses.asdict(held) for held in memory],
        "targets": [
            {"what": target.what, "form": target.form, "wanted": str(target.bound)}
            | {"measured": target.value, "verdict": target.verdict}
            for target in targets
        ],
    }
