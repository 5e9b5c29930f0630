"""The writing room: a batch of steps in, one COMMIT out. One thread, one connection, no asyncio.

Order of a batch:
    1. BEGIN IMMEDIATE: from here the database holds still.
    2. Each step in turn, in memory, over what the steps before it made. One that raises is dropped alone.
    3. All that was made is written: entries, bodies, nodes, rows, answers, and last the signed checkpoint.
    4. COMMIT, synced. After this line everything in it exists, whoever crashes.
    5. Only then the steps are told, and this object believes it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from magistrate.core.checkpoint import Checkpoint, signed
from magistrate.core.errors import Broken, Unavailable
from magistrate.core.merkle import Frontier, frontier_at
from magistrate.core.signature import Signer
from magistrate.store.connect import BUSY_MS
from magistrate.store.rows import Key, Layer, Row, insert, read_owned, read_row, write_rows
from magistrate.store.tree import node_reader
from magistrate.store.txn import Fold, Need, Remembered, Txn, Work, hold_needs

CACHE_ROWS = 4096
RECENT = 4096
TIDY_MS = 20  # an audit may read for minutes: the writer does not wait for it
CACHE_BYTES = 16 * 1024 * 1024

# After these the database certainly is as it was: no room, or somebody else held it
_HARMLESS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class Step:
    """One unit of work and, once it ran, its value or its error."""

    __slots__ = ("error", "needs", "value", "write")

    def __init__(self, write: Callable[[Txn], Any], needs: Sequence[Need] = ()) -> None:
        self.write = write
        self.needs = needs
        self.value: Any = None
        self.error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """Where the ledger ends."""

    frontier: Frontier
    last_at: int
    note: str

    @property
    def size(self) -> int:
        return self.frontier.size

    @property
    def root(self) -> bytes:
        return self.frontier.root()


class Ledger:
    """The only object that writes entries and rows."""

    def __init__(
        self, conn: sqlite3.Connection, *, origin: str, fold: Fold, signer: Signer, clock: Callable[[], float]
    ) -> None:
        self.conn = conn
        self.origin = origin
        self.fold = fold
        self.signer = signer
        self.clock = clock
        self._cache = _Cache()
        self._recent: dict[bytes, None] = {}  # leaves of late: most parents are among them
        self.broken: Unavailable | None = None
        self.committing = False
        self.unclean = False  # the WAL may still hold what was erased
        self.commits = 0
        self.tail = read_tail(conn, origin)

    def apply(self, steps: Sequence[Step]) -> None:
        """Run the steps and commit what they made; afterwards each has its value or its error."""
        if self.broken is not None:
            _fail(steps, self.broken)
            return
        self.committing = False
        try:
            self.conn.execute("BEGIN IMMEDIATE")
            batch = _Batch(self)
            for step in steps:
                batch.run(step)
            tail = batch.flush()
        except Exception as error:  # noqa: BLE001  every step of the batch is told, and the rest is judged
            self._undo(steps, error)
            return
        # after this line the batch is on the disk
        if tail is not None:
            self.tail = tail
            self.commits += 1
            self._cache.take(batch.layer.own)
            if len(self._recent) > RECENT:
                self._recent = {}
            self._recent |= batch.leaves
            if batch.erased:
                self.unclean = True
                self.tidy()

    def committed(self, table: str, id_: str) -> Row | None:
        """The committed row; read by the writing thread only."""
        key = (table, id_)
        row = self._cache.rows.get(key)
        if row is None:
            row = read_row(self.conn, table, id_)
            if row is None:
                return None
            self._cache.take({key: row})
        return row.copy()

    def knows(self, leaf: bytes) -> bool:
        """Whether a committed entry has this leaf; asked by the writing thread only."""
        if leaf in self._recent:
            return True
        return self.conn.execute("SELECT 1 FROM entries WHERE leaf = ?", (leaf,)).fetchone() is not None

    def cached(self, table: str, id_: str) -> Row | None:
        """The committed row if it lies in memory; any thread may ask."""
        row = self._cache.rows.get((table, id_))
        return row.copy() if row is not None else None

    def tidy(self) -> None:
        """Copy the WAL back into the database; after an erasing also empty it, so that what was erased is gone."""
        try:
            if not self.unclean:
                self.conn.execute("PRAGMA wal_checkpoint(PASSIVE)")
                return
            self.conn.execute(f"PRAGMA busy_timeout={TIDY_MS}")
            self.unclean = bool(self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
            self.conn.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        except sqlite3.Error:
            return  # the WAL stays as it is and this is tried again; a COMMIT tells when the disk is full

    def _undo(self, steps: Sequence[Step], error: Exception) -> None:
        """Forget the batch. If the database may hold some of it, write nothing more until it was opened anew."""
        self._cache.clear()
        if isinstance(error, sqlite3.Error):
            certain = getattr(error, "sqlite_errorcode", 0) & 0xFF in _HARMLESS
        else:  # before COMMIT was tried; but a row that is not what we wrote is a stranger's
            certain = not self.committing and not isinstance(error, Broken)
        try:
            if self.conn.in_transaction:
                self.conn.execute("ROLLBACK")
            certain = certain and read_tail(self.conn, self.origin).frontier == self.tail.frontier
        except Exception:  # noqa: BLE001  whatever it is: then nothing is certain
            certain = False
        told = Unavailable("store.failed", f"nothing was written: {error}")
        if not certain:
            told = Unavailable(
                "store.broken", f"a write failed and its outcome is not certain: {error}", hint="magistrate up"
            )
            self.broken = told
        told.__cause__ = error
        _fail(steps, told)


def _fail(steps: Sequence[Step], error: Unavailable) -> None:
    for step in steps:
        step.value, step.error = None, retold(error)


def retold(error: Unavailable) -> Unavailable:
    """The same words for one more who waits: a raised exception gathers the traceback of whom it passes."""
    told = Unavailable(error.code, error.detail, hint=error.hint)
    told.__cause__ = error.__cause__
    return told


def read_tail(conn: sqlite3.Connection, origin: str) -> Tail:
    """Where the stored ledger ends, if its nodes and its last checkpoint agree.

    Raises:
        Broken: they do not: verify the ledger before anything else.
    """
    last = conn.execute("SELECT seq, at FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    size, last_at = (last[0] + 1, last[1]) if last else (0, 0)
    frontier = frontier_at(size, node_reader(conn))
    note = conn.execute("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone() or (0, "")
    text = Checkpoint(origin, size, frontier.root()).text()
    if note[0] != size or (size and not note[1].startswith(text + "\n")):
        raise Broken("ledger.checkpoint", f"the last checkpoint is not one over the {size} stored entries")
    return Tail(frontier, last_at, note[1])


class _Batch:
    """The steps of one COMMIT, in memory."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._work = Work(ledger.tail.frontier, ledger.tail.last_at)
        self.leaves: dict[bytes, None] = {}
        self._held: dict[Key, int] = {}  # the version the database holds of each row seen
        self.layer = Layer(self._seen, self._owned)

    def run(self, step: Step) -> None:
        ledger, work = self._ledger, self._work
        layer = Layer(self.layer.row, self.layer.owned)
        try:
            hold_needs(layer, step.needs)
            txn = Txn(
                origin=ledger.origin,
                at=max(int(ledger.clock()), work.last_at),
                frontier=work.frontier,
                fold=ledger.fold,
                layer=layer,
                answer=self._answer,
                known=self._known,
            )
            step.value = step.write(txn)
            txn.finish()
        except BaseException as error:  # noqa: BLE001  it goes to who waits for this step
            step.error = error
            return
        self._take(txn.work, layer)

    @property
    def erased(self) -> bool:
        return bool(self._work.erasures)

    def _take(self, made: Work, layer: Layer) -> None:
        work = self._work
        self.layer.own.update(layer.own)
        if made.entries:
            work.frontier, work.last_at = made.frontier, made.last_at
            work.entries += made.entries
            work.nodes += made.nodes
            self.leaves.update((entry.leaf, None) for entry, _ in made.entries)
        work.answers |= made.answers
        work.erasures += made.erasures
        work.forgotten += made.forgotten

    def flush(self) -> Tail | None:
        """Write and commit; None when there was nothing to write."""
        conn, work, tail = self._ledger.conn, self._work, None
        if work.empty(self.layer.own):
            conn.execute("ROLLBACK")
            return None
        write_forgotten(conn, work)
        note = self._ledger.tail.note
        if work.entries:
            write_entries(conn, work)
            checkpoint = Checkpoint(self._ledger.origin, work.frontier.size, work.frontier.root())
            note = signed(checkpoint, self._ledger.signer)
        write_rows(conn, ((table, self._held[table, id_], row) for (table, id_), row in self.layer.own.items()))
        write_answers(conn, work)
        write_erasures(conn, work)
        if work.entries:
            insert(conn, "checkpoints(size, note)", [(work.frontier.size, note)])
        tail = Tail(work.frontier, work.last_at, note)
        self._ledger.committing = True
        conn.execute("COMMIT")
        return tail

    def _seen(self, table: str, id_: str) -> Row | None:
        if self._held.get((table, id_)) == 0:  # asked before, and only `own` could have made it since
            return None
        row = self._ledger.committed(table, id_)
        self._held[table, id_] = row.version if row else 0
        return row

    def _owned(self, table: str, owner: str) -> dict[str, Row]:
        return read_owned(self._ledger.conn, table, owner)

    def _known(self, leaf: bytes) -> bool:
        return leaf in self.leaves or self._ledger.knows(leaf)

    def _answer(self, scope: str, key: str) -> Remembered | None:
        return self._work.answers.get((scope, key)) or read_answer(self._ledger.conn, scope, key)


