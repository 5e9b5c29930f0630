"""Deadlines: what is due by the clock is done at each tick. The clock is the installation's, so tests own time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from magistrate.core.errors import Conflict, MagistrateError
from magistrate.engine import gateway, halting, router, succession
from magistrate.engine.installation import Installation, every, tell_once
from magistrate.engine.verification import News, move, rollback_move
from magistrate.store.rows import Row

TICK = 0.2  # seconds between looks
UNSETTLED = 10  # looks between two at what an activation left to be done: a question that has no answer is not urgent
IDLE = 25  # looks between two at the OPAs that are no longer needed
BATCH = 200
DAY = 86_400
ENDED = ("succeeded", "failed", "halted", "unknown", "reconciled")


async def keep(house: Installation) -> None:
    """Look every `TICK` seconds, for as long as the service runs."""
    looks = 0
    while True:
        try:
            await tick(house)
            if looks % UNSETTLED == 0:
                succession.begin(house)
            if looks % IDLE == 0:
                await succession.let_go(house)
            looks += 1
        except MagistrateError:
            await asyncio.sleep(1.0)  # the store or OPA is away: what is due stays due
        await asyncio.sleep(TICK)


async def tick(house: Installation) -> None:
    """Do all that is due now: waiting intents and warrants expire, silent holders are noticed, reports are missed."""
    now = int(house.clock.exact())
    for row in await house.store.rows("intents", state="waiting", due_before=now, limit=BATCH):
        await _tried(gateway.expire(house, row.id))
    for state in ("live", "spent"):
        for row in await house.store.rows("warrants", state=state, due_before=now, limit=BATCH):
            await _tried(halting.expire_warrant(house, row.id))
    heard = set()  # a question with no answer is due and unjudged at once: it is asked once a look
    async for row in every(house, "executions", due_before=now):
        if house.unjudged.may(row.id, house.clock.exact()):
            heard.add(row.id)
            await _tried(_over(house, row))
    async for row in every(house, "executions", state="started"):
        await _tried(_listen(house, row))
    await _forget_answers(house, now)
    for execution_id in house.unjudged:
        if execution_id not in heard and house.unjudged.may(execution_id, house.clock.exact()):
            await _tried(_quietly(house, execution_id, News()))


async def _tried(work: Coroutine[Any, Any, None]) -> None:
    """One thing that is due: what cannot be done now stays due, and nothing else waits for it."""
    try:
        await work
    except MagistrateError:
        return
    except Exception as fault:  # noqa: BLE001 - a fault in one thing must not end the keeper of all others
        tell_once(f"{getattr(work, '__qualname__', work)}: {fault!r}")


async def _over(house: Installation, row: Row) -> None:
    """`report_by` has passed: what has not ended is unknown, and the verdict becomes final."""
    if row.id in house.running:
        return
    moves = (move("unknown", house.now(), because="report_by", settle="commit"),)
    open_ = row.state in ("started", "halting")
    await _quietly(house, row.id, News(moves=moves if open_ else (), final=True))


async def _listen(house: Installation, row: Row) -> None:
    """A holder that missed its heartbeats is put on record, each further one counted; policy says what follows."""
    warrant = house.store.row("warrants", row.data["warrant_id"])
    apart = warrant.data["warrant"]["heartbeat_seconds"] if warrant else 0
    if row.data["audience"] != "holder" or not apart:
        return
    heard = house.beats.get(row.id, float(row.data["started"]))
    missed = int((house.clock.exact() - heard) // apart)
    if missed > row.data["missed_heartbeats"]:
        said = {
            "object": "execution",
            "event": "missed_heartbeats",
            "state": "started",
            "because": "silence",
            "count": missed,
            "at": house.now(),
        }
        await _quietly(house, row.id, News(moves=(said,)))


async def _forget_answers(house: Installation, now: int) -> None:
    """Answers kept for idempotency go 24 hours after they were given, once what they were about has ended."""
    old = house.store.answers_before(now - DAY, BATCH)
    over = [answer for answer in old if not _goes_on(house, answer.object_id)]
    if over:
        await house.store.forget(over)


def _goes_on(house: Installation, id_: str) -> bool:
    table = {"int": "intents", "exe": "executions"}.get(id_.partition("-")[0])
    row = house.store.row(table, id_) if table else None
    return row is not None and row.state in ("proposed", "waiting", "started", "halting")


async def _quietly(house: Installation, execution_id: str, news: News) -> None:
    """Hear it; that the execution has moved on in the meantime is no fault."""
    try:
        await router.hear(house, execution_id, news)
    except Conflict:
        return


async def after_crash(house: Installation) -> None:
    """At start: router-run executions without an end are unknown; holder-run ones go on, their heartbeats counted anew.

    An execution that ended without a verdict, or of which something new was not judged, is asked about again; a
    rollback under way is unknown, and one that was decided and not begun is begun.
    """
    async for row in every(house, "executions", state=("started", "halting")):
        if row.data["audience"] == "router":
            unknown = move("unknown", house.now(), because="crash", settle="commit")
            await _quietly(house, row.id, News(moves=(unknown,)))
        else:
            house.beats[row.id] = house.clock.exact()
    async for row in every(house, "executions", state=ENDED):
        if row.data["verdict"] == "pending":
            house.unjudged.add(row.id)
        if row.data["rollback"] == "running":
            await _quietly(house, row.id, News(moves=(rollback_move("unknown", house.now(), because="crash"),)))
        if row.data["rollback"] == "none" and "rollback" in row.data["contained"]:
            house.later(router.roll_back(house, row.id))
    async for alert in every(house, "alerts", state=("open", "acked")):
        if alert.data["code"] == "verification.pending":
            house.unjudged.add(alert.data["about"])
