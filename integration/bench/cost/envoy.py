"""A process of Envoy with listeners that answer 200 by themselves."""

import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import time

from . import Failure
from .filters import typed
from .rows import Listener


def described(listener: Listener) -> dict:
    answer = {"direct_response": {"status": 200}}
    if listener.gate:
        # As in envoy/envoy.yaml: only what the gate has named a backend for.
        named = {"name": "x-scopegate-backend", "string_match": {"exact": "loki"}}
        routes = [
            {"match": {"prefix": "/", "headers": [named]}} | answer,
            {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
        ]
    else:
        routes = [{"match": {"prefix": "/"}} | answer]
    router = typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", {})
    # HTTP/2 is told from HTTP/1.1 by its first bytes. Envoy takes heads of 60 KiB, of which no token here fills half.
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        {
            "stat_prefix": listener.key,
            "route_config": {"virtual_hosts": [{"name": "bench", "domains": ["*"], "routes": routes}]},
            "http_filters": listener.filters + [router],
        },
    )
    body = {
        "name": listener.key,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listener.port}},
        "filter_chains": [{"filters": [manager]}],
    }
    return body | ({"connection_balance_config": {"exact_balance": {}}} if listener.even else {})


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


def pinned(cpus: set[int] | None):
    """For a process that is about to start: on those processors alone."""

    def apply() -> None:
        if cpus:
            os.sched_setaffinity(0, cpus)

    return apply


class Envoy:
    def __init__(
        self, binary: str, listeners: list[Listener], folder: pathlib.Path, workers: int = 1, cpus: set[int] | None = None
    ) -> None:
        self.admin, *ports = free_ports(len(listeners) + 1)
        for listener, port in zip(listeners, ports):
            listener.port = port
        bootstrap = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
            # No flush in the middle of a slice.
            "stats_flush_interval": "299s",
            "static_resources": {"listeners": [described(listener) for listener in listeners]},
        }
        folder.mkdir()
        config = folder / "envoy.json"
        config.write_text(json.dumps(bootstrap))
        self.log = folder / "envoy.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [binary, "-c", str(config), "--concurrency", str(workers), "--disable-hot-restart", "--log-level", "warning"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=pinned(cpus),
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 120
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

    def version(self) -> str:
        return json.loads(self.get("/server_info")[1])["version"].split("/")[1]

    def cpu_seconds(self) -> float:
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        # The name of the process, in parentheses, may hold blanks.
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def counters(self, pattern: str) -> dict[str, int]:
        text = self.get(f"/stats?filter={pattern}")[1]
        return {name: int(value) for name, value in (line.rsplit(": ", 1) for line in text.splitlines() if ": " in line)}

    def known_tokens(self) -> tuple[int, int]:
        """How many tokens the gate has known again, and how many not. Its two forms punctuate the names differently."""
        hits, misses = (self.counters(f"scopegate_token_cache_total.*{result}") for result in ("hit", "miss"))
        return sum(hits.values()), sum(misses.values())

    def memory(self) -> int:
        """Bytes that the process holds of the machine's memory."""
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
