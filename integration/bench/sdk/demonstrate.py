#!/usr/bin/env python3
"""What a module bears in a real Envoy that the tests do not try with each module.

    demonstrate.py MODULE bytes       a header that is no text, as any client may send one
    demonstrate.py MODULE hang-up     the client hangs up that has the keys fetched
    demonstrate.py MODULE withhold    each function of the host fails in turn, with the status InternalFailure:
                                      Envoy's capability_restriction_config leaves it out

ENVOY names Envoy. Standard library only, and openssl signs.
"""

import base64
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

ISSUER = "https://login.example.com"
KEY = pathlib.Path(__file__).parents[2] / "keys" / "rsa-a.pem"
IMPORTS, EXPORTS, FUNCTION = 2, 7, 0


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_set(kid: str) -> dict:
    modulus = openssl("rsa", "-in", str(KEY), "-modulus", "-noout").decode().strip().removeprefix("Modulus=")
    return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid, "e": "AQAB", "n": b64(bytes.fromhex(modulus))}]}


def token(kid: str) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "observability", "sub": "alice", "groups": ["staff"], "iat": now, "exp": now + 3600}
    parts = [b64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": kid}, claims)]
    signature = openssl("dgst", "-sha256", "-sign", str(KEY), data=".".join(parts).encode())
    return ".".join([*parts, b64(signature)])


def functions(module: pathlib.Path) -> tuple[list[str], list[str]]:
    """The functions that a module imports and exports, from the sections of its file."""
    data, at = module.read_bytes(), 8
    found: dict[int, list[str]] = {IMPORTS: [], EXPORTS: []}

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def name() -> str:
        nonlocal at
        size = number()
        at += size
        return data[at - size : at].decode()

    while at < len(data):
        section, at = data[at], at + 1
        size = number()
        end = at + size
        for _ in range(number() if section in found else 0):
            if section == IMPORTS:
                name()
            function = name()
            kind, at = data[at], at + 1
            number()
            if kind == FUNCTION:
                found[section].append(function)
        at = end
    return found[IMPORTS], found[EXPORTS]


class Envoy:
    """An Envoy with the module, which answers what the gate lets through."""

    def __init__(self, folder: str, module: pathlib.Path, jwks: dict, provider: int = 1, allowed: list[str] | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as held:
            self.port = held.getsockname()[1]
        gate = {
            "providers": [
                {
                    "name": "corporate",
                    "issuer": ISSUER,
                    "audiences": ["observability"],
                    "jwks": jwks,
                    "claims": {"groups": [{"path": ["groups"]}]},
                }
            ],
            "organizations": [{"name": "acme", "tenants": ["acme"], "rbac": {"viewers": ["staff"]}}],
            "backends": {"loki": {"enabled": True}},
        }
        config = {
            "name": "gate",
            "failure_policy": "FAIL_CLOSED",
            "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(module)}}},
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(gate)},
        }
        if allowed is not None:
            config["capability_restriction_config"] = {"allowed_capabilities": {name: {} for name in allowed}}
        http_filters = [
            self.typed("http.wasm.v3.Wasm", {"config": config}, "filters."),
            self.typed("http.router.v3.Router", {}, "filters."),
        ]
        manager = {
            "stat_prefix": "gate",
            "route_config": {
                "virtual_hosts": [
                    {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}
                ]
            },
            "http_filters": http_filters,
        }
        kind = "network.http_connection_manager.v3.HttpConnectionManager"
        listener = {
            "address": self.address(self.port),
            "filter_chains": [{"filters": [self.typed(kind, manager, "filters.")]}],
        }
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": self.address(provider)}}]}]
        cluster = {
            "name": "idp",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "idp", "endpoints": endpoints},
        }
        bootstrap = pathlib.Path(folder) / "envoy.json"
        bootstrap.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
        self.log = pathlib.Path(folder) / "envoy.log"
        command = [os.environ["ENVOY"], "-c", str(bootstrap), "--concurrency", "1", "--disable-hot-restart"]
        self.process = subprocess.Popen([*command, "--log-level", "error"], stderr=self.log.open("w"))

    @staticmethod
    def typed(name: str, body: dict, prefix: str) -> dict:
        return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{prefix}{name}"} | body}

    @staticmethod
    def address(port: int) -> dict:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def __enter__(self) -> "Envoy":
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                time.sleep(1)
                break
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def status(self, shown: str, tenant: str = "acme", more: dict | None = None) -> int | str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=6)
        headers = {"Authorization": f"Bearer {shown}", "X-Scope-OrgID": tenant} | (more or {})
        try:
            connection.request("GET", "/loki/api/v1/labels", headers=headers)
            return connection.getresponse().status
        except TimeoutError:
            return "no answer"
        except OSError:
            return "no Envoy"

    def panics(self) -> str:
        found = re.findall(r"panicked at[^\n]*?(\w+\.rs:\d+):\d+:\n([^\n]*)", self.log.read_text())
        return "; ".join(f"{where} {what}" for where, what in dict.fromkeys(found)) or "no panic in the log"


def show_bytes(module: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder, Envoy(folder, module, {"inline": key_set("a")}) as envoy:
        shown = token("a")
        before, with_bytes = envoy.status(shown), envoy.status(shown, more={"X-Anything": b"caf\xe9"})
        print(f"before {before}, with the byte {with_bytes}, after it {envoy.status(shown)}; {envoy.panics()}")


def show_hang_up(module: pathlib.Path) -> None:
    published = {"kid": "old", "delay": 0.0}

    class Provider(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(key_set(published["kid"])).encode()
            time.sleep(published["delay"])
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    jwks = {"uri": f"{ISSUER}/keys", "cluster": "idp", "refresh_interval": "1h"}
    with tempfile.TemporaryDirectory() as folder, Envoy(folder, module, jwks, server.server_port) as envoy:
        print("with the old key:", envoy.status(token("old")))
        published |= {"kid": "new", "delay": 1.5}
        shown, start = token("new"), time.monotonic()
        with socket.create_connection(("127.0.0.1", envoy.port)) as client:
            head = f"GET /loki/api/v1/labels HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {shown}\r\nX-Scope-OrgID: acme\r\n\r\n"
            client.sendall(head.encode())
            time.sleep(0.5)
        statuses: dict[int | str, int] = {}
        while 200 not in statuses and time.monotonic() - start < 60:
            time.sleep(0.25)
            status = envoy.status(shown)
            statuses[status] = statuses.get(status, 0) + 1
        print(f"with the new key, until {time.monotonic() - start:.1f} s after the one who hung up: {statuses}; {envoy.panics()}")
    server.shutdown()


def show_withheld(module: pathlib.Path) -> None:
    imports, exports = functions(module)
    shown = token("a")
    for withheld in sorted(name for name in imports if name.startswith("proxy_")):
        allowed = [name for name in imports + exports if name != withheld]
        with tempfile.TemporaryDirectory() as folder, Envoy(folder, module, {"inline": key_set("a")}, allowed=allowed) as envoy:
            statuses = [envoy.status(shown), envoy.status("a.b.c"), envoy.status(shown, "globex"), envoy.status(shown)]
            # Counters are written at a tick.
            time.sleep(1)
            statuses.append(envoy.status(shown))
            print(f"{withheld}: {', '.join(map(str, statuses))}; {envoy.panics()}", flush=True)


if __name__ == "__main__":
    try:
        show = {"bytes": show_bytes, "hang-up": show_hang_up, "withhold": show_withheld}[sys.argv[2]]
    except LookupError:
        sys.exit(__doc__)
    show(pathlib.Path(sys.argv[1]).resolve())
