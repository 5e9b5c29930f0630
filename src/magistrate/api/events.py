"""Events: the ledger's entries as they come, each to those who may see it (server-sent events, id = ledger index)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import Response, StreamingResponse

from magistrate.api.visit import Endpoint, Visit
from magistrate.api.wire import dumps, query
from magistrate.core.entry import Entry
from magistrate.core.errors import MagistrateError, Malformed, Unavailable
from magistrate.core.values import moment

LOOK: Final = 0.1  # seconds between looks at the ledger's size, which is a number in memory
BEAT: Final = 15.0  # seconds after which a comment shows that the stream lives, and the caller is asked for again
BATCH: Final = 100
STREAMS: Final = 64
_ID: Final = re.compile(r"0|[1-9][0-9]{0,14}")


async def events(visit: Visit) -> Response:
    """From the next entry on, or from the one after `Last-Event-ID` (or `after`, for a first connection)."""
    await visit.hold("event.stream")
    start = _start(visit)
    if visit.porch.streams >= STREAMS:
        raise Unavailable("events.full", f"{STREAMS} event streams are open already")
    return StreamingResponse(_stream(visit, start), 200, {"x-accel-buffering": "no"}, "text/event-stream")


def _start(visit: Visit) -> int:
    given = query(visit.request, ("after",))
    last = visit.fields.get(b"last-event-id")
    said = last.decode("latin-1") if last is not None else given.get("after")
    if said is None:
        return visit.house.store.size
    if _ID.fullmatch(said) is None:
        raise Malformed("input.event_id", "an event's id is a ledger index", pointer="/after")
    return int(said) + 1


async def _stream(visit: Visit, start: int) -> AsyncIterator[bytes]:
    porch, store = visit.porch, visit.house.store
    loop = asyncio.get_running_loop()
    porch.streams += 1
    try:
        yield b": magistrate\n\n"
        beat = loop.time() + BEAT
        while not porch.stopping.is_set():
            if start < store.size:
                entries = store.entries(start, BATCH)
                said = b"".join(_event(entry) for entry in entries if _may_see(visit, entry))
                start = entries[-1].index + 1
                if said:
                    yield said
                await asyncio.sleep(0)
            else:
                await _pause(porch.stopping)
            if loop.time() >= beat:
                if not await _still(visit):
                    return
                yield b": \n\n"
                beat = loop.time() + BEAT
    finally:
        porch.streams -= 1


async def _pause(stopping: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK):
            await stopping.wait()
    except TimeoutError:
        return


async def _still(visit: Visit) -> bool:
    """Whether the caller may still listen: a key may have ended since, or a person been suspended."""
    try:
        visit.porch.auth.again(visit.principal, visit.shown)
        await visit.hold("event.stream")
    except MagistrateError:
        return False
    return True


def _may_see(visit: Visit, entry: Entry) -> bool:
    if visit.wide:
        return True
    chain = visit.house.store.chain_of(entry.index)
    row = visit.house.store.row("intents", chain) if chain else None
    return row is not None and row.owner == visit.principal.id


def _event(entry: Entry) -> bytes:
    said = {
        "index": entry.index,
        "leaf": entry.leaf_digest,
        "kind": entry.kind,
        "subject": entry.subject,
        "state": entry.state,
        "at": moment(entry.at),
    }
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (entry.index, entry.kind.encode(), dumps(said))


ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/events",
        events,
        "The ledger's entries as they come",
        ((200, ""),),
        query=("after",),
        headers=("Last-Event-ID",),
        media="text/event-stream",
    ),
)
