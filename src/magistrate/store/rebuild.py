"""State from entries alone: folded anew beside the stored rows, and compared row by row.

The temporary database lies on disk and vanishes with its connection: memory does not grow with the ledger.

What was erased cannot be folded again. Where the fold needs an erased body the entry is passed over, and a row that
differs and bears the id of an erased object (as its id, or as a part of it between bars) counts as explained.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlite_utils import Database

from magistrate.core.entry import Entry
from magistrate.core.errors import Absent, Broken, MagistrateError, Malformed
from magistrate.core.state import TABLES
from magistrate.store.connect import open_reader
from magistrate.store.rows import COLUMNS, Key, Layer, Row, read_owned, read_row, write_rows
from magistrate.store.schema import migrate
from magistrate.store.txn import Fold

FLUSH_ROWS = 2000
MOST = 100  # differences that are told one by one

_EVERY = (
    "SELECT e.seq, e.leaf, e.header, b.salt, b.body FROM entries e LEFT JOIN bodies b ON b.seq = e.seq ORDER BY e.seq"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is stored otherwise than its entries say."""

    table: str
    id: str
    stored: Row | None
    folded: Row | None

    def __str__(self) -> str:
        if self.stored is None:
            return f"{self.table} {self.id}: not stored"
        if self.folded is None:
            return f"{self.table} {self.id}: stored, and no entry made it"
        fields = [f for f in ("version", "state", "owner", "due", "data") if _of(self.stored, f) != _of(self.folded, f)]
        return f"{self.table} {self.id}: differs in {', '.join(fields)}"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How stored state compares with what the entries say. Sound if `differences` is empty."""

    entries: int
    rows: int
    passed_over: int  # entries whose erased body the fold needed
    differences: tuple[Difference, ...]
    explained: tuple[Difference, ...]  # by an erasing


def rebuild(path: Path, fold: Fold, *, fixed: bool = False, progress: Callable[[int], None] | None = None) -> Rebuilt:
    """Fold every entry into a temporary database and compare every state row with it.

    Raises:
        Broken: an entry cannot be folded, or the database is damaged.
        Absent, Unavailable: the file cannot be read.
    """
    with closing(open_reader(path, fixed=fixed)) as conn, closing(sqlite3.connect("", isolation_level=None)) as made:
        try:
            conn.execute("BEGIN")  # one snapshot of entries and rows
            migrate(Database(made, recursive_triggers=False))
            made.execute("CREATE TABLE erased(id TEXT PRIMARY KEY) WITHOUT ROWID")
            made.execute("BEGIN")
            entries, passed = _folded(conn, made, fold, progress or (lambda _: None))
            return _compared(conn, made, entries, passed)
        except (sqlite3.Error, ValueError) as error:  # the latter: bytes that are no UTF-8, or no JSON
            raise Broken("ledger.database", f"the database is damaged: {error}") from error


def _folded(
    conn: sqlite3.Connection, made: sqlite3.Connection, fold: Fold, progress: Callable[[int], None]
) -> tuple[int, int]:
    held: dict[Key, int] = {}

    def below(table: str, id_: str) -> Row | None:
        row = read_row(made, table, id_)
        held[table, id_] = row.version if row else 0
        return row

    rows = Layer(below, partial(read_owned, made))
    count = passed = 0
    for values in conn.execute(_EVERY):
        entry = _sound(Entry(*values))
        if entry.erased:
            made.execute("INSERT OR IGNORE INTO erased VALUES (?)", (entry.subject,))
        one = Layer(rows.row, rows.owned)
        try:
            fold(one, entry)
            rows.own.update(one.own)
        except MagistrateError as error:
            if not _for_want_of_a_body(entry, error, made):
                raise Broken("ledger.fold", f"entry {entry.index} cannot be folded: {error}") from error
            passed += 1
        count += 1
        progress(count)
        if len(rows.own) >= FLUSH_ROWS:
            _flush(made, rows, held)
    _flush(made, rows, held)
    return count, passed


def _sound(entry: Entry) -> Entry:
    try:
        entry.hold()
        _ = entry.at
    except Malformed as error:
        raise Broken("ledger.header", f"entry {entry.index}: {error.detail}") from error
    return entry


def _for_want_of_a_body(entry: Entry, error: MagistrateError, made: sqlite3.Connection) -> bool:
    """Whether the fold failed because this body, or the body of an earlier entry of the same thing, was erased."""
    if entry.erased:
        return isinstance(error, Absent) or _erased(made, entry.subject)
    return _erased(made, entry.subject)


def _erased(made: sqlite3.Connection, id_: str) -> bool:
    parts = id_.split("|")
    places = ",".join("?" * len(parts))
    found = made.execute(f"SELECT 1 FROM erased WHERE id <> '' AND id IN ({places}) LIMIT 1", parts)  # noqa: S608
    return found.fetchone() is not None


def _flush(made: sqlite3.Connection, rows: Layer, held: dict[Key, int]) -> None:
    write_rows(made, ((table, held[table, id_], row) for (table, id_), row in rows.own.items()))
    rows.own.clear()
    held.clear()


def _compared(conn: sqlite3.Connection, made: sqlite3.Connection, entries: int, passed: int) -> Rebuilt:
    different: list[Difference] = []
    explained: list[Difference] = []
    rows = 0
    for table in TABLES:
        for stored, folded in _side_by_side(_every(conn, table), _every(made, table)):
            rows += 1
            if stored == folded:
                continue
            one = Difference(table, (stored or folded or _NOBODY).id, stored, folded)
            told = explained if _by_erasing(one, made, passed) else different
            if len(told) < MOST:
                told.append(one)
    return Rebuilt(entries, rows, passed, tuple(different), tuple(explained))


def _by_erasing(one: Difference, made: sqlite3.Connection, passed: int) -> bool:
    if not passed:
        return False
    if _erased(made, one.id):
        return True
    # an entry that was passed over may have touched a row in passing: then only the count of changes differs
    return one.stored is not None and one.folded is not None and _but_version(one.stored) == _but_version(one.folded)


def _but_version(row: Row) -> Row:
    return Row(row.id, 0, row.state, row.owner, row.due, row.raw)


def _every(conn: sqlite3.Connection, table: str) -> Iterator[Row]:
    for values in conn.execute(f"SELECT {COLUMNS} FROM {table} ORDER BY id"):  # noqa: S608  our own names
        yield Row(*values)


def _side_by_side(left: Iterator[Row], right: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Two sorted streams as one, equal ids together."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.id.encode() < other.id.encode()):
            yield one, None
            one = next(left, None)
        elif one is None or one.id.encode() > other.id.encode():
            yield None, other
            other = next(right, None)
        else:
            yield one, other
            one, other = next(left, None), next(right, None)


def _of(row: Row, field: str) -> object:
    return getattr(row, field)


_NOBODY = Row("", 0, "", "", 0, "{}")
