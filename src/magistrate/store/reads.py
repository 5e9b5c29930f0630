"""Reading what is committed, on connections that cannot write: one for each thread that asks."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from magistrate.core.entry import Entry
from magistrate.core.errors import Absent
from magistrate.core.merkle import consistency_path, inclusion_path
from magistrate.store.batch import read_answer
from magistrate.store.connect import open_reader
from magistrate.store.rows import COLUMNS, Row, known, read_row
from magistrate.store.tree import node_reader
from magistrate.store.txn import Remembered

MAX_LIMIT = 1000

_ENTRY = "SELECT e.seq, e.leaf, e.header, b.salt, b.body FROM entries e LEFT JOIN bodies b ON b.seq = e.seq"


class Reader:
    """Every question about committed state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()
        self._all: list[sqlite3.Connection] = []

    @property
    def conn(self) -> sqlite3.Connection:
        conn: sqlite3.Connection | None = getattr(self._mine, "conn", None)
        if conn is None:
            conn = self._mine.conn = open_reader(self._path)
            self._all.append(conn)
        return conn

    def close(self) -> None:
        for conn in self._all:
            conn.close()
        self._all.clear()
        self._mine = threading.local()

    def size(self) -> int:
        """How many entries there are."""
        found = self.conn.execute("SELECT max(seq) + 1 FROM entries").fetchone()[0]
        return int(found or 0)

    def row(self, table: str, id_: str) -> Row | None:
        return read_row(self.conn, table, id_)

    def rows(
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
        """Rows in order of id; `due_before` wants a deadline that has come by then, `due_from` none before it."""
        tests, values = _tests(
            {"owner = ?": owner, "due > 0 AND due <= ?": due_before, "due >= ?": due_from, "id > ?": after}
        )
        if owner is not None:
            tests.append("owner <> ''")  # lets the index on owners answer
        if state is not None:
            states = [state] if isinstance(state, str) else list(state)
            tests.append(f"state IN ({','.join('?' * len(states))})")
            values += states
        sql = f"SELECT {COLUMNS} FROM {known(table)}{_where(tests)} ORDER BY id LIMIT ?"  # noqa: S608 own words only
        found = Database(self.conn, recursive_triggers=False).query(sql, [*values, _capped(limit)])
        return [Row(*row.values()) for row in found]

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
        tests, values = _tests(
            {"e.seq >= ?": start, "e.chain = ?": chain, "e.subject = ?": subject, "e.kind = ?": kind}
        )
        tests += ["e.chain <> ''"] * (chain is not None) + ["e.subject <> ''"] * (subject is not None)
        sql = f"{_ENTRY}{_where(tests)} ORDER BY e.seq LIMIT ?"
        return [_entry(row) for row in self.conn.execute(sql, [*values, _capped(limit)]).fetchall()]

    def entry(self, index: int) -> Entry:
        """Raises: Absent: no such entry."""
        return self._one("e.seq = ?", index)

    def by_leaf(self, leaf: bytes) -> Entry:
        """Raises: Absent: no such entry."""
        return self._one("e.leaf = ?", leaf)

    def chain_of(self, index: int) -> str:
        """The chain an entry belongs to; "" for none, or no such entry."""
        found = self.conn.execute("SELECT chain FROM entries WHERE seq = ?", (index,)).fetchone()
        return str(found[0]) if found else ""

    def proof(self, index: int, size: int) -> list[bytes]:
        """Raises: ProofFailed: no such entry at this size."""
        return inclusion_path(index, size, node_reader(self.conn))

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Raises: ProofFailed: the sizes are not in order."""
        return consistency_path(old, size, node_reader(self.conn))

    def checkpoint_at(self, size: int) -> str:
        """The note of the first checkpoint that covers this size.

        Raises:
            Absent: none does yet.
        """
        found = self.conn.execute(
            "SELECT note FROM checkpoints WHERE size >= ? ORDER BY size LIMIT 1", (size,)
        ).fetchone()
        if found is None:
            raise Absent("ledger.size", f"no checkpoint covers {size} entries")
        return str(found[0])

    def newest_checkpoint(self) -> str:
        """The note over the most entries, whether or not they are here.

        Raises:
            Absent: there is none.
        """
        found = self.conn.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        if found is None:
            raise Absent("ledger.size", "the ledger has no checkpoint")
        return str(found[0])

    def answer(self, scope: str, key: str) -> Remembered | None:
        return read_answer(self.conn, scope, key)

    def answers_before(self, at: int, limit: int) -> list[Remembered]:
        """Kept answers from before a time, oldest first."""
        found = self.conn.execute(
            "SELECT scope, key, digest, status, body, object_id, at FROM idempotency WHERE at < ? ORDER BY at LIMIT ?",
            (at, _capped(limit)),
        )
        return [Remembered(*row) for row in found.fetchall()]

    def _one(self, test: str, value: object) -> Entry:
        found = self.conn.execute(f"{_ENTRY} WHERE {test}", (value,)).fetchone()
        if found is None:
            raise Absent("entry.absent", "there is no such entry")
        return _entry(found)


def _entry(row: tuple[int, bytes, bytes, bytes | None, bytes | None]) -> Entry:
    return Entry(*row)


def _tests(wanted: dict[str, Any]) -> tuple[list[str], list[Any]]:
    given = {test: value for test, value in wanted.items() if value is not None}
    return list(given), list(given.values())


def _where(tests: list[str]) -> str:
    return f" WHERE {' AND '.join(tests)}" if tests else ""


def _capped(limit: int) -> int:
    return max(0, min(limit, MAX_LIMIT))
