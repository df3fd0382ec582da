"""The programs that send requests: wrk and h2load as fast as answers come, oha at a fixed rate."""

import csv
import pathlib
import re
import subprocess
from collections.abc import Iterable

from . import Failure
from .envoy import pinned
from .rows import Row

PATH = "/loki/api/v1/query_range?query=%7Bapp%3D%22web%22%7D&limit=100"

# Streams of each connection of HTTP/2: there are as many requests at a time as over HTTP/1.1.
STREAMS = 4
# Seconds at the beginning of a slice at a fixed rate that do not count: its connections are opened then.
OPENING = 0.5
# How much of what is due must have been answered, or the rate was too high for the row.
KEPT = 0.98

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
    def __init__(
        self, wrk: str, h2load: str | None, oha: str | None, folder: pathlib.Path, connections: int, cpus: set[int] | None
    ) -> None:
        self.wrk, self.h2load, self.oha, self.connections, self.cpus = wrk, h2load, oha, connections, cpus
        self.script = folder / "rotate.lua"
        self.script.write_text(ROTATE)
        self.rotated: dict[str, pathlib.Path] = {}
        self.folder = folder

    def rotate(self, row: Row, tokens: list[str]) -> None:
        """Has each request of a row show the next one of these."""
        self.rotated[row.key] = self.folder / f"{row.key}.tokens"
        self.rotated[row.key].write_text("\n".join(tokens) + "\n")

    def slice(self, row: Row, token: str, seconds: int) -> tuple[int, float]:
        """The number of requests that were answered, each with 200, and the seconds they took."""
        return self._http2(row, token, seconds) if row.http2 else self._http1(row, token, seconds)

    def _http1(self, row: Row, token: str, seconds: int) -> tuple[int, float]:
        command = [self.wrk, "-t1", f"-c{self.connections}", f"-d{seconds}s"]
        rotated = self.rotated.get(row.key)
        command += headers(row, None if rotated else token)
        command += ["-s", str(self.script), url(row), "--", str(rotated)] if rotated else [url(row)]
        said = self._run(row, command, seconds)
        counted = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", said)
        if not counted or "Non-2xx" in said or "Socket errors" in said:
            raise Failure(f"{row.name}: wrk says\n{said}")
        unit = {"ms": 0.001, "s": 1.0, "m": 60.0}[counted[3]]
        return int(counted[1]), float(counted[2]) * unit

    def _http2(self, row: Row, token: str, seconds: int) -> tuple[int, float]:
        connections = max(1, self.connections // STREAMS)
        command = [self.h2load, "-t1", f"-c{connections}", f"-m{STREAMS}", f"-D{seconds}", *headers(row, token), url(row)]
        said = self._run(row, command, seconds)
        counted = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        if not counted or counted[1] != counted[2] or any(int(other) for other in counted.groups()[2:]):
            raise Failure(f"{row.name}: h2load says\n{said}")
        return int(counted[1]), float(seconds)

    def timed(self, row: Row, token: str, rate: int, seconds: int) -> list[float] | None:
        """How many seconds after it was due each request was answered; None if the row does not keep up."""
        output = self.folder / "oha.csv"
        command = [self.oha, "--no-tui", "--latency-correction", "-w", "-q", str(rate), "-z", f"{(OPENING + seconds) * 1000:.0f}ms"]
        command += ["-t", "10s", "--output-format", "csv", "-o", str(output), "-m", "GET"]
        if row.http2:
            command += ["--http2", "-c", str(max(1, self.connections // STREAMS)), "-p", str(STREAMS)]
        else:
            command += ["-c", str(self.connections)]
        said = self._run(row, [*command, *headers(row, token), url(row)], seconds)
        with output.open() as lines:
            answered = list(csv.DictReader(lines))
        if refused := {line["status"] for line in answered} - {"200"}:
            raise Failure(f"{row.name}: at {rate} requests per second there are answers {', '.join(refused)}\n{said}")
        return latencies(answered, rate, seconds)

    def _run(self, row: Row, command: list[str], seconds: int) -> str:
        # What the programs print holds no token; their command lines do.
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                preexec_fn=pinned(self.cpus),
                timeout=seconds + 60,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"{row.name}: {pathlib.Path(command[0]).name} has not ended after {seconds + 60} s") from None
        if done.returncode:
            raise Failure(f"{row.name}: {pathlib.Path(command[0]).name} says\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


def headers(row: Row, token: str | None) -> list[str]:
    shown = row.headers | ({"Authorization": f"Bearer {token}"} if token else {})
    return [part for name, value in shown.items() for part in ("-H", f"{name}: {value}")]


def url(row: Row) -> str:
    return f"http://127.0.0.1:{row.listener.port}{PATH}"


def latencies(answered: Iterable[dict], rate: int, seconds: int) -> list[float] | None:
    """Of the answers that oha lists, those whose requests left after the opening; None if too many are missing."""
    found = [float(line["request-duration"]) for line in answered if float(line["request-start"]) >= OPENING]
    return found if len(found) >= KEPT * rate * seconds else None
