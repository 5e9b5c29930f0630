"""The sidecars that are needed now: one for each bundle that is asked, started on demand."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Final

from magistrate.core.errors import NoAnswer
from magistrate.policy.archive import KEPT, Archive
from magistrate.policy.binary import Binary
from magistrate.policy.bundle import Bundle
from magistrate.policy.sidecar import Sidecar

DEADLINE: Final = 1.0


class Sidecars:
    """Each bundle's sidecar by digest. One that cannot be started blocks its own questions only."""

    def __init__(self, binary: Binary, archive: Archive, *, deadline: float = DEADLINE) -> None:
        self._binary = binary
        self.archive = archive
        self._deadline = deadline
        self._live: dict[str, Sidecar] = {}
        self._starts: dict[str, asyncio.Task[Sidecar]] = {}
        self._ends: set[asyncio.Task[None]] = set()
        self._loaded = lru_cache(KEPT)(archive.load)
        self._closed = False

    async def of(self, digest: str) -> Sidecar:
        """Return the running sidecar of an archived bundle; whoever comes first starts it.

        Raises:
            Absent, Broken: the archive does not have it, or not as it was taken in.
            Unavailable: it cannot be started.
        """
        live = self._live.get(digest)
        if live is not None:
            return live
        if self._closed:
            raise NoAnswer("opa.refused", "the service is stopping")
        start = self._starts.get(digest)
        if start is None:
            start = self._starts[digest] = asyncio.create_task(self._start(digest))
            start.add_done_callback(lambda done: done.exception())  # seen, even if every caller has left meanwhile
        return await asyncio.shield(start)  # one caller's deadline does not end the others' start

    def bundle(self, digest: str) -> Bundle:
        """An archived bundle, hashed when it was first asked for; the few that were asked for last are kept.

        Raises:
            Absent, Broken: as `Archive.load`.
        """
        return self._loaded(digest)

    def live(self) -> dict[str, Sidecar]:
        """Those that are running now, by digest."""
        return dict(self._live)

    async def drop(self, digest: str) -> None:
        """End the sidecar of a bundle that nothing names any more; it is started again on demand.

        What it was asked already it still answers. A caller that leaves meanwhile does not keep it from ending.
        """
        sidecar = self._live.pop(digest, None)
        if sidecar is not None:
            end = asyncio.create_task(self._end(sidecar))
            self._ends.add(end)
            end.add_done_callback(self._ended)
            await asyncio.shield(end)

    async def stop(self) -> None:
        """End all of them."""
        self._closed = True
        await asyncio.gather(*self._starts.values(), return_exceptions=True)
        ends = (*self._ends, *(self.drop(digest) for digest in tuple(self._live)))
        for fault in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(fault, BaseException):
                raise fault

    def _ended(self, end: asyncio.Task[None]) -> None:
        self._ends.discard(end)
        if not end.cancelled():
            end.exception()  # seen, even if the caller has left meanwhile

    @staticmethod
    async def _end(sidecar: Sidecar) -> None:
        await sidecar.drain()
        await sidecar.stop()

    async def _start(self, digest: str) -> Sidecar:
        try:
            bundle = await asyncio.to_thread(self.archive.load, digest)
            sidecar = Sidecar(self._binary, bundle, deadline=self._deadline)
            await sidecar.start()
            self._live[digest] = sidecar
            return sidecar
        finally:
            del self._starts[digest]
