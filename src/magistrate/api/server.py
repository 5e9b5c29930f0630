"""Serving: uvicorn on one socket that we bound, with deadlines for heads and bodies, and an orderly end.

The service binds to loopback and refuses another address without TLS or a named proxy (contracts section 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from magistrate.api import problems
from magistrate.core.errors import Refused, Unavailable

HEAD_SECONDS: Final = 10.0  # a request's head that takes longer is not waited for
HEAD_BYTES: Final = 32 * 1024
CONNECTIONS: Final = 1024
KEEP_ALIVE: Final = 30  # seconds an idle connection stays
STOP_SECONDS: Final = 10.0
DRAIN_SECONDS: Final = 3  # of them, for answers that are under way

log = logging.getLogger("magistrate.api")


@dataclass(frozen=True)
class Address:
    """Where to listen: a host and port (0: any free one), or a Unix socket; and what makes more than loopback safe."""

    host: str = "127.0.0.1"
    port: int = 8420
    unix: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    proxy: str = ""  # the name under which a proxy of yours, which ends TLS, is known

    def hold_safe(self) -> None:
        """Return if this may be listened on.

        Raises:
            Refused: `serve.address`: not loopback, with neither TLS nor a named proxy.
        """
        if self.unix is not None or self.proxy or (self.certificate and self.private_key) or _loopback(self.host):
            return
        raise Refused(
            "serve.address",
            f"{self.host} is not a loopback address: without TLS, or the name of a proxy that ends it, credentials"
            " would cross the network in the clear",
            hint="magistrate up --host 127.0.0.1",
        )

    def bind(self) -> socket.socket:
        """The listening socket.

        Raises:
            Refused: see `hold_safe`.
            Unavailable: the address is taken, or not one of this machine's.
        """
        self.hold_safe()
        try:
            return self._bound()
        except OSError as error:
            where = str(self.unix) if self.unix else f"{self.host}:{self.port}"
            raise Unavailable(
                "serve.address", f"cannot listen on {where}: {error}", hint="magistrate up --port 0"
            ) from None

    def _bound(self) -> socket.socket:
        made = socket.socket(self._family(), socket.SOCK_STREAM)
        try:
            if self.unix is None:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((self.host, self.port))
            else:
                self.free()
                before = os.umask(0o177)
                try:
                    made.bind(str(self.unix))
                finally:
                    os.umask(before)
        except BaseException:
            made.close()
            raise
        return made

    def _family(self) -> socket.AddressFamily:
        if self.unix is not None:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def free(self) -> None:
        """Take a Unix socket's name away again."""
        if self.unix is not None:
            self.unix.unlink(missing_ok=True)

    def url(self, bound: socket.socket) -> str:
        """The address as a client writes it."""
        if self.unix is not None:
            return f"http+unix://{self.unix}"
        scheme = "https" if self.certificate else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{bound.getsockname()[1]}"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(
    app: FastAPI,
    address: Address,
    *,
    ready: Callable[[str], None],
    stop: Callable[[], Awaitable[None]],
    seconds: float = STOP_SECONDS,
) -> None:
    """Serve until SIGINT or SIGTERM, then stop accepting, finish what is in flight, and await `stop`.

    `ready` is told the address, real port and all, once connections are accepted; if it raises, the service ends. All
    of the end takes at most `seconds`; a second signal does not wait for what is in flight.

    Raises:
        Refused, Unavailable: see `Address.bind`.
        Whatever `ready` raises.
    """
    bound = address.bind()
    loop = asyncio.get_running_loop()
    server = _Server(_config(app, address), app.state.porch.stopping)
    with _signals(server):
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            if await server.up(serving):
                ready(address.url(bound))
            await asyncio.wait({serving})
        finally:
            server.ask_to_end()
            await asyncio.wait({serving})
            for connection in tuple(server.server_state.connections):
                connection.transport.abort()
            app.state.porch.leave()
            await _stopped(stop, max(1.0, seconds - (loop.time() - server.asked_at)))
            address.free()
        serving.result()


async def _stopped(stop: Callable[[], Awaitable[None]], left: float) -> None:
    try:
        async with asyncio.timeout(left):
            await stop()
    except TimeoutError:
        log.warning("stopping took longer than %.0f s: what was not finished is settled at the next start", left)


def _config(app: FastAPI, address: Address) -> uvicorn.Config:
    certificate, key = address.certificate, address.private_key
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # a stranger's broken request is a line in nobody's log
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_certfile=str(certificate) if certificate else None,
        ssl_keyfile=str(key) if key else None,
    )


@contextlib.contextmanager
def _signals(server: _Server) -> Iterator[None]:
    """SIGINT and SIGTERM ask the server to end, where this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.signalled)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class _Server(uvicorn.Server):
    """A server whose end we decide, and whose streams end with it."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self.asked_at = 0.0
        self._stopping = stopping
        self._up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.set()

    async def up(self, serving: asyncio.Task[None]) -> bool:
        """Whether it came to accept connections."""
        up = asyncio.ensure_future(self._up.wait())
        await asyncio.wait({up, serving}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        return self._up.is_set()

    def signalled(self) -> None:
        """Begin the end; the second time, do not wait for what is in flight."""
        self.force_exit = self.should_exit
        self.ask_to_end()

    def ask_to_end(self) -> None:
        """Begin the end, and note when."""
        self.should_exit = True
        self.asked_at = self.asked_at or asyncio.get_running_loop().time()
        self._stopping.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are ours

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 with an end to patience: a head has ten seconds and 32 KiB."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._head += len(data)
        if self._head > HEAD_BYTES:
            self._refuse(431, "input.head", f"a request's head holds at most {HEAD_BYTES} bytes")
        elif self._patience is None:
            self._wait()

    def on_message_begin(self) -> None:
        self._in_head, self._head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._calm()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            raise ValueError("the head is too large")  # answered as a request that does not parse
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "input.http", msg)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """A problem document for what never became a request, and the end of the connection."""
        answer = problems.plain(status, code, detail, {"connection": "close"})
        lines = [f"HTTP/1.1 {status} Refused".encode(), *(b"%s: %s" % field for field in answer.raw_headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(answer.body))
        self.transport.close()

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
