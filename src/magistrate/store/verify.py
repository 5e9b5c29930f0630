"""The auditor's reading of a ledger file: every byte against every other, from the first entry on.

Read-only, on one snapshot, streaming: memory does not grow with the ledger. The file proves itself consistent and,
under a key given from elsewhere, signed. What it cannot prove is that nothing was cut from its end: for that, give
`known` checkpoints of yours (an older one, the high-water mark, a witness's).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magistrate.core.checkpoint import Checkpoint
from magistrate.core.checkpoint import verify as verify_note
from magistrate.core.entry import Entry
from magistrate.core.errors import Broken, Malformed
from magistrate.core.merkle import Frontier, Node
from magistrate.core.signature import PublicKey
from magistrate.store.connect import open_reader

_EVERY = (
    "SELECT e.seq, e.leaf, e.header, b.salt, b.body, e.kind, e.subject, e.at"
    " FROM entries e LEFT JOIN bodies b ON b.seq = e.seq ORDER BY e.seq"
)


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found to hold. Without a key `signed_by` is "": the file agrees with itself, whoever wrote it."""

    origin: str
    size: int
    root: bytes
    genesis: str  # the leaf of entry 0
    erased: int  # entries without their body
    checkpoint: str
    signed_by: str


def verify_ledger(
    path: Path,
    *,
    origin: str | None = None,
    key: PublicKey | None = None,
    genesis: str | None = None,
    known: Sequence[Checkpoint] = (),
    fixed: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Verified:
    """Return what the file is, if all of it agrees:

    1. the database is sound; 2. entries are contiguous, each leaf the hash of its stored header, each body the one
    committed to (or erased), columns as the header says, times never decreasing, parents earlier entries;
    3. every stored node is the tree's, none is missing, none is left over; 4. every checkpoint has the root of its
    size, the last one covers all entries, and `key` signed it; 5. `known` checkpoints are checkpoints of this ledger.

    The caller judges what entries mean: signatures inside bodies, lifecycles, what redactions cover.

    Raises:
        Broken: the first difference, with its place.
        Absent, Unavailable: the file cannot be read.
    """
    with closing(open_reader(path, fixed=fixed)) as conn:
        try:
            conn.execute("BEGIN")  # one snapshot, however the ledger grows meanwhile
            return _Reading(conn, origin, genesis, known, progress).whole(key)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise Broken("ledger.database", f"the database is damaged: {error}") from error


class _Reading:
    def __init__(
        self,
        conn: sqlite3.Connection,
        origin: str | None,
        genesis: str | None,
        known: Sequence[Checkpoint],
        progress: Callable[[int], None] | None,
    ) -> None:
        self.conn = conn
        self.origin = origin
        self.genesis = genesis
        self.known = {point.size: point for point in known}
        self.progress = progress or (lambda _: None)
        self.frontier = Frontier()
        self.last_at = 0
        self.erased = 0
        self.nodes = _StoredNodes(conn)
        self.points = iter(conn.execute("SELECT size, note FROM checkpoints ORDER BY size"))
        self.point: tuple[int, str] | None = next(self.points, None)
        self.last_note = ""

    def whole(self, key: PublicKey | None) -> Verified:
        # 1. the database
        self._sound()
        # 2. to 4. each entry, its nodes, the checkpoints over it
        self._compare_known(Frontier())
        for row in self.conn.execute(_EVERY):
            self._entry(row)
        self._nothing_left()
        # 4. who signed the last one
        signed_by = ""
        if key is not None and self.frontier.size:
            self._signed(key)
            signed_by = key.key_id
        # 5. what was known before
        self._nothing_cut()
        return Verified(
            origin=self.origin or "",
            size=self.frontier.size,
            root=self.frontier.root(),
            genesis=self.genesis or "",
            erased=self.erased,
            checkpoint=self.last_note,
            signed_by=signed_by,
        )

    def _sound(self) -> None:
        found = self.conn.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise Broken("ledger.database", f"the database is damaged: {found}")

    def _entry(self, row: tuple[Any, ...]) -> None:
        seq, leaf, header, salt, body, kind, subject, at = row
        if seq != self.frontier.size:
            raise Broken("ledger.gap", f"entry {self.frontier.size} is missing: {seq} follows")
        entry = Entry(seq, leaf, header, salt, body)
        try:
            entry.hold()
            head, said_at = entry.head, entry.at
        except Malformed as error:
            raise Broken("ledger.header", f"entry {seq}: {error.detail}") from error
        if (head.kind, head.subject, said_at) != (kind, subject, at):
            raise Broken("ledger.column", f"entry {seq}: its columns are not what its header says")
        self._place(entry)
        self.frontier, made = self.frontier.append(leaf)
        self.nodes.compare(made[1:])
        self._compare_point()
        self._compare_known(self.frontier)
        self.erased += entry.erased
        self.progress(self.frontier.size)

    def _place(self, entry: Entry) -> None:
        """Origin, time and parents: what an entry says of those before it."""
        self.origin = self.origin or entry.head.origin
        if entry.head.origin != self.origin:
            raise Broken("ledger.origin", f"entry {entry.index} is of {entry.head.origin}, not {self.origin}")
        if not entry.index:
            self.genesis = self.genesis or entry.leaf_digest
            if entry.leaf_digest != self.genesis:
                raise Broken("ledger.genesis", f"entry 0 is {entry.leaf_digest}, not {self.genesis}")
        if entry.at < self.last_at:
            raise Broken("ledger.time", f"entry {entry.index} is older than the one before it")
        self.last_at = entry.at
        for parent in entry.parents:
            found = self.conn.execute("SELECT seq FROM entries WHERE leaf = ?", (bytes.fromhex(parent[7:]),)).fetchone()
            if found is None or found[0] >= entry.index:
                raise Broken("ledger.parent", f"entry {entry.index} names a parent that is no earlier entry")

    def _compare_point(self) -> None:
        if self.point is None or self.point[0] > self.frontier.size:
            return
        size, note = self.point
        text = Checkpoint(self.origin or "", self.frontier.size, self.frontier.root()).text()
        if size != self.frontier.size or not note.startswith(text + "\n"):
            raise Broken("ledger.checkpoint", f"the checkpoint over {size} entries has another root")
        self.last_note = note
        self.point = next(self.points, None)

    def _compare_known(self, frontier: Frontier) -> None:
        point = self.known.pop(frontier.size, None)
        if point is not None and point.root != frontier.root():
            raise Broken("ledger.forked", f"the first {frontier.size} entries are not those of a known checkpoint")

    def _nothing_left(self) -> None:
        """Nothing lies in the tables that no entry accounts for."""
        size = self.frontier.size
        if self.point is not None:
            raise Broken("ledger.checkpoint", f"a checkpoint covers {self.point[0]} entries, and there are {size}")
        if not self.last_note.startswith(f"{self.origin or ''}\n{size}\n") and size:
            raise Broken("ledger.checkpoint", f"no checkpoint covers all {size} entries")
        self.nodes.hold_no_more()
        stray = self.conn.execute("SELECT seq FROM bodies WHERE seq < 0 OR seq >= ? LIMIT 1", (size,)).fetchone()
        if stray is not None:
            raise Broken("ledger.body", f"the body {stray[0]} belongs to no entry")

    def _signed(self, key: PublicKey) -> None:
        try:
            verify_note(self.last_note, self.origin or "", key)
        except Malformed as error:
            raise Broken("ledger.checkpoint", f"the last checkpoint: {error.detail}") from error

    def _nothing_cut(self) -> None:
        for size in sorted(self.known):
            raise Broken("ledger.behind", f"the ledger ends at {self.frontier.size} and is known to have had {size}")


class _StoredNodes:
    """The nodes as stored, level by level, read along with the entries."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._levels: dict[int, Iterator[tuple[int, bytes]]] = {}
        self._count = 0

    def compare(self, made: Sequence[Node]) -> None:
        for level, index, wanted in made:
            stored = self._levels.get(level)
            if stored is None:
                stored = self._levels[level] = iter(
                    self._conn.execute("SELECT idx, hash FROM nodes WHERE level = ? ORDER BY idx", (level,))
                )
            if next(stored, None) != (index, wanted):
                raise Broken("ledger.node", f"the node {index} of level {level} is missing or not the tree's")
            self._count += 1

    def hold_no_more(self) -> None:
        total = self._conn.execute("SELECT count(*) FROM nodes").fetchone()[0]
        if total != self._count:
            raise Broken("ledger.node", f"{total} nodes are stored, and the tree has {self._count}")
