"""The memory of signed requests from one life of the service to the next.

What an orderly stop leaves is taken up, and taken away, at the next start: a crash leaves nothing, and then whatever
may have been signed before is refused for the few seconds in which it could be sent again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from magistrate.core.errors import MagistrateError
from magistrate.keys import private
from magistrate.keys.nonces import NonceMemory, after_crash

FILE: Final = "nonces"


def take_up(folder: Path | None, *, fresh: bool, now: int) -> NonceMemory:
    """The memory to begin with; `fresh` where no request was ever accepted."""
    floor = 0 if fresh else after_crash(now)
    if folder is None:
        return NonceMemory(floor)
    path = folder / FILE
    try:
        said = private.read(path, what="nonces", limit=32)
    except MagistrateError:
        return NonceMemory(floor)
    path.unlink()  # from here on a crash leaves nothing
    return NonceMemory(min(floor, int(said)) if not fresh and said.isdigit() else floor)


def leave(folder: Path | None, memory: NonceMemory) -> None:
    """Leave what the next life must know."""
    if folder is not None:
        private.replace(folder / FILE, b"%d" % memory.newest, what="nonces")
