"""Impact: what a bundle would have answered to everything that was asked, beside what was answered or another bundle.

Nothing is proven here (that is replay's part): an entry that does not hold together, or whose body is gone (no act of
this version erases one), is skipped, counted, and fails whoever asks whether anything got looser.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from magistrate.core.errors import MagistrateError, Malformed
from magistrate.core.recorded import Recorded, recorded
from magistrate.core.replay import DOCUMENTS, NEVER_ASKED
from magistrate.engine.history import Head, History, head_of, span
from magistrate.engine.pools import Pools
from magistrate.engine.replaying import Order, Progress, Record, Tell
from magistrate.engine.tally import Impact, Sides, about
from magistrate.policy.batches import Said
from magistrate.policy.bundle import Bundle
from magistrate.store.reads import Reader

BREATH: Final = 64  # entries
WIDER: Final = 4


async def impact(
    record: Record, now: Bundle, *, was: Bundle | None = None, order: Order | None = None, tell: Tell = lambda _: None
) -> Impact:
    """What `now` answers to what was asked, beside `was`; beside the recorded answers where that is None.

    Of a limited order the newest questions are taken, for what matters is what the next ones will be like; and among
    `WIDER` times as many, as many of each document and action as there are, for whoever asks often crowds out nobody.

    Raises:
        Absent, Unavailable: the ledger cannot be read, or OPA does not start.
    """
    run = _Comparison(record, was, now, order or Order(), tell)
    try:
        await run.whole()
    finally:
        await run.stop()
    return run.impact


class _Comparison:
    def __init__(self, record: Record, was: Bundle | None, now: Bundle, order: Order, tell: Tell) -> None:
        self._record, self._order, self._tell = record, order, tell
        self._was, self._now = was, now
        self._sides = Sides(record.archive, was, now)
        self.impact = self._sides.impact
        self._left: dict[tuple[int, int], Said] = {}
        self._right: dict[tuple[int, int], Said] = {}
        self._head = Head()
        self._chosen: frozenset[tuple[int, int]] | None = None  # None: every question of the range
        self._pools = [Pools(record.binary, self._heard_now, opas=record.opas)]
        if was is not None:
            self._pools.append(Pools(record.binary, self._heard_was, opas=record.opas))

    async def whole(self) -> None:
        """Ask everything."""
        first, end = await asyncio.to_thread(self._range)
        await asyncio.to_thread(self._sides.look)
        history = History(self._record.ledger, first, end)
        progress = Progress(0, first, first, end)
        try:
            for entry, broken in history.entries():
                if broken is not None:
                    self.impact.skipped["changed"] += 1
                elif entry.erased:
                    self.impact.skipped["erased"] += entry.kind not in NEVER_ASKED
                else:
                    await self._read(entry)
                progress.entry, progress.questions = entry.index + 1, self.impact.questions
                self._tell(progress)
                if not entry.index % BREATH:
                    await asyncio.sleep(0)  # where no question is, nothing else lets a cancellation in
            for pool, bundle in zip(self._pools, (self._now, self._was), strict=False):
                await pool.settle({bundle.digest: bundle} if bundle else {})
            history.hold_tree(self._head)
            # nobody pinned a key: that says nothing about an entry, and a replay tells it
            faults = [one for one in (*history.findings, *self._head.findings) if one.code != "replay.unpinned"]
            self.impact.skipped.update(["changed"] * len(faults))
            await asyncio.to_thread(self._sides.place, self._record.binary)
        finally:
            history.close()

    async def stop(self) -> None:
        """Leave no OPA behind."""
        for pool in self._pools:
            await pool.stop()

    def _range(self) -> tuple[int, int]:
        self._head = head_of(self._record.ledger, self._record.trust)
        first, end = span(self._record.ledger, self._order.since, self._order.until, self._head)
        if self._order.limit:
            first = self._choose(first, end)
        self.impact.first, self.impact.end, self.impact.size = first, end, self._head.size
        return first, end

    def _choose(self, first: int, end: int) -> int:
        """Choose the questions of a limited order; where the first of them stands.

        Each document and action gives its newest, in turn, until there are enough.
        """
        there: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        most, seen = self._order.limit, 0
        for row in itertools.islice(self._backwards(first, end), most * WIDER):
            there[row.document, about(row)[1]].append((row.index, row.place))
            seen += 1
        turns = itertools.chain.from_iterable(itertools.zip_longest(*there.values()))
        self._chosen = frozenset(itertools.islice((one for one in turns if one is not None), most))
        self.impact.left_out = seen - len(self._chosen)
        return min((index for index, _ in self._chosen), default=first) if seen >= most else first

    def _backwards(self, first: int, end: int) -> Iterator[Recorded]:
        """The questions of a range, the newest first."""
        reader = Reader(self._record.ledger)
        try:
            for start in range(end, first, -BREATH):
                low = max(first, start - BREATH)
                for entry in reversed(reader.entries(low, start - low)):
                    yield from () if entry.erased else reversed(_questions(entry))
        finally:
            reader.close()

    async def _read(self, entry: Any) -> None:
        try:
            rows = recorded(entry)
        except Malformed:
            self.impact.skipped["unreadable"] += 1
            return
        for row in rows:
            if self._chosen is not None and (row.index, row.place) not in self._chosen:
                continue
            if row.document not in DOCUMENTS:
                self.impact.skipped["unknown"] += 1
                continue
            for pool, bundle in zip(self._pools, (self._now, self._was), strict=False):
                if bundle is not None:
                    await pool.ask(bundle, row)

    async def _heard_was(self, row: Recorded, said: Said) -> None:
        self._left[row.index, row.place] = said
        self._pair(row)

    async def _heard_now(self, row: Recorded, said: Said) -> None:
        self._right[row.index, row.place] = said
        if self._was is None:
            self._left[row.index, row.place] = row.answer
        self._pair(row)

    def _pair(self, row: Recorded) -> None:
        key = (row.index, row.place)
        if key in self._left and key in self._right:
            self._sides.note(row, self._left.pop(key), self._right.pop(key))


def _questions(entry: Any) -> list[Recorded]:
    try:
        return recorded(entry)
    except MagistrateError:
        return []
