"""Real servers and real programs: a scripted loopback server, and the canary secrets that must never be seen."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from magistrate.executors import Outcome, run_template

CANARIES = {"fleet-token": "canary-7f3a/+b2 c1==", "quoted": 'canary"é\\x', "short": "zq"}
CONTEXT = {
    "action": "service.deploy",
    "target": {"": "api-gateway-prod", "name": "api-gateway"},
    "parameters": {"version": "2.4.1"},
    "execution_id": "exe-1",
}


@dataclass
class Target:
    """A server that says exactly the bytes a test gave it, and remembers what it heard."""

    port: int = 0
    answer: bytes | Callable[[bytes], bytes] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    hold: bool = False  # never answer, never close
    reset: bool = False  # hear the request, then reset the connection
    stay_open: bool = False  # after the answer
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # the caller closed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            request = await self._request(reader)
            self.heard.append(request)
            if self.reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()
                return
            if not self.hold:
                writer.write(self.answer(request) if callable(self.answer) else self.answer)
                await writer.drain()
            if self.hold or self.stay_open:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.gone.set()
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head + await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)


def reply(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    """A whole HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


@pytest.fixture
async def target():
    """A scripted server on loopback."""
    held = Target()
    server = await asyncio.start_server(held.serve, "127.0.0.1", 0)
    held.port = server.sockets[0].getsockname()[1]
    yield held
    server.close()


@pytest.fixture
def call(target):
    """Run an HTTP template against the target, as the engine does."""

    async def run(template: dict | None = None, **options) -> Outcome:
        base = {"kind": "http", "method": "POST", "base": "http://fleet.internal", "path": ["x"], "timeout_seconds": 5}
        options = {
            "resolve": {"fleet.internal:80": f"127.0.0.1:{target.port}"},
            "secret": CANARIES.__getitem__,
            "deadline_seconds": 5.0,
            "idempotency_key": "exe-1/1",
        } | options
        return await run_template(base | (template or {}), CONTEXT, **options)

    return run


@pytest.fixture
def command():
    """Run a shell script through a command template, as the engine does."""

    async def run(script: str, template: dict | None = None, **options) -> Outcome:
        base = {"kind": "command", "argv": ["/bin/sh", "-c", script], "timeout_seconds": 10}
        options = {
            "resolve": {},
            "secret": CANARIES.__getitem__,
            "deadline_seconds": 10.0,
            "idempotency_key": "exe-1/1",
        } | options
        return await run_template(base | (template or {}), CONTEXT, **options)

    return run
