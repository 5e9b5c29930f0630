"""The door to HTTP targets: one request, one pinned address, no redirects, an answer of bounded size.

What the answer proves:

- 2xx: succeeded.
- any other status: failed; but 502 and 504 are a gateway that lost sight of the target: unknown.
- no connection (refused, no such name, TLS not accepted, connecting took too long): failed, nothing was sent.
- no whole answer on an open connection (reset, timeout, nonsense): unknown. It may have happened.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from magistrate.core.canonical import canonical, load
from magistrate.core.errors import Malformed, Unavailable
from magistrate.executors.outcome import Outcome
from magistrate.executors.secret import Purse, Secret
from magistrate.executors.template import HttpCall

MAX_ANSWER = 256 * 1024  # well under what an entry body may hold (contracts, section 1)
LOST = frozenset({408, 425})  # the target itself does not know what it took in
_NOT_IN_HEADERS = re.compile(r"[^\x20-\x7e]")


@dataclass
class _Heard:
    """What became of the request."""

    connected: bool = False
    status: int = 0
    body: bytes | None = None  # None: not read to its end, or too large
    fault: str = ""


class Http:
    """Sends HTTP calls. Cancelling a call closes its connection."""

    def __init__(
        self, *, resolve: Mapping[str, str], purse: Purse, deadline_seconds: float, idempotency_key: str
    ) -> None:
        self._resolve = resolve
        self._purse = purse
        self._deadline = deadline_seconds
        self._key = idempotency_key

    async def run(self, call: HttpCall) -> Outcome:
        """Do it. Facts are the JSON object of a 2xx answer, `{"status": …}` of any other."""
        heard = await self._send(call)
        outcome = _judged(heard)
        if outcome.outcome != "succeeded":
            return outcome
        facts, why = self._facts(heard)
        return Outcome("succeeded", facts or {}, f"HTTP {heard.status}{why}", sent=True)

    async def probe(self, call: HttpCall) -> Outcome:
        """Look. A probe that brings no JSON object home has seen nothing, which is a failure."""
        heard = await self._send(call)
        outcome = _judged(heard)
        if outcome.outcome != "succeeded":
            return outcome
        facts, why = self._facts(heard)
        if facts is None:
            return Outcome("failed", {"status": heard.status}, f"HTTP {heard.status}{why}", sent=True)
        return Outcome("succeeded", facts, f"HTTP {heard.status}", sent=True)

    def _facts(self, heard: _Heard) -> tuple[dict[str, Any] | None, str]:
        if heard.body is None:
            return None, f", an answer of more than {MAX_ANSWER} bytes, not read"
        if not heard.body:
            return None, ", an empty answer"
        try:
            value = load(heard.body, limit=MAX_ANSWER)
        except Malformed as fault:
            return None, f", an answer that is not JSON we read ({fault.code})"
        if not isinstance(value, dict):
            return None, ", an answer that is not a JSON object"
        return self._purse.redacted(value), ""

    async def _send(self, call: HttpCall) -> _Heard:
        """Send it once.

        Raises:
            Unavailable: a secret or an address cannot be had; nothing was sent.
        """
        heard = _Heard()
        headers = {name: _header_value(value, self._purse) for name, value in call.headers}
        headers |= {"Accept-Encoding": "identity", "Idempotency-Key": self._key, "User-Agent": "magistrate"}
        body = None
        if call.json is not None:
            body = canonical(self._purse.filled(call.json))
            headers["Content-Type"] = "application/json"
        try:
            async with asyncio.timeout(min(call.timeout_seconds, self._deadline)):
                await _exchange(call, headers, body, await _addresses(call, self._resolve), heard)
        except TimeoutError:
            heard.fault = "no answer in time" if heard.connected else "no connection in time"
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            heard.fault = type(fault).__name__  # its text may quote the request
        return heard


async def _exchange(
    call: HttpCall, headers: dict[str, str], body: bytes | None, addresses: list[ResolveResult], heard: _Heard
) -> None:
    """Send the request and read the answer into `heard`, as far as it comes."""
    trace = aiohttp.TraceConfig()

    async def connected(_: aiohttp.ClientSession, __: SimpleNamespace, ___: Any) -> None:
        heard.connected = True  # after this line something may have been sent

    trace.on_connection_create_end.append(connected)
    connector = aiohttp.TCPConnector(
        resolver=_Pinned(addresses),
        use_dns_cache=False,
        force_close=True,
        ssl=_trust() if call.scheme == "https" else True,
    )
    async with (
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            trace_configs=[trace],
        ) as session,
        session.request(call.method, _url(call), data=body, headers=headers, allow_redirects=False) as answer,
    ):
        status = answer.status
        held = bytearray()
        if status < 300:
            async for piece in answer.content.iter_chunked(16 * 1024):
                held += piece
                if len(held) > MAX_ANSWER:
                    break
        heard.body = bytes(held) if len(held) <= MAX_ANSWER else None
        heard.status = status  # last: a 2xx whose body broke off proves nothing


def _judged(heard: _Heard) -> Outcome:
    """The outcome the exchange proves; facts of a success are the caller's."""
    if not heard.connected:
        return Outcome("failed", {}, f"nothing was sent: {heard.fault}")
    if heard.fault or not heard.status:
        return Outcome("unknown", {}, f"sent, and no whole answer: {heard.fault}", sent=True)
    facts = {"status": heard.status}
    if heard.status in LOST or heard.status >= 500:  # a fault of the other side proves nothing about what it did
        return Outcome("unknown", facts, f"HTTP {heard.status}", sent=True)
    if not 200 <= heard.status < 300:
        return Outcome("failed", facts, f"HTTP {heard.status}", sent=True)
    return Outcome("succeeded", facts, sent=True)


def _header_value(value: str | Secret, purse: Purse) -> str:
    text = purse.value(value) if isinstance(value, Secret) else value
    if _NOT_IN_HEADERS.search(text):
        raise Unavailable("executor.secret", "the secret holds what no header can carry")
    return text


def _url(call: HttpCall) -> URL:
    host = f"[{call.host}]" if ":" in call.host else call.host
    query = f"?{call.query}" if call.query else ""
    return URL(f"{call.scheme}://{host}:{call.port}{call.path}{query}", encoded=True)


async def _addresses(call: HttpCall, resolve: Mapping[str, str]) -> list[ResolveResult]:
    """Where the call goes: the operator's mapping, or what the name means once, now."""
    mapped = resolve.get(f"{call.host}:{call.port}")
    if mapped is not None:
        ip, port = _endpoint(mapped)
        return [_result(call.host, ip, port)]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(call.host, call.port, type=socket.SOCK_STREAM)
    return [_result(call.host, str(sockaddr[0]), call.port) for *_, sockaddr in found]


def _endpoint(text: str) -> tuple[str, int]:
    """`ip:port`, `[ip]:port`."""
    ip, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(ip.strip("[]"))), int(port)
    except ValueError:
        raise Unavailable("executor.address", f"{text!r} is not the ip:port that a host:port leads to") from None


def _result(host: str, ip: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return ResolveResult(hostname=host, host=ip, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


class _Pinned(AbstractResolver):
    """Answers with addresses found before, whatever is asked."""

    def __init__(self, addresses: list[ResolveResult]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,  # noqa: ARG002 - decided before
        port: int = 0,  # noqa: ARG002
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002
    ) -> list[ResolveResult]:
        return self._addresses

    async def close(self) -> None:
        """Nothing to close."""


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """The system's certificate authorities; loading them takes longer than most calls."""
    return ssl.create_default_context()
