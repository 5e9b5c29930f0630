"""The store: one writer thread with group commit, and readers beside it.

Steps that wait together are committed together, so the cost of reaching the disk is shared; each is answered only
after its COMMIT. Nothing here decides anything: a step says what to write and on which versions of which rows it
rests, and the fold says what an entry does to the rows.

Trusted: the process that holds the folder's lock. Not trusted: the file. What it holds is checked against its own
nodes and checkpoint at the start, against the high-water mark outside the folder, and whole by `verify`.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from magistrate.core.entry import Entry
from magistrate.core.errors import Conflict, Unavailable
from magistrate.core.signature import Signer
from magistrate.store import mark as high_water
from magistrate.store.batch import Ledger, Step, retold
from magistrate.store.connect import open_writer
from magistrate.store.folder import own
from magistrate.store.reads import Reader
from magistrate.store.rows import Row
from magistrate.store.tree import node_reader
from magistrate.store.txn import Fold, Need, Remembered, Txn

T = TypeVar("T")

BATCH = 256  # steps in one COMMIT: beyond this the wait grows and the rate does not (measured)
MARK_SECONDS = 0.2  # contracts section 4
IDLE_SECONDS = 1.0


class Store:
    """The ledger and the state beside it, in one folder that one process owns."""

    def __init__(
        self,
        path: Path,
        *,
        origin: str,
        fold: Fold,
        signer: Signer,
        mark_path: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the ledger at `path`, or begin an empty one.

        Raises:
            Unavailable: another process owns the folder, or the file cannot be written safely.
            Broken: nodes, entries and checkpoint do not agree.
        """
        self._mark_path = mark_path
        self._origin = origin
        self._lock = own(path.parent)
        self._closed = False
        conn: sqlite3.Connection | None = None
        try:
            conn = open_writer(path)
            self._conn = conn
            self._ledger = Ledger(conn, origin=origin, fold=fold, signer=signer, clock=clock)
            self._stopped = high_water.judge(mark_path, origin=origin, size=self.size, node=node_reader(conn))
            self._unmarked: Unavailable | None = None
            self._marked, self._marked_at = -1, 0.0
            self._marking = threading.Lock()
            self._mark(now=True)  # of size 0 before genesis
        except BaseException:
            if conn is not None:
                conn.close()
            os.close(self._lock)
            raise
        self._reader = Reader(path)
        self._threads = ThreadPoolExecutor(2, "store-reader")
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_on, name="store-writer", daemon=True)
        self._writer.start()

    # -- where it stands

    @property
    def size(self) -> int:
        return self._ledger.tail.size

    @property
    def root(self) -> bytes:
        return self._ledger.tail.root

    @property
    def last_at(self) -> int:
        """The time of the last entry; 0 before the first."""
        return self._ledger.tail.last_at

    @property
    def commits(self) -> int:
        """How many COMMITs this process has made."""
        return self._ledger.commits

    @property
    def stopped(self) -> Unavailable | None:
        """Why nothing can be appended, or None."""
        return self._ledger.broken or self._stopped or self._unmarked

    def checkpoint(self) -> str:
        """The signed note over all entries; "" before the first."""
        return self._ledger.tail.note

    # -- writing

    async def commit(self, write: Callable[[Txn], T], needs: Sequence[Need] = ()) -> T:
        """Run a step and return its value once all it wrote is on the disk.

        `write` runs on the writer thread, in memory: it must not wait for anything. `needs` are the versions of the
        rows that the step rests on.

        Raises:
            Moved: one of them has another version now; nothing was written.
            Unavailable: `store.failed` nothing was written; `store.broken` or `ledger.mark_*` nothing can be.
            Whatever `write` raises: nothing was written.
        """
        stopped = self.stopped
        if stopped is not None:
            raise retold(stopped)
        return await self._submitted(write, needs)

    async def recover(self, write: Callable[[Txn], T]) -> T:
        """Append the operators' signed recovery to a ledger that its high-water mark stopped, and mark it anew.

        Raises:
            Conflict: nothing stopped it.
            As `commit`.
        """
        if self._stopped is None:
            raise Conflict("ledger.sound", "the ledger and its high-water mark agree: there is nothing to recover")
        value = await self._submitted(write, ())
        # after this line the recovery is in the ledger; until the mark is written it is merely stopped again
        self._stopped = None
        await asyncio.to_thread(self._mark, now=True)
        return value

    async def _submitted(self, write: Callable[[Txn], T], needs: Sequence[Need]) -> T:
        if self._closed:
            raise Unavailable("store.closed", "the store is closed")
        loop = asyncio.get_running_loop()
        job = _Job(write, needs, loop, loop.create_future())
        self._queue.put(job)
        return await job.future  # type: ignore[no-any-return]

    # -- reading what is committed

    def row(self, table: str, id_: str) -> Row | None:
        """One state row, or None."""
        return self._ledger.cached(table, id_) or self._reader.row(table, id_)

    def select(
        self,
        table: str,
        *,
        state: str | Iterable[str] | None = None,
        owner: str | None = None,
        due_before: int | None = None,
        due_from: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Row]:
        """State rows in order of id, on the caller's thread: for few. At most 1000 whatever the limit."""
        return self._reader.rows(
            table, state=state, owner=owner, due_before=due_before, due_from=due_from, after=after, limit=limit
        )

    async def rows(
        self,
        table: str,
        *,
        state: str | Iterable[str] | None = None,
        owner: str | None = None,
        due_before: int | None = None,
        due_from: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Row]:
        """State rows in order of id, on a reading thread."""
        ask = partial(
            self._reader.rows,
            table,
            state=state,
            owner=owner,
            due_before=due_before,
            due_from=due_from,
            after=after,
            limit=limit,
        )
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    def entries(
        self,
        start: int = 0,
        limit: int = 100,
        *,
        chain: str | None = None,
        subject: str | None = None,
        kind: str | None = None,
    ) -> list[Entry]:
        """Entries from an index on, in order."""
        return self._reader.entries(start, limit, chain=chain, subject=subject, kind=kind)

    def entry(self, index: int) -> Entry:
        """Raises: Absent: no such entry."""
        return self._reader.entry(index)

    def by_leaf(self, leaf: bytes) -> Entry:
        """Raises: Absent: no such entry."""
        return self._reader.by_leaf(leaf)

    def chain_of(self, index: int) -> str:
        """The chain an entry belongs to; "" for none."""
        return self._reader.chain_of(index)

    def proof(self, index: int, size: int | None = None) -> tuple[int, list[bytes]]:
        """The size and the path that prove an entry under the present root, or the root at `size`.

        Raises:
            ProofFailed: no such entry at this size.
        """
        size = self.size if size is None else min(size, self.size)
        return size, self._reader.proof(index, size)

    def consistency(self, old: int, size: int | None = None) -> tuple[int, list[bytes]]:
        """The size and the path that prove the first `old` entries to be its beginning.

        Raises:
            ProofFailed: the sizes are not in order.
        """
        size = self.size if size is None else min(size, self.size)
        return size, self._reader.consistency(old, size)

    def checkpoint_at(self, size: int) -> str:
        """The first signed note that covers `size` entries. Raises: Absent: none does yet."""
        return self._reader.checkpoint_at(size)

    def node(self, level: int, index: int) -> bytes:
        """One complete node of the tree, for tiles. Raises: Broken: it is not there."""
        return node_reader(self._reader.conn)(level, index)

    def answer(self, scope: str, key: str) -> Remembered | None:
        """The answer kept under an idempotency key, or None."""
        return self._reader.answer(scope, key)

    def answers_before(self, at: int, limit: int = 100) -> list[Remembered]:
        """Kept answers from before a time, oldest first: `forget` those whose object has ended."""
        return self._reader.answers_before(at, limit)

    async def forget(self, answers: Iterable[Remembered]) -> None:
        """Drop kept answers."""
        keys = [(a.scope, a.key) for a in answers]

        def drop(txn: Txn) -> None:
            for scope, key in keys:
                txn.forget(scope, key)

        await self.commit(drop)

    # -- the end

    async def close(self) -> None:
        """Finish what waits, mark, and let the folder go."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """As `close`, without a loop."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._threads.shutdown()
        self._reader.close()
        self._conn.close()
        os.close(self._lock)

    # -- the writer thread

    def _write_on(self) -> None:
        going, idle = True, False
        while going:
            jobs = self._gathered(idle=idle)
            going = None not in jobs
            steps = [job for job in jobs if job is not None]
            if steps:
                self._ledger.apply(steps)
                _tell(steps)
            elif going:
                self._ledger.tidy()
            idle = not steps
            self._mark(now=idle or not going)
        late = [job for job in self._waiting() if job is not None]
        for job in late:
            job.error = Unavailable("store.closed", "the store was closed")
        _tell(late)

    def _gathered(self, *, idle: bool) -> list[_Job | None]:
        """What waits; or nothing, after a while in which mark and WAL want care."""
        if self._marked != self.size and self._stopped is None:
            wait: float | None = MARK_SECONDS
        else:
            wait = None if idle and not self._ledger.unclean else IDLE_SECONDS
        try:
            first = self._queue.get(timeout=wait)
        except queue.Empty:
            return []
        return [first] if first is None else [first, *self._waiting(BATCH - 1)]

    def _waiting(self, most: int | None = None) -> list[_Job | None]:
        """What is in the queue now, up to the order to stop."""
        jobs: list[_Job | None] = []
        while len(jobs) != most and (not jobs or jobs[-1] is not None):
            try:
                jobs.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _mark(self, *, now: bool) -> None:
        """Write the high-water mark if it lags behind, at most every 200 ms unless `now`."""
        tail = self._ledger.tail
        if self._stopped is not None or self._marked == tail.size:
            return
        if not now and time.monotonic() - self._marked_at < MARK_SECONDS:
            return
        with self._marking:
            try:
                high_water.write(self._mark_path, high_water.Mark(self._origin, tail.size, tail.root))
            except OSError as error:  # a ledger whose end nobody watches does not grow
                self._unmarked = Unavailable("ledger.mark_unwritable", f"the high-water mark: {error}")
                return
        self._unmarked = None
        self._marked, self._marked_at = tail.size, time.monotonic()


class _Job(Step):
    """A step and who waits for it."""

    __slots__ = ("future", "loop")

    def __init__(
        self,
        write: Callable[[Txn], Any],
        needs: Sequence[Need],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
    ) -> None:
        super().__init__(write, needs)
        self.loop = loop
        self.future = future


def _tell(jobs: Sequence[_Job]) -> None:
    """Answer all who wait, each on its own loop: one wake-up for a whole batch."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, theirs in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits there any more
            loop.call_soon_threadsafe(_answer, theirs)


def _answer(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # who waited has given up; what was written stays written
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)
