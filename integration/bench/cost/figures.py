"""Medians, ratios and percentiles. All ratios are taken within one round, so that a neighbour's compiler does not
favour one row."""

import math
import statistics
from collections.abc import Iterable, Sequence


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that so large a share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Half of the values lie between these."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """How many times dearer, as the median over the rounds that both were in. Both begin with the first round."""
    return statistics.median(first / second for first, second in zip(above, below))


def overhead(costs: Sequence[float], floor: Sequence[float]) -> float:
    """How much dearer, as the median over the rounds that both were in."""
    return statistics.median(first - second for first, second in zip(costs, floor))


def share(costs: Sequence[float], of: Sequence[float], floor: Sequence[float]) -> float | None:
    """A row's overhead as a part of another's, over the rounds that all were in. There is none if the other has no
    overhead, which a disturbed run can make of a small one."""
    rounds = min(len(costs), len(of), len(floor))
    added = overhead(of[:rounds], floor[:rounds])
    return overhead(costs[:rounds], floor[:rounds]) / added if added > 0 else None
