"""The demo's target: a small fleet in its own process, whose state can be read back.

It is what an agent acts on: services with a version, replicas and a restart counter; a refunds ledger; catalogued
statements; an outbox. It knows nothing of warrants: only the router (and, for holder-run actions, the holder) has its
token. One flaw is built in, so that verification has something to find: a `cascade` deploy restarts a second service.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY = 64 * 1024
SERVICES = ("api-gateway", "checkout", "payments")
CASCADE = {"api-gateway": "checkout", "checkout": "payments", "payments": "api-gateway"}


class Fleet:
    """The state, and the only lock around it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.services: dict[str, dict[str, Any]] = {
            name: {"version": "2.4.0", "replicas": 3, "restarts": 0} for name in SERVICES
        }
        self.refunds: dict[str, Any] = {"total": 0, "count": 0, "last": {}}
        self.statements: dict[str, dict[str, int]] = {}
        self.mail: dict[str, Any] = {"sent": 0, "last": {}}
        self.halted: set[str] = set()
        self.seen: dict[str, dict[str, Any]] = {}

    def deploy(self, name: str, said: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self._roll(name, str(said["version"]))
            if said.get("strategy") == "cascade":
                self._roll(CASCADE[name], str(said["version"]))
            return dict(self.services[name])

    def _roll(self, name: str, version: str) -> None:
        self.services[name]["version"] = version
        self.services[name]["restarts"] += 1

    def restart(self, name: str, _: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.services[name]["restarts"] += 1
            return dict(self.services[name])

    def rolling_restart(self, name: str, said: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.halted.discard(name)
        for _ in range(int(said["count"])):
            with self.lock:
                if name in self.halted:
                    break
                self.services[name]["restarts"] += 1
            time.sleep(int(said["pause_ms"]) / 1000)
        with self.lock:
            return dict(self.services[name])

    def halt(self, name: str, _: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.halted.add(name)
            return dict(self.services[name])

    def rollback(self, name: str, said: dict[str, Any]) -> dict[str, Any]:
        """Put a service back, and every other one to the version it is told."""
        with self.lock:
            self.services[name]["version"] = str(said["version"])
            for other, version in said.get("others", {}).items():
                self.services[other]["version"] = str(version)
            return dict(self.services[name])

    def scale(self, name: str, said: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.services[name]["replicas"] = int(said["replicas"])
            return dict(self.services[name])

    def refund(self, said: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.refunds["total"] += int(said["amount"])
            self.refunds["count"] += 1
            self.refunds["last"] = {"order": said["order"], "amount": said["amount"], "currency": said["currency"]}
            return dict(self.refunds)

    def run_statement(self, name: str, said: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            runs = self.statements.setdefault(name, {"count": 0, "rows": 0})
            runs["count"] += 1
            runs["rows"] = int(said.get("limit", 1))
            return {"rows": runs["rows"]}

    def send(self, said: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.mail["sent"] += 1
            self.mail["last"] = {"to": said["to"], "subject": said["subject"]}
            return dict(self.mail)

    def read(self, what: str) -> dict[str, Any] | None:
        with self.lock:
            found: dict[str, Any] = {
                "fleet": {"services": self.services},
                "refunds": self.refunds,
                "statements": {"runs": self.statements},
                "mail": self.mail,
            }
            return json.loads(json.dumps(found[what])) if what in found else None


class Handler(BaseHTTPRequestHandler):
    """JSON in, JSON out; one bearer token; an idempotency key is answered once and remembered."""

    protocol_version = "HTTP/1.1"
    fleet: Fleet
    token: str

    def do_GET(self) -> None:
        if self._may():
            found = self.fleet.read(self.path.strip("/"))
            self._answer(200 if found is not None else 404, found or {"error": "no such thing"})

    def do_POST(self) -> None:
        if not self._may():
            return
        key = self.headers.get("Idempotency-Key", "")
        if key and key in self.fleet.seen:
            self._answer(200, self.fleet.seen[key])
            return
        said = json.loads(self.rfile.read(min(int(self.headers.get("Content-Length", "0")), MAX_BODY)) or b"{}")
        try:
            done = self._do(self.path.strip("/").split("/"), said)
        except (KeyError, ValueError, TypeError) as wrong:
            self._answer(400, {"error": str(wrong)})
            return
        if done is None:
            self._answer(404, {"error": "no such thing"})
            return
        if key:
            self.fleet.seen[key] = done
        self._answer(200, done)

    def _do(self, path: list[str], said: dict[str, Any]) -> dict[str, Any] | None:
        fleet = self.fleet
        verbs = {
            "deploy": fleet.deploy,
            "restart": fleet.restart,
            "rolling-restart": fleet.rolling_restart,
            "halt": fleet.halt,
            "rollback": fleet.rollback,
            "scale": fleet.scale,
        }
        match path:
            case ["services", name, verb] if name in fleet.services and verb in verbs:
                return verbs[verb](name, said)
            case ["refunds"]:
                return fleet.refund(said)
            case ["statements", name]:
                return fleet.run_statement(name, said)
            case ["secrets-check"]:
                return {"accepted": bool(said["credential"])}
            case ["mail"]:
                return fleet.send(said)
        return None

    def _may(self) -> bool:
        given = self.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            return True
        self._answer(401, {"error": "no valid token"})
        return False

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Nothing: the demo tells its own story."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hung up is no news."""


def serve(port: int, token: str, announce: Any = None) -> None:
    """Serve on loopback until standard input ends; `announce` hears the port."""
    handler = type("BoundHandler", (Handler,), {"fleet": Fleet(), "token": token})
    with _Server(("127.0.0.1", port), handler) as server:
        threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
        if announce:
            announce(server.server_address[1])
        server.serve_forever()


def _end_with_input(server: _Server) -> None:
    """Whoever started this holds the other end of standard input for as long as it lives."""
    while os.read(sys.stdin.fileno(), 4096):
        continue
    server.shutdown()


def main() -> None:
    """Run the target: the token comes by the environment, never as an argument; the port is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    said = parser.parse_args()
    token = os.environ["FLEET_TOKEN"]
    try:
        serve(said.port, token, lambda port: (sys.stdout.write(f"{port}\n"), sys.stdout.flush()))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