class _Cache:
    """Committed rows of late, so that a step need not ask the database. Only this process writes, so they are true."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self._bytes = 0

    def take(self, rows: dict[Key, Row]) -> None:
        for key, row in rows.items():
            old = self.rows.pop(key, None)
            self._bytes += len(row.raw) - (len(old.raw) if old else 0)
            self.rows[key] = row
        while len(self.rows) > CACHE_ROWS or self._bytes > CACHE_BYTES:
            self._bytes -= len(self.rows.pop(next(iter(self.rows))).raw)

    def clear(self) -> None:
        self.rows, self._bytes = {}, 0


def write_entries(conn: sqlite3.Connection, work: Work) -> None:
    """Write entries, bodies and the nodes above them."""
    insert(
        conn,
        "entries(seq, kind, subject, chain, at, header, leaf)",
        [(e.index, e.kind, e.subject, chain, e.at, e.header, e.leaf) for e, chain in work.entries],
    )
    insert(conn, "bodies(seq, salt, body)", [(e.index, e.salt, e.body) for e, _ in work.entries])
    insert(conn, "nodes(level, idx, hash)", work.nodes)


def write_answers(conn: sqlite3.Connection, work: Work) -> None:
    rows = [(a.scope, a.key, a.digest, a.status, a.body, a.object_id, a.at) for a in work.answers.values()]
    insert(conn, "idempotency(scope, key, digest, status, body, object_id, at)", rows)


def write_forgotten(conn: sqlite3.Connection, work: Work) -> None:
    for scope, key in work.forgotten:
        conn.execute("DELETE FROM idempotency WHERE scope = ? AND key = ?", (scope, key))


def write_erasures(conn: sqlite3.Connection, work: Work) -> None:
    for chain, first in work.erasures:
        conn.execute(
            "DELETE FROM idempotency WHERE object_id <> '' AND object_id IN"
            " (SELECT subject FROM entries WHERE chain = ? AND chain <> '' AND seq < ?)",
            (chain, first),
        )
        conn.execute(
            "DELETE FROM bodies WHERE seq IN (SELECT seq FROM entries WHERE chain = ? AND chain <> '' AND seq < ?)",
            (chain, first),
        )


def read_answer(conn: sqlite3.Connection, scope: str, key: str) -> Remembered | None:
    """The answer kept under a key, or None."""
    found = conn.execute(
        "SELECT scope, key, digest, status, body, object_id, at FROM idempotency WHERE scope = ? AND key = ?",
        (scope, key),
    ).fetchone()
    return Remembered(*found) if found else None
