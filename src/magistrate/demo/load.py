"""The load generator: one process, raw HTTP/1.1 over kept connections, the same for both sides of a comparison.

Orders come as one JSON line on standard input: `{"connect": PATH or [HOST, PORT], "requests": [base64…], "once": bool,
"in_flight": N, "seconds": S}`; the answer is one JSON line `{"count", "seconds", "p50_ms", "p99_ms", "refused"}`.
`once` sends each request a single time; else they are sent in turn, again and again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any

import uvloop


class _Connection(asyncio.Protocol):
    """One connection with one request in flight; an answer is as long as its Content-Length says."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = bytearray()
        self._want = -1
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream, as asked for
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        self._run.gone()

    def _send(self) -> None:
        request = self._run.next()
        if request is None or self._transport is None:
            if self._transport is not None:
                self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._want < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self._want = end + 4 + length
        if len(self._buffer) >= self._want:
            status = int(self._buffer[9:12])
            self._buffer.clear()
            self._want = -1
            self._run.done(time.perf_counter() - self._sent, status)
            self._send()


class _Run:
    """One measure: how many answers, how long each took."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._requests = [base64.b64decode(r) for r in order["requests"]]
        self._once = order["once"]
        self._until = time.perf_counter() + order["seconds"]
        self._at = 0
        self._open = order["in_flight"]
        self.finished = asyncio.Event()
        self.latencies: list[float] = []
        self.refused = 0

    def next(self) -> bytes | None:
        """The next request; None when it is over."""
        if time.perf_counter() >= self._until:
            return None
        if self._once and self._at >= len(self._requests):
            return None
        self._at += 1
        return self._requests[(self._at - 1) % len(self._requests)]

    def done(self, seconds: float, status: int) -> None:
        """One answer came."""
        self.latencies.append(seconds)
        self.refused += status >= 300

    def gone(self) -> None:
        """One connection ended."""
        self._open -= 1
        if self._open == 0:
            self.finished.set()


async def _measure(order: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    run = _Run(order)
    began = time.perf_counter()
    for _ in range(order["in_flight"]):
        if isinstance(order["connect"], str):
            await loop.create_unix_connection(lambda: _Connection(run), order["connect"])
        else:
            await loop.create_connection(lambda: _Connection(run), *order["connect"])
    await run.finished.wait()
    seconds = time.perf_counter() - began
    took = sorted(run.latencies) or [0.0]
    return {
        "count": len(run.latencies),
        "seconds": seconds,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[min(len(took) - 1, len(took) * 99 // 100)] * 1000,
        "refused": run.refused,
    }


class _Nothing(asyncio.Protocol):
    """A server that does nothing: what the generator itself can reach."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if data:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


async def _idle(path: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(_Nothing, path)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Measure each order of standard input; or, with `idle PATH`, be the server that does nothing."""
    if sys.argv[1:2] == ["idle"]:
        uvloop.run(_idle(sys.argv[2]))
        return
    for line in sys.stdin:
        said = uvloop.run(_measure(json.loads(line)))
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
