"""Foresight: what a bundle would have decided of the newest questions, in front of those who approve that it comes into
force. Asked of OPAs of its own, beside the requests, for each pair of bundles; and again when the record has grown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from magistrate.core.errors import Unavailable
from magistrate.engine import certifying
from magistrate.engine.impact import impact
from magistrate.engine.installation import Installation
from magistrate.engine.replaying import Order
from magistrate.engine.tally import Impact

NEWEST = 5_000  # questions: what matters to an approver is what the next ones will be like
GROWN = 16  # entries since a look: beyond them it is taken again
RULES = 10
SECONDS = 60.0  # of one look: a bundle that is slow makes nobody wait longer for what another one would do
HIDDEN = ("heat", "loosened_answers")  # long, and not what a person reads before signing


class Foresight:
    """What was found so far, by the bundle in force and the one that would follow it."""

    def __init__(self, house: Installation, folder: Path | None) -> None:
        self._house = house
        self._folder = folder
        self._found: dict[tuple[str, str], tuple[asyncio.Task[Impact], int]] = {}  # and how long the ledger was
        self._before: dict[tuple[str, str], Impact] = {}  # what the look before this one found
        self._one = asyncio.Lock()  # at a time: it takes an OPA's worth of the machine

    def begin(self, digest: str) -> asyncio.Task[Impact]:
        """Look, unless that was done and little was asked since. One that took too long is not begun again.

        Raises:
            Unavailable: this service does not know where its record lies.
            Absent, Broken: the archive does not have the bundle, or not as it was taken in.
        """
        if self._folder is None:
            raise Unavailable("replay.folder", "this service does not say where its record lies")
        against = self._house.active()
        pair, size = (against, digest), self._house.store.size
        known, then = self._found.get(pair, (None, 0))
        if known is None or (known.done() and _again(known, size - then)):
            if known is not None and _well(known):
                self._before[pair] = known.result()
            was, now = self._house.bundle(against), self._house.bundle(digest)
            record = certifying.record_beside(self._house, self._folder)

            async def looked() -> Impact:
                async with self._one:
                    look = certifying.apart(lambda: impact(record, now, was=was, order=Order(limit=NEWEST)))
                    return await _within(look, digest)

            # not among the house's own: at a stop nobody waits for it, it is cancelled
            known = asyncio.create_task(looked())
            self._found[pair] = known, size
            known.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, even if nobody waits
        return known

    def told(self, digest: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """What is known by now; `state` is computing, known, failed, or nowhere: there is no record to look at.

        While it looks again, what it found before: its `range` says up to which entry that is true.
        """
        try:
            task = self.begin(digest)
        except Unavailable:
            return {"state": "nowhere"}
        if not task.done():
            before = self._before.get((self._house.active(), digest))
            return {"state": "computing"} if before is None else self.shown(before, row)
        if not _well(task):
            return {"state": "failed"}
        return self.shown(task.result(), row)

    def shown(self, found: Impact, row: Mapping[str, Any]) -> dict[str, Any]:
        """The part of it that people read before they sign.

        What operators accepted by name, its author aside, is not counted as uncovered.
        """
        against, others = self._house.active(), (given for given in row["accepted"] if given["by"] != row["author"])
        accepted = {code for given in others if given["against"] == against for code in given["codes"]}
        said = found.plain(accepted)
        said["rules"] = said["rules"][:RULES]
        return {"state": "known", **{name: value for name, value in said.items() if name not in HIDDEN}}


async def _within(look: Coroutine[Any, Any, Impact], digest: str) -> Impact:
    """What a look finds, if it ends in time.

    Raises:
        Unavailable: `impact.too_long`.
    """
    try:
        async with asyncio.timeout(SECONDS):
            return await look
    except TimeoutError:
        detail = (
            f"asking it took more than {SECONDS:.0f} seconds: a rule of it may be slow; `policy diff` takes its time"
        )
        raise Unavailable("impact.too_long", detail, hint=f"magistrate policy diff active {digest}") from None


def _well(look: asyncio.Task[Impact]) -> bool:
    return look.done() and not look.cancelled() and look.exception() is None


def _again(look: asyncio.Task[Impact], grown: int) -> bool:
    """Whether a look that is done is to be taken again, the ledger having grown so much."""
    if look.cancelled() or _well(look):
        return look.cancelled() or grown > GROWN
    failed = look.exception()
    return not (isinstance(failed, Unavailable) and failed.code == "impact.too_long")
