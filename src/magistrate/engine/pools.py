"""The OPAs of a replay: a few bundles at once, each with OPAs of its own, and questions on their way to all of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from magistrate.core.recorded import Recorded
from magistrate.policy.batches import MOST, MOST_BYTES, Batches, Question, Said
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle

BUNDLES: Final = 2  # whose OPAs run at once: history changes its bundle rarely

Heard = Callable[[Recorded, Said], Awaitable[None]]


@dataclass
class _Pile:
    """Questions that wait until they make a batch."""

    rows: list[Recorded] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    size: int = 0


class Pools:
    """Asks recorded questions of whichever bundle, in batches, and hands each answer to `heard`."""

    def __init__(
        self, binary: Binary, heard: Heard, *, opas: int = 0, environment: Mapping[str, str] | None = None
    ) -> None:
        self._binary = binary
        self._heard = heard
        self._opas = opas
        self._environment = environment
        self._live: OrderedDict[str, Batches] = OrderedDict()
        self._piles: dict[str, _Pile] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """The processes of every OPA that runs for this."""
        return [pid for batches in self._live.values() for pid in batches.pids]

    async def ask(self, bundle: Bundle, row: Recorded) -> None:
        """Put a question; it is asked when a batch is full, or at `settle`.

        Raises:
            Unavailable: its OPA does not start. And what `heard` raised.
        """
        pile = self._piles.setdefault(bundle.digest, _Pile())
        question = row.raw
        if pile.rows and pile.size + len(question) > MOST_BYTES:
            await self._send(bundle)
            pile = self._piles.setdefault(bundle.digest, _Pile())
        pile.rows.append(row)
        pile.questions.append((row.document, question))
        pile.size += len(question)
        if len(pile.rows) >= MOST:
            await self._send(bundle)

    async def alone(self, bundle: Bundle, row: Recorded) -> Said:
        """One question, now."""
        batches = await self._of(bundle)
        return (await batches.ask([(row.document, row.raw)]))[0]

    async def settle(self, bundles: Mapping[str, Bundle]) -> None:
        """Return when every question that was put is answered and heard."""
        for digest in [digest for digest, pile in self._piles.items() if pile.rows]:
            await self._send(bundles[digest])
        await self._room(0)

    async def stop(self) -> None:
        """End everything, answered or not."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(batches.stop() for batches in self._live.values()))
        self._live.clear()

    async def _send(self, bundle: Bundle) -> None:
        batches = await self._of(bundle)
        await self._room(batches.wide)
        pile = self._piles.pop(bundle.digest)
        self._tasks.add(asyncio.create_task(self._answered(batches, pile)))

    async def _answered(self, batches: Batches, pile: _Pile) -> None:
        answers = await batches.ask(pile.questions)
        for row, said in zip(pile.rows, answers, strict=True):
            await self._heard(row, said)

    async def _room(self, most: int) -> None:
        """Return when at most `most` batches are on their way; memory is bounded by that."""
        while len(self._tasks) > most:
            done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _of(self, bundle: Bundle) -> Batches:
        batches = self._live.get(bundle.digest)
        if batches is not None:
            self._live.move_to_end(bundle.digest)
            return batches
        while len(self._live) >= BUNDLES:
            await self._room(0)  # nothing is on its way to the one that goes
            oldest = next(iter(self._live))
            await self._live[oldest].stop()  # named until it is over: whoever ends us meanwhile ends it too
            del self._live[oldest]
        batches = Batches(self._binary, bundle, opas=self._opas, environment=self._environment)
        await batches.start()
        self._live[bundle.digest] = batches
        return batches
