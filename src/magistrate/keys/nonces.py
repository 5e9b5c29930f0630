"""Which nonces were used: what makes a captured request worthless."""

from __future__ import annotations

from magistrate.core.errors import Unauthenticated, Unavailable
from magistrate.keys.requests import AHEAD, WINDOW


class NonceMemory:
    """Remembers every nonce for as long as its request could be sent again; one process, one thread.

    It never forgets early. It refuses what was signed at or before `floor`, since it cannot know what was used
    before it came alive, and it keeps no clock: a request is accepted at most `ahead` seconds before its `created`, so
    once one of second `t` was accepted, those signed before `t - ahead - window` are refused everywhere, and here too,
    even if the clock is then set back.
    """

    def __init__(self, floor: int, *, window: int = WINDOW, ahead: int = AHEAD, capacity: int = 2**18) -> None:
        """Begin with nothing known up to `floor`.

        `floor` is 0 on a fresh data folder, the `newest` of the life before where it was kept at an orderly stop, else
        `after_crash`. 2**18 nonces take about 40 MB and are more than one core verifies in a window.
        """
        self.floor = floor
        self.newest = floor
        self._keep = window + ahead
        self._capacity = capacity
        self._by_second: dict[int, set[str]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def seen(self, nonce: str, created: int) -> bool:
        """Return whether this nonce was used, and remember that it is now.

        Raises:
            Unauthenticated: `signature.unremembered`: signed before this memory began.
            Unavailable: `signature.memory`: it is full; nothing is forgotten to make room.
        """
        if created <= self.floor:
            raise Unauthenticated(
                "signature.unremembered",
                f"signed {self.floor + 1 - created} s before the service began to remember requests: sign it again",
            )
        if nonce in self._by_second.get(created, ()):
            return True
        self._forget(created)
        if self._count >= self._capacity:
            raise Unavailable("signature.memory", "too many signed requests within a minute")
        self._by_second.setdefault(created, set()).add(nonce)
        self._count += 1
        return False

    def _forget(self, created: int) -> None:
        """Drop the seconds that are past for good, and let the floor say so."""
        if created <= self.newest:
            return
        self.newest = created
        past = created - self._keep - 1
        if past > self.floor:
            self.floor = past
            for second in [s for s in self._by_second if s <= past]:
                self._count -= len(self._by_second.pop(second))


def after_crash(now: int, *, ahead: int = AHEAD) -> int:
    """The floor for a life whose predecessor left no `newest`: it may have accepted up to `ahead` seconds from now."""
    return now + ahead
