"""One connection pool to one sidecar: ask, with a hard deadline and a cap, and read the body of every status."""

from __future__ import annotations

import asyncio
import io
from typing import Final

import aiohttp
from opa_client.opa_async import AsyncOpaClient
from yarl import URL

from magistrate.core.errors import NoAnswer
from magistrate.policy.answer import MAX_ANSWER

DOCUMENTS: Final = ("decision", "approval", "admission", "verification", "access")
MAX_RESPONSE: Final = MAX_ANSWER + 4096  # the answer and OPA's envelope
_QUERY: Final = "strict-builtin-errors=true&provenance=true"
_URLS: Final = {name: URL(f"http://opa/v1/data/magistrate/{name}?{_QUERY}", encoded=True) for name in DOCUMENTS}
REPLAY: Final = "replay"  # many questions in one query; only a replay's own OPA has this path (`policy.batches`)
_URLS[REPLAY] = URL(f"http://opa/v1/data/magistrate_replay/answers?{_QUERY}", encoded=True)
_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_ONE_WRITE: Final = 1 << 20  # aiohttp warns when more is written at once
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=None)  # `ask` has one deadline over all of it


class Client(AsyncOpaClient):  # type: ignore[misc]  # the library carries no types
    """OPA's async client over a Unix socket, without its retries, which would evaluate an error three times."""

    def __init__(self, address: str, token: str, *, connections: int) -> None:
        super().__init__(host="opa", token=token, retries=0)
        self._address = address
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def _init_session(self) -> None:
        self._connector = aiohttp.UnixConnector(self._address, limit=self._connections, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            headers={**self.headers, **_HEADERS},
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept"),
            auto_decompress=False,
            timeout=_NO_TIMEOUT,
        )

    async def ask(self, document: str, question: bytes, deadline: float) -> tuple[int, bytes]:
        """Return the status and the body OPA sent; `question` is JSON and is sent as it is.

        Raises:
            NoAnswer: refused, stale, late, cut short, too large.
        """
        if self._session is None:
            await self._init_session()
        body = b'{"input":' + question + b"}"
        try:
            async with asyncio.timeout(deadline):
                try:
                    return await self._post(_URLS[document], body)
                except _ClosedFirst:  # an idle connection of an OPA that has gone since: nothing was answered on it
                    return await self._post(_URLS[document], body)
        except TimeoutError:
            raise NoAnswer("opa.timeout", f"OPA did not answer within {deadline:g} s") from None
        except _ClosedFirst as error:
            raise NoAnswer("opa.cut_short", "OPA closed the connection without an answer") from error
        except aiohttp.ClientPayloadError as error:
            raise NoAnswer("opa.cut_short", "OPA's response ends before it is whole") from error
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer("opa.not_http", f"what answers is no HTTP server: {type(error).__name__}") from error

    async def _post(self, url: URL, body: bytes) -> tuple[int, bytes]:
        assert self._session is not None  # noqa: S101
        try:
            sent = body if len(body) <= _ONE_WRITE else io.BytesIO(body)
            response = await self._session.post(url, data=sent, allow_redirects=False)
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ServerDisconnectedError as error:
            if isinstance(error.message, str):
                raise _ClosedFirst from error
            raise NoAnswer("opa.cut_short", "OPA's response ends within its headers") from error
        except (aiohttp.ClientOSError, ConnectionError) as error:
            raise _ClosedFirst from error
        try:
            return response.status, await _bounded(response)
        except BaseException:
            response.close()  # never back into the pool
            raise


class _ClosedFirst(Exception):
    """The connection was closed before any byte of a response."""


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, refused as soon as it is known to be larger than an answer may be."""
    length = response.content_length
    if length is not None and length <= MAX_RESPONSE:
        return await response.read()
    held = bytearray()
    while length is None and len(held) <= MAX_RESPONSE:
        piece = await response.content.readany()
        if not piece:
            return bytes(held)
        held += piece
    raise NoAnswer("opa.too_large", f"OPA's response is larger than {MAX_RESPONSE} bytes")


def _unreachable(error: aiohttp.ClientConnectorError) -> NoAnswer:
    if isinstance(error.os_error, ConnectionRefusedError):
        return NoAnswer("opa.stale_socket", "nobody listens on OPA's socket; it is being started again")
    return NoAnswer("opa.refused", "OPA cannot be reached; it is being started again")
