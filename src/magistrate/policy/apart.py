"""A line on an event loop of its own: what keeps the service's loop busy does not keep these questions waiting.

A deadline is told by the loop that waits. Under load the service's own loop comes round late, and an answer that was
there in time looks as if it had not come. The canaries ask whether OPA answers, not whether we are busy.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from magistrate.core.values import Document
from magistrate.policy.answer import Answer
from magistrate.policy.line import Line

T = TypeVar("T")


class Apart:
    """Asks over a line in a thread of its own, from any loop, until `close`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="magistrate-apart", daemon=True)
        self._thread.start()

    async def ask(self, document: str, question: bytes, model: type[Document] | None = None) -> Answer[Any]:
        """As `Line.ask`.

        Raises:
            NoAnswer: as `Line.ask`.
        """
        return await self._over_there(self._line.ask(document, question, model))

    async def close(self) -> None:
        """Let go of the connection and end the thread."""
        await self._over_there(self._line.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def _over_there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
