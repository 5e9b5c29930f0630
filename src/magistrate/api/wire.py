"""Bytes in and out: bodies with a cap, header fields once, queries without surprises, JSON answers."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from magistrate.core import canonical
from magistrate.core.errors import Malformed
from magistrate.core.values import Document, parse

D = TypeVar("D", bound="Document")

BODY_SECONDS: Final = 10.0  # a body that takes longer is not waited for
# Each of these at most once: two of them are two readings of one request.
SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"if-none-match",
        b"last-event-id",
        b"x-request-id",
    }
)
_JSON: Final = re.compile(r'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)
_LIMIT: Final = re.compile(r"[1-9][0-9]{0,2}")
MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50


def fields(request: Request) -> dict[bytes, bytes]:
    """The header fields by lower-case name; of those that may repeat, the last.

    Raises:
        Malformed: `input.header`: one that may stand once stands twice.
    """
    found: dict[bytes, bytes] = {}
    for name, value in request.scope["headers"]:
        if name in found and name in SINGLE:
            raise Malformed("input.header", f"the header field {name.decode('latin-1')} was sent twice")
        found[name] = value
    return found


async def body(request: Request, found: Mapping[bytes, bytes], most: int = canonical.MAX_INPUT) -> bytes:
    """The raw body, at most `most` bytes of it, within ten seconds.

    Raises:
        Malformed: `input.too_large`, before the rest is read; `input.slow`; `input.encoding` when it is compressed.
    """
    length = found.get(b"content-length", b"")
    if not length and b"transfer-encoding" not in found:
        return b""
    if found.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Malformed("input.encoding", "a body is sent as it is, without a content encoding")
    if length.isdigit() and int(length[:20]) > most:
        _too_large(most)
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > most:
                    _too_large(most)
    except TimeoutError:
        raise Malformed("input.slow", f"the body did not arrive within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise Malformed("input.cut", "the connection was closed before the body had arrived") from None
    return bytes(raw)


def _too_large(most: int) -> None:
    raise Malformed("input.too_large", f"a body holds at most {most} bytes")


def hold_json(found: Mapping[bytes, bytes]) -> None:
    """Return if the body says that it is JSON, and nothing else.

    Raises:
        Malformed: `input.content_type`.
    """
    said = found.get(b"content-type", b"").decode("latin-1").strip()
    if _JSON.fullmatch(said) is None:
        raise Malformed("input.content_type", "the body's content type is application/json")


def read(model: type[D], raw: bytes, most: int = canonical.MAX_INPUT) -> D:
    """The document a body holds; an empty body is an empty object.

    Raises:
        Malformed: it does not parse strictly, or has another shape.
    """
    return parse(model, canonical.canonical(canonical.load_object(raw or b"{}", limit=most)))


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(dumps(value), status, headers, "application/json")


def dumps(value: Any) -> bytes:
    """JSON bytes of an answer; read-only views are shown as what they are."""
    return orjson.dumps(value, default=_shown)


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not shown")


def query(request: Request, allowed: Iterable[str]) -> dict[str, str]:
    """The query's fields, each known and given once.

    Raises:
        Malformed: `input.query`.
    """
    if not request.scope["query_string"]:
        return {}
    known, found = frozenset(allowed), {}
    for name, value in request.query_params.multi_items():
        if name not in known or name in found:
            what = "is given twice" if name in found else "is not a field of this query"
            raise Malformed("input.query", f"{name!r} {what}; known here: {', '.join(sorted(known)) or 'none'}")
        found[name] = value
    return found


def limit_of(given: Mapping[str, str]) -> int:
    """How many items the caller wants.

    Raises:
        Malformed: not 1 to 200.
    """
    said = given.get("limit", str(DEFAULT_LIMIT))
    if _LIMIT.fullmatch(said) is None or int(said) > MAX_LIMIT:
        raise Malformed("input.query", f"limit is 1 to {MAX_LIMIT}", pointer="/limit")
    return int(said)


def cursor_of(given: Mapping[str, str]) -> str | None:
    """After which id to go on; None at the beginning.

    Raises:
        Malformed: not a cursor of ours.
    """
    said = given.get("cursor")
    if said is None:
        return None
    try:
        id_ = base64.b64decode(said + "=" * (-len(said) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        id_ = ""
    if not id_ or cursor_for(id_) != said:
        raise Malformed("input.query", "the cursor is not one that a list gave", pointer="/cursor")
    return id_


def cursor_for(id_: str) -> str:
    """The cursor that goes on after this id."""
    return base64.urlsafe_b64encode(id_.encode()).rstrip(b"=").decode()
