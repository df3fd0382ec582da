"""The rounds in which the rows take turns."""

import random
import sys
import time

from .envoy import Envoy
from .figures import percentile
from .load import Load
from .rows import Row

# One slice has no spread.
LEAST_ROUNDS = 2
# Seconds of a slice at a fixed rate.
TIMED_SECONDS = 2


class Deadline:
    def __init__(self, minutes: float) -> None:
        self.started = time.monotonic()
        self.end = self.started + minutes * 60

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end


class Measurement:
    def __init__(self, envoys: dict[str, Envoy], load: Load, tokens: dict[str, str], order: random.Random) -> None:
        self.envoys, self.load, self.tokens, self.order = envoys, load, tokens, order

    def warm(self, rows: list[Row], seconds: int) -> None:
        """Connections, caches, and V8's second compiler."""
        for row in rows:
            self.load.slice(row, self.tokens[row.key], seconds)

    def cpu(self, rows: list[Row], requests: int, seconds: int, deadline: Deadline) -> None:
        """Rounds until each row has had so many requests. A row that has them leaves, so that slow ones do not keep the
        others busy; what is compared are the rounds that both were in, which are the first."""
        waiting = rows
        while waiting and not (deadline.over and len(rows[0].slices) >= LEAST_ROUNDS):
            least = min(row.requests for row in waiting)
            progress(f"{least:,} of {requests:,} requests, {len(waiting)} rows", deadline)
            for row in self.order.sample(waiting, len(waiting)):
                row.slices.append(self._slice(row, seconds))
            waiting = [row for row in waiting if row.requests < requests or len(row.slices) < LEAST_ROUNDS]
        print(file=sys.stderr)

    def _slice(self, row: Row, seconds: int) -> tuple[int, float, float]:
        envoy = self.envoys[row.listener.process]
        before = envoy.cpu_seconds()
        requests, took = self.load.slice(row, self.tokens[row.key], seconds)
        return requests, envoy.cpu_seconds() - before, took

    def latency(self, rows: list[Row], rates: list[int], rounds: int, deadline: Deadline) -> None:
        """A few rounds of each row at each rate. A row that does not keep up is left out of the rate from then on."""
        waiting = [(row, rate) for row in rows for rate in rates]
        for done in range(rounds):
            for row, rate in self.order.sample(waiting, len(waiting)):
                if deadline.over:
                    break
                progress(f"latency at {rate:,} requests/s, round {done + 1} of {rounds}", deadline)
                found = self.load.timed(row, self.tokens[row.key], rate, TIMED_SECONDS)
                if found is None:
                    waiting.remove((row, rate))
                    row.latencies[rate] = []
                else:
                    row.latencies.setdefault(rate, []).append((percentile(found, 0.5), percentile(found, 0.99)))
        print(file=sys.stderr)


def progress(what: str, deadline: Deadline) -> None:
    print(f"\r{deadline.seconds:5.0f} s  {what:60}", end="", file=sys.stderr, flush=True)
