"""One effect for one key: a request sent again is answered again, not done again.

The answer is kept in the transaction of its effect (scope: principal and route). Within this process, requests under
one key queue; between processes the store's primary key decides.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.responses import Response

from magistrate.api.visit import Visit
from magistrate.api.wire import dumps
from magistrate.core import canonical
from magistrate.core.errors import Conflict, Malformed
from magistrate.engine.installation import Keep
from magistrate.store import Remembered, Txn

_KEY: Final = re.compile(r"[ -~]{8,128}")
Work = Callable[[Keep | None], Awaitable[Any]]


def key_of(visit: Visit) -> str:
    """The request's idempotency key; "" when it has none.

    Raises:
        Malformed: `idempotency.key`.
    """
    said = visit.fields.get(b"idempotency-key")
    if said is None:
        return ""
    key = said.decode("latin-1")
    if _KEY.fullmatch(key) is None:
        raise Malformed("idempotency.key", "an Idempotency-Key is 8 to 128 printable ASCII characters")
    return key


async def once(
    visit: Visit,
    work: Work,
    shape: Callable[[Any], Any],
    *,
    status: int = 201,
    location: Callable[[Any], str] | None = None,
) -> Response:
    """Do `work` and answer what it returns, in `shape`; or, under a key that was used, give that answer again.

    Under a key the answer is the one that was kept: what stood at the commit.

    Raises:
        Conflict: `idempotency.mismatch`: the key was used for another request.
        Whatever `work` raises; no error is ever kept.
    """
    key = key_of(visit)
    if not key:
        answer = shape(await work(None))
        return _made(dumps(answer), status, location(answer) if location else "")
    who = visit.principal
    scope = f"{who.type}/{who.id} {visit.method} {visit.route}"
    digest = canonical.digest(visit.path.encode() + b"\n" + visit.raw)
    async with visit.house.turn(f"idempotency/{scope}/{key}"):
        kept = visit.house.store.answer(scope, key)
        if kept is not None:
            return _again(kept, digest)
        told: list[tuple[bytes, str]] = []

        def keep(txn: Txn, object_id: str, made: Any) -> None:
            answer = shape(made)
            raw = dumps(answer)
            txn.remember(scope, key, digest, status, raw, object_id)
            told.append((raw, location(answer) if location else ""))

        try:
            done = await work(keep)
        except Conflict as conflict:
            kept = visit.house.store.answer(scope, key) if conflict.code == "idempotency.repeated" else None
            if kept is None:
                raise
            return _again(kept, digest)
        if not told:  # done without keeping anything: shown, and done anew if asked anew
            return _made(dumps(shape(done)), status, "")
        return _made(told[-1][0], status, told[-1][1])


def _made(raw: bytes, status: int, location: str) -> Response:
    return Response(raw, status, {"location": location} if location else None, "application/json")


def _again(kept: Remembered, digest: str) -> Response:
    if kept.digest != digest:
        raise Conflict(
            "idempotency.mismatch", "this Idempotency-Key was used for another request: this one needs a fresh key"
        )
    return Response(kept.body, kept.status, {"idempotency-replayed": "true"}, "application/json")
