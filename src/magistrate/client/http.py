"""Speaking to a service: one credential, one address, errors of the same tree that the service raised."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2
import orjson

from magistrate.core.canonical import canonical
from magistrate.core.errors import (
    Absent,
    Broken,
    Conflict,
    MagistrateError,
    Malformed,
    Refused,
    Unauthenticated,
    Unavailable,
)
from magistrate.core.signature import Signer
from magistrate.keys.requests import sign_request

SECONDS = 30.0
BY_STATUS: dict[int, type[MagistrateError]] = {
    400: Malformed,
    401: Unauthenticated,
    403: Refused,
    404: Absent,
    409: Conflict,
    413: Malformed,
    503: Unavailable,
}


@dataclass(frozen=True)
class Credential:
    """An API key, or a key that signs each request."""

    api_key: str = ""
    signer: Signer | None = None

    def headers(self, method: str, url: str, body: bytes) -> dict[str, str]:
        """What proves, for this one request, who makes it."""
        if self.signer is not None:
            nonce = secrets.token_urlsafe(24)
            return sign_request(method, url, body, self.signer, int(time.time()), nonce)
        return {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}


class Client:
    """A service at `url`, spoken to by one person or program.

    Every method raises the error that the service answered with (`core.errors`), or `Unavailable` with code
    `service.unreachable` where nothing answers.
    """

    def __init__(self, url: str, credential: Credential | None = None, *, seconds: float = SECONDS) -> None:
        self.url = url.rstrip("/")
        self._credential = credential or Credential()
        self._http = httpx2.Client(timeout=seconds, follow_redirects=False, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let its connections go."""
        self._http.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON at `path`."""
        return self._json(self._send("GET", path, b"", query=query))

    def text(self, path: str) -> str:
        """The text at `path`."""
        return self._send("GET", path, b"").text

    def raw(self, path: str) -> bytes:
        """The bytes at `path`."""
        return self._send("GET", path, b"").content

    def post(self, path: str, said: Any, *, key: str = "") -> Any:
        """The JSON answered to a POST; `key` makes it safe to send again."""
        return self._json(self._send("POST", path, canonical(said), key=key))

    def all(self, path: str, **query: str | int | None) -> Iterator[Any]:
        """Every item of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, cursor=cursor, **query)
            yield from page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                return

    def _send(
        self, method: str, path: str, body: bytes, *, key: str = "", query: Mapping[str, str | int | None] | None = None
    ) -> httpx2.Response:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        request = self._http.build_request(method, self.url + path, params=given or None, content=body)
        headers = self._credential.headers(method, str(request.url), body)
        if method == "POST":
            headers["content-type"] = "application/json"
            headers["idempotency-key"] = key or secrets.token_urlsafe(24)
        request.headers.update(headers)
        try:
            answer = self._http.send(request)
        except httpx2.HTTPError as error:
            raise Unavailable(
                "service.unreachable", f"no service answers at {self.url}: {error}", hint="magistrate up --demo"
            ) from None
        if answer.status_code >= 400:
            raise _error(answer)
        return answer

    @staticmethod
    def _json(answer: httpx2.Response) -> Any:
        return orjson.loads(answer.content)


def _error(answer: httpx2.Response) -> MagistrateError:
    """The error a problem document (RFC 9457) tells of."""
    try:
        said = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    kind = BY_STATUS.get(answer.status_code, Broken)
    code = str(said.get("code", f"http.{answer.status_code}"))
    detail = str(said.get("detail", answer.reason_phrase))
    more: dict[str, Any] = {"hint": str(said.get("hint", "")), "pointer": str(said.get("pointer", ""))}
    if kind is Refused:
        more["reasons"] = said.get("reasons", ())
    return kind(code, detail, **more)


def wait_for(look: Callable[[], Any], *, seconds: float, every: float = 0.1) -> Any:
    """The first true value `look` returns.

    Raises:
        Unavailable: none within `seconds`.
    """
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= until:
            raise Unavailable("wait.over", f"nothing came within {seconds:g} s")
        time.sleep(every)
