"""An OPA-shaped server on a Unix socket that misbehaves when told to.

`FakeOpa` answers every question alike: by `good` until `misbehave` names another way. `FakeSidecar` stands in for
`magistrate.policy.sidecar.Sidecar` where a test needs the whole engine to meet such an OPA.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from magistrate.core.values import Document
from magistrate.policy.answer import Answer
from magistrate.policy.line import Line

VERSION = "1.22.2"
REVISIONS = {"authz": "a1b2", "bundle.tar.gz": "7"}
RESULT: dict[str, Any] = {"outcome": "deny", "reasons": [{"code": "a.b", "title": "é ✓"}], "count": 3}
Way = Callable[["Exchange"], Awaitable[None]]


def provenance(**other: Any) -> dict[str, Any]:
    """What the expected OPA says of itself, changed in part."""
    bundles = {name: {"revision": revision} for name, revision in REVISIONS.items()}
    said = {"version": VERSION, "build_commit": "", "build_timestamp": "", "build_hostname": "", "bundles": bundles}
    return {**said, **other}


def envelope(**other: Any) -> bytes:
    """A body as OPA writes it, with fields changed or added; a field that is `...` is left out."""
    said = {"provenance": provenance(), "result": RESULT, **other}
    kept = {key: value for key, value in said.items() if value is not ...}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


class Exchange:
    """One request that was read, and the connection to answer it on."""

    def __init__(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.body = body
        self._writer = writer

    async def send(self, raw: bytes) -> None:
        """Send these bytes as they are."""
        self._writer.write(raw)
        await self._writer.drain()

    async def reply(self, body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> None:
        """Send a response whose Content-Length is true, unless another is given."""
        size = len(body) if length is None else length
        await self.send(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {size}\r\n\r\n".encode()
            + body
        )

    async def chunked(self, *pieces: bytes, ended: bool = True) -> None:
        """Send a response in chunks, with or without the last one."""
        await self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            await self.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if ended:
            await self.send(b"0\r\n\r\n")

    def close(self) -> None:
        """End the connection."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection off."""
        self._writer.transport.abort()


class FakeOpa:
    """Serves one socket. `requests` counts what was asked, `connections` how often someone connected."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.requests = 0
        self.connections = 0
        self.bodies: list[bytes] = []
        self._way: Way = good
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def misbehave(self, way: Way) -> None:
        """Answer in this way from now on."""
        self._way = way

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.address)

    async def stop(self) -> None:
        """Stop listening and break off every connection; the socket's file goes too."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None
        Path(self.address).unlink(missing_ok=True)

    async def leave_a_stale_socket(self) -> None:
        """Be gone as after SIGKILL: the file stays and nobody listens."""
        await self.stop()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.address)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                body = await reader.readexactly(length)
                self.requests += 1
                self.bodies.append(body)
                await self._way(Exchange(body, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # the client has gone, or the test has
        finally:
            self._writers.discard(writer)
            writer.close()


class FakeSidecar:
    """What the engine sees of a sidecar, before a `FakeOpa`."""

    def __init__(self, opa: FakeOpa, *, bundle: str = "sha256:" + "0" * 64, deadline: float = 1.0) -> None:
        self._line = Line(
            opa.address,
            "token",
            bundle=bundle,
            version=VERSION,
            revisions=REVISIONS,
            deadline=deadline,
            connections=16,
        )

    async def ask(
        self, document: str, question: bytes, model: type[Document] | None = None, *, apart: bool = False
    ) -> Answer[Any]:
        return await self._line.ask(document, question, model)

    async def stop(self) -> None:
        await self._line.close()


@asynccontextmanager
async def fake_opa(deadline: float = 1.0) -> AsyncIterator[tuple[FakeOpa, FakeSidecar]]:
    """A fake that listens and a sidecar that asks it."""
    with tempfile.TemporaryDirectory(prefix="fake-") as folder:
        opa = FakeOpa(str(Path(folder) / "s"))
        sidecar = FakeSidecar(opa, deadline=deadline)
        await opa.start()
        try:
            yield opa, sidecar
        finally:
            await sidecar.stop()
            await opa.stop()


# -- ways to answer --------------------------------------------------------------------------------------------------


async def good(to: Exchange) -> None:
    """As the real one."""
    await to.reply(envelope())


def saying(body: bytes, *, status: str = "200 OK", headers: str = "") -> Way:
    """A response that is whole, whatever it says."""

    async def way(to: Exchange) -> None:
        await to.reply(body, status=status, headers=headers)

    return way


def result(raw: bytes) -> Way:
    """The right envelope around these bytes."""
    return saying(envelope(result=0).replace(b'"result":0', b'"result":' + raw))


def failing(*errors: dict[str, Any]) -> Way:
    """OPA's 500."""
    said = {"code": "internal_error", "message": "error(s) occurred while evaluating query", "errors": errors}
    return saying(json.dumps(said).encode(), status="500 Internal Server Error")


async def hang(to: Exchange) -> None:
    """Take the question and say nothing."""
    await asyncio.sleep(60)


async def drip(to: Exchange) -> None:
    """One byte a tenth of a second: never idle, never done."""
    await to.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n")
    while True:
        await to.send(b"{")
        await asyncio.sleep(0.1)


async def drip_headers(to: Exchange) -> None:
    """The same, before there is a body."""
    await to.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        await to.send(b"a")
        await asyncio.sleep(0.1)


async def close(to: Exchange) -> None:
    """Close without a word."""
    to.close()
    raise ConnectionError


async def reset(to: Exchange) -> None:
    """Break off without a word."""
    to.reset()
    raise ConnectionError


async def cut_head(to: Exchange) -> None:
    """Close within the status line."""
    await to.send(b"HTTP/1.1 200")
    await close(to)


async def cut_headers(to: Exchange) -> None:
    """Close within the headers."""
    await to.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3")
    await close(to)


async def cut_body(to: Exchange) -> None:
    """Close in the middle of the body."""
    body = envelope()
    await to.reply(body[: len(body) // 2], length=len(body))
    await close(to)


async def reset_body(to: Exchange) -> None:
    """Break off in the middle of the body."""
    body = envelope()
    await to.reply(body[: len(body) // 2], length=len(body))
    await reset(to)


async def cut_chunks(to: Exchange) -> None:
    """A whole answer, without the chunk that ends it."""
    await to.chunked(envelope(), ended=False)
    await close(to)


async def until_closed(to: Exchange) -> None:
    """A body that only the end of the connection ends: half an answer would look whole."""
    await to.send(b"HTTP/1.1 200 OK\r\n\r\n" + envelope()[:40])
    await close(to)


async def huge(to: Exchange) -> None:
    """50 MB, announced."""
    await to.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
    for _ in range(50):
        await to.send(b" " * 1_000_000)


async def huge_chunks(to: Exchange) -> None:
    """50 MB, not announced."""
    await to.chunked(*[b" " * 1_000_000 for _ in range(50)])


async def gzip_bomb(to: Exchange) -> None:
    """Few bytes that would become many."""
    await to.reply(gzip.compress(b" " * 4_000_000), headers="Content-Encoding: gzip\r\n")


async def garbage(to: Exchange) -> None:
    """Not HTTP at all."""
    await to.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    await close(to)
