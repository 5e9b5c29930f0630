"""Executions whose last verification question had no answer: asked again, later and later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

FIRST: Final = 1.0  # seconds after the second silence; after the first it is asked again at the next look
LONGEST: Final = 10.0


class Unjudged:
    """Whom to ask about again, and when. One that never gets an answer costs the others less and less."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, float]] = {}  # when, and how long it was waited for

    def add(self, execution_id: str) -> None:
        """Ask at the next look."""
        self._due.setdefault(execution_id, (0.0, 0.0))

    def judged(self, execution_id: str, now: float, *, silent: bool) -> None:
        """It was asked: with an answer it is no longer among these, without one it waits, twice as long each time."""
        before = self._due.pop(execution_id, None)
        if silent:
            wait = 0.0 if before is None else min(LONGEST, max(FIRST, 2 * before[1]))
            self._due[execution_id] = (now + wait, wait)

    def may(self, execution_id: str, now: float) -> bool:
        """Whether it is time to ask about it (again)."""
        return self._due.get(execution_id, (0.0, 0.0))[0] <= now

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._due))

    def __len__(self) -> int:
        return len(self._due)
