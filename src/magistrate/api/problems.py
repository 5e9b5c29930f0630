"""Errors on the wire: RFC 9457 problem documents, one table from the error tree to HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.responses import Response

from magistrate.core.errors import (
    Absent,
    Broken,
    Conflict,
    Forged,
    MagistrateError,
    Malformed,
    Refused,
    Unauthenticated,
    Unavailable,
)
from magistrate.core.reasons import links

MEDIA_TYPE: Final = "application/problem+json"
BY_KIND: Final[tuple[tuple[type[MagistrateError], int], ...]] = (
    (Malformed, 400),
    (Unauthenticated, 401),
    (Refused, 403),
    (Absent, 404),
    (Conflict, 409),
    (Unavailable, 503),
    (Forged, 400),  # what was presented does not stand
    (Broken, 500),  # what we hold does not
)
# The few codes that say more than their kind does.
BY_CODE: Final = {
    "input.too_large": 413,
    "input.slow": 408,
    "input.host": 421,
    "warrant.not_on_record": 400,  # Broken, but about presented bytes
}
CLOSING: Final = frozenset({408, 413})  # the rest of such a request is not read
RETRY_AFTER: Final = {
    "facts.contended": 1,
    "events.full": 5,
    "gate.disarmed": 5,
    "setup.required": 5,
    "clock.jumped": 30,
    "replay.busy": 10,
}
RETRY_SECONDS: Final = 2
CHALLENGE: Final = 'Bearer realm="magistrate"'


def status_of(error: MagistrateError) -> int:
    """The HTTP status of an error; never 422."""
    if error.code in BY_CODE:
        return BY_CODE[error.code]
    return next((status for kind, status in BY_KIND if isinstance(error, kind)), 500)


def problem(error: MagistrateError) -> Response:
    """The problem document of an error."""
    status = status_of(error)
    said: dict[str, Any] = _said(status, error.code, error.detail, error.hint)
    if error.pointer:
        said["pointer"] = error.pointer
    if isinstance(error, Refused):
        said["reasons"] = [dict(reason) for reason in error.reasons]
        said["links"] = links(error.reasons)
    headers: dict[str, str] = {}
    if status == 401:
        headers["www-authenticate"] = CHALLENGE
    if status == 503:
        headers["retry-after"] = str(RETRY_AFTER.get(error.code, RETRY_SECONDS))
    if status in CLOSING:
        headers["connection"] = "close"
    return _response(status, said, headers)


def plain(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """The problem document of something that is no error of ours: an unknown route, a method, a fault."""
    return _response(status, {**_said(status, code, detail, ""), **more}, dict(headers or {}))


def _said(status: int, code: str, detail: str, hint: str) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    return {
        "type": f"urn:magistrate:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "hint": hint,
    }


def _response(status: int, said: Mapping[str, Any], headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(said, default=dict), status, headers, MEDIA_TYPE)
