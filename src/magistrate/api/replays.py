"""Replays on demand: a bounded part of the record is asked again, beside the requests; what comes back is signed."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from pydantic import Field
from starlette.responses import Response

from magistrate.api import wire
from magistrate.api.visit import Endpoint, Visit
from magistrate.core.errors import Unavailable
from magistrate.core.values import Digest, Document, Moment, unix
from magistrate.engine import certifying
from magistrate.engine.replaying import Order, Replayed, replay

MOST: Final = 10_000  # questions of one request; for more there is the command line, which resumes
LONGEST: Final = 120.0  # seconds: there is one replay at a time, and a slow bundle would keep it from all others


class ReplayOrder(Document):
    """What is to be replayed; nothing said is the first questions on record, each of its own bundle."""

    since: Moment | None = None
    until: Moment | None = None
    bundle: Digest | None = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = MOST


async def run(visit: Visit) -> Response:
    """The certificate of a replay, whatever it found: it is the answer, not an error.

    It makes nothing that lasts: what is signed is sent and not kept, and the record is only read. So it takes no
    Idempotency-Key; asked again it asks again, and says what stands then.
    """
    await visit.hold("replay.run")
    said = wire.read(ReplayOrder, visit.raw)
    porch, house = visit.porch, visit.house
    if porch.folder is None:
        raise Unavailable("replay.folder", "this service does not say where its record lies", hint="magistrate replay")
    if porch.replaying:
        raise Unavailable("replay.busy", "another replay is running; there is one at a time")
    order = Order(
        since=unix(said.since) if said.since else 0,
        until=unix(said.until) if said.until else 0,
        limit=said.limit,
        candidate=await house.loaded(said.bundle) if said.bundle else None,
    )
    record = certifying.record_beside(house, porch.folder)
    porch.replaying = True
    try:
        async with asyncio.timeout(LONGEST):
            found: Replayed = await certifying.apart(lambda: replay(record, order))
    except TimeoutError:
        raise Unavailable(
            "replay.too_long", f"it took more than {LONGEST:.0f} seconds; ask for less", hint="magistrate replay"
        ) from None
    finally:
        porch.replaying = False
    return wire.reply(certifying.certified(found, house.keys.policy), 201)


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/replays",
        run,
        "Ask recorded questions again; the certificate says whether every answer was the same",
        ((201, "Certificate"),),
        body=("ReplayOrder",),
        empty=True,
    ),
)
